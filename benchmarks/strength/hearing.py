"""How much machines understand of the audio challenge: ``python -m benchmarks.strength.hearing``.

Three readers, of English: pocketsphinx told that six digits follow each other; pocketsphinx given one digit at a time,
cut out where it is loud; and templates of the very samples that the challenge mixes, which anyone can take from the
package. All three also hear the clean samples: they are speech if a recogniser that has never heard them knows them.

It needs numpy and pocketsphinx from PyPI. The model is the one of spoken digits (TIDIGITS, 8 kHz) in pocketsphinx's
test data, which Debian has as ``pocketsphinx-testdata``; those that come with pocketsphinx want 16 kHz.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.tables import show
from gatepost.challenges import _mixing
from gatepost.challenges.audio import AudioKind, _takes, languages

Wave = NDArray[np.float64]
Labelled = list[tuple[str, Wave]]
Reader = Callable[[Wave], str]

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LENGTH = 6
MODEL = Path("/usr/share/pocketsphinx/test/data/tidigits")
FRAME = _mixing.RATE // 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="recordings of each sort (default: 100)")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 4], help="levels to hear (default: 1 4)")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"folder of the digits model (default: {MODEL})")
    options = parser.parse_args()
    if not (options.model / "hmm").is_dir():
        raise SystemExit(f"There is no model in {options.model}. On Debian: apt install pocketsphinx-testdata")
    sounds = {"single samples": singles(), "six, clean": [clean() for _ in range(options.count)]}
    for level in options.levels:
        sounds[f"mixed, level {level}"] = [mixed(level) for _ in range(options.count)]
    ears = Sphinx(options.model)
    readers = {"pocketsphinx": ears.all_at_once, "pocketsphinx, cut": ears.one_by_one, "our samples": Templates().read}
    rows = []
    for name, heard in sounds.items():
        rows += [(name, *score(heard, reader, title)) for title, reader in readers.items()]
    show("Understood", ("sound", "reader", "exact", "digits", "seconds each"), rows)
    show("Made", ("language", "ms each, CPU", "kB", "kB at most", "seconds"), [cost(tag) for tag in languages()])


# --- what is heard ---


def samples(sound: bytes) -> Wave:
    """The samples of a sound, from -1 to 1."""
    return (np.frombuffer(sound, np.uint8).astype(np.float64) - 128) / 128


def played(file: bytes) -> Wave:
    """The samples of a WAV file."""
    with wave.open(io.BytesIO(file)) as opened:
        return samples(opened.readframes(opened.getnframes()))


def singles() -> Labelled:
    """Every take by itself."""
    takes = _takes("en")
    return [
        (str(number % 10), padded(samples(takes.sound[start:end])))
        for number, (start, end) in enumerate(zip(takes.starts, takes.starts[1:], strict=False))
    ]


def clean() -> tuple[str, Wave]:
    """Six takes with silence between them."""
    chance = random.SystemRandom()
    answer = "".join(chance.choices("0123456789", k=LENGTH))
    takes = [padded(samples(_takes("en").any_of(int(digit), chance))) for digit in answer]
    return answer, np.concatenate(takes)


def mixed(level: int) -> tuple[str, Wave]:
    """A challenge."""
    challenge = AudioKind(length=LENGTH).draw(level, "en")
    return challenge.answer, played(challenge.media.content)


def padded(sound: Wave) -> Wave:
    """With a fifth of a second of silence before and after."""
    return np.pad(sound, _mixing.RATE // 5)


# --- readers ---


class Sphinx:
    """The recogniser, with a grammar of digits."""

    def __init__(self, model: Path) -> None:
        self._six = _decoder(model, LENGTH)
        self._one = _decoder(model, 1)
        self._noise = np.random.default_rng(1)

    def all_at_once(self, sound: Wave) -> str:
        """A recording as a whole; a single sample as what it is."""
        return self._hear(self._six if len(sound) > 2 * _mixing.RATE else self._one, sound)

    def one_by_one(self, sound: Wave) -> str:
        """The loud parts of the recording, each as one digit."""
        parts = loud_parts(sound, LENGTH if len(sound) > 2 * _mixing.RATE else 1)
        return "".join(self._hear(self._one, padded(part)) or "?" for part in parts)

    def _hear(self, decoder: Any, sound: Wave) -> str:
        # The model has never met silence without any noise, and hears digits in it.
        noisy = 2**14 * sound + self._noise.normal(0, 120, len(sound))
        decoder.start_utt()
        decoder.process_raw(np.clip(noisy, -(2**15), 2**15 - 1).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        heard = decoder.hyp()
        return "".join(str(DIGITS.index(word)) for word in heard.hypstr.split()) if heard else ""


def _decoder(model: Path, digits: int) -> Any:
    import pocketsphinx  # type: ignore[import-untyped]

    grammar = f"#JSGF V1.0;\ngrammar digits;\n<one> = {' | '.join(DIGITS)};\npublic <all> = {'<one> ' * digits};\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.gram"
        path.write_text(grammar)
        return pocketsphinx.Decoder(
            hmm=str(model / "hmm"),
            dict=str(model / "lm" / "tidigits.dic"),
            jsgf=str(path),
            lm=None,
            samprate=_mixing.RATE,
            loglevel="FATAL",
        )


def loud_parts(sound: Wave, count: int) -> list[Wave]:
    """Cut out so many parts, by a threshold in the middle of those that give as many; none if there is none."""
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    loudness = np.convolve(np.sqrt((frames**2).mean(1)), np.ones(9) / 9, "same")
    found = []
    for share in np.linspace(0.95, 0.15, 60):
        edges = np.flatnonzero(np.diff(np.pad(loudness > np.quantile(loudness, share), 1).astype(int))).tolist()
        parts: list[tuple[int, int]] = []
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            # A stop in the middle of a word is no end.
            if parts and start - parts[-1][1] < 12:
                start = parts.pop()[0]
            parts.append((start, end))
        parts = [(start, end) for start, end in parts if end - start >= 10]
        if len(parts) == count:
            found.append(parts)
    middle = found[len(found) // 2] if found else []
    return [sound[max(0, start - 6) * FRAME : (end + 6) * FRAME] for start, end in middle]


class Templates:
    """The spectra of all takes at three speeds, laid over the recording at each place; the best that fit are read."""

    def __init__(self) -> None:
        takes = _takes("en")
        self._floor = 1.0  # higher than babble and noise, which then count for little
        self._templates: list[tuple[int, NDArray[np.float64]]] = []
        for number, (start, end) in enumerate(zip(takes.starts, takes.starts[1:], strict=False)):
            take = samples(takes.sound[start:end])
            for speed in (0.875, 1.0, 1.125):
                faster = np.interp(np.arange(0, len(take) - 1, speed), np.arange(len(take)), take)
                spectrum = self._spectra(faster)
                spectrum -= spectrum.mean(0)
                self._templates.append((number % 10, spectrum / np.linalg.norm(spectrum)))

    def _spectra(self, sound: Wave) -> NDArray[np.float64]:
        """Logarithms of the energy in 24 bands, which are wider the higher they are, for each frame."""
        size = 256
        cuts = sliding_window_view(np.pad(sound, size // 2), size)[::FRAME] * np.hanning(size)
        power = np.abs(np.fft.rfft(cuts)) ** 2
        edges = 700 * np.expm1(np.linspace(np.log1p(150 / 700), np.log1p(3800 / 700), 26))
        hertz = np.arange(size // 2 + 1) * _mixing.RATE / size
        bands = [
            np.clip(np.minimum((hertz - low) / (top - low), (high - hertz) / (high - top)), 0, None)
            for low, top, high in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        logarithms: NDArray[np.float64] = np.log(power @ np.array(bands).T + self._floor)
        return logarithms

    def read(self, sound: Wave) -> str:
        """The digits whose templates fit best without overlap."""
        spectra = self._spectra(sound)
        length = len(spectra)
        fit, digit, lasts = np.zeros(length), np.zeros(length, int), np.ones(length, int)
        sums = np.pad(spectra.cumsum(0), ((1, 0), (0, 0)))
        squares = np.pad((spectra**2).sum(1).cumsum(), (1, 0))
        for number, template in self._templates:
            size = len(template)
            if size > length:
                continue
            windows = sliding_window_view(spectra, size, axis=0)
            spread = squares[size:] - squares[:-size] - ((sums[size:] - sums[:-size]) ** 2).sum(1) / size
            # A long template that fits is worth more than a short one.
            found = np.einsum("tbk,kb->t", windows, template, optimize=True) / np.sqrt(spread + 1e-9) * size**0.25
            better = np.flatnonzero(found > fit[: len(found)])
            fit[better], digit[better], lasts[better] = found[better], number, size
        count = LENGTH if len(sound) > 2 * _mixing.RATE else 1
        return "".join(str(digit[place]) for place in _best_places(fit, lasts, count))


def _best_places(fit: NDArray[np.float64], lasts: NDArray[np.int_], count: int) -> list[int]:
    """So many places that do not overlap, with the best sum."""
    length = len(fit)
    best = np.full((count + 1, length + 1), -np.inf)
    best[0] = 0
    for start in range(length - 1, -1, -1):
        after = min(length, start + int(0.9 * lasts[start]) + 8)  # a pause follows
        best[1:, start] = np.maximum(best[1:, start + 1], fit[start] + best[:-1, after])
    places, start, left = [], 0, count
    while left and start < length:
        if best[left, start] > best[left, start + 1]:
            places.append(start)
            start, left = min(length, start + int(0.9 * lasts[start]) + 8), left - 1
        else:
            start += 1
    return places


# --- results ---


def score(heard: Sequence[tuple[str, Wave]], reader: Reader, title: str) -> tuple[str, ...]:
    """How much of it is read."""
    begin = time.perf_counter()
    read = [(answer, reader(sound)) for answer, sound in heard]
    each = (time.perf_counter() - begin) / len(heard)
    exact = sum(answer == text for answer, text in read) / len(read)
    # Where a digit is missing or too much, nobody knows which are right.
    digits = sum(sum(map(str.__eq__, answer, text)) for answer, text in read if len(answer) == len(text))
    return title, f"{exact:.0%}", f"{digits / sum(len(answer) for answer, _ in read):.0%}", f"{each:.2f}"


def cost(language: str) -> tuple[str, ...]:
    """What 20 challenges cost."""
    kind = AudioKind()
    kind.draw(1, language)
    begin = time.thread_time()
    files = [kind.draw(1, language).media.content for _ in range(20)]
    each = (time.thread_time() - begin) / len(files)
    sizes = [len(file) for file in files]
    lasts = sum(sizes) / len(sizes) / _mixing.RATE
    return (
        language,
        f"{1000 * each:.1f}",
        f"{sum(sizes) / len(sizes) / 1000:.1f}",
        f"{max(sizes) / 1000:.1f}",
        f"{lasts:.1f}",
    )


if __name__ == "__main__":
    main()
