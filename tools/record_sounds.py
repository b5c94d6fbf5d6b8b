"""Record the spoken digits that the audio challenge mixes from: ``python tools/record_sounds.py [folder]``.

It needs the programs ``espeak-ng`` (1.51 made those that are bundled) and ``sox``. For each language it writes a WAV
file (mono, 8 kHz, 8 bits) with the digits 0 to 9 of one voice after those of another, and beside them ``index.json``,
which says which voices they are and where each digit begins. All are equally loud, and silence is cut off.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import wave
from array import array
from pathlib import Path

RATE = 8000
FRAME = RATE // 100
LOUDNESS = 20.0  # root mean square of what is heard of a digit; the largest sample is 127
LONGEST = RATE * 9 // 10  # the mix counts on it

LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru", "tr")

# espeak-ng speaks figures in each language, but its Russian ones sound odd.
WORDS = {"ru": "ноль один два три четыре пять шесть семь восемь девять"}

# espeak-ng's names of the languages that have several accents; the voices take turns with them.
ACCENTS = {"en": ("en-us", "en-gb-x-rp"), "es": ("es", "es-419"), "pt": ("pt", "pt-br")}

# Variants that differ from each other and stay clear through a telephone's band. Two of the seven are women's.
VARIANTS = ("m3", "klatt3", "f5", "ed", "edward2", "Gene", "f2")
SPEED = 150  # words a minute


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "sounds"
    folder.mkdir(exist_ok=True)
    index = {}
    for language in LANGUAGES:
        digits = WORDS.get(language, "0 1 2 3 4 5 6 7 8 9").split()
        accents = ACCENTS.get(language, (language,))
        voices = [f"{accents[number % len(accents)]}+{variant}" for number, variant in enumerate(VARIANTS)]
        takes = [record(voice, digit) for voice in voices for digit in digits]
        if len(set(takes)) < len(takes):
            # This is what espeak-ng does with a variant that it does not know.
            raise SystemExit(f"{language}: two digits or two voices sound the same.")
        starts = [0]
        for take in takes:
            starts.append(starts[-1] + len(take))
        with wave.open(str(folder / f"{language}.wav"), "wb") as file:
            file.setparams((1, 1, RATE, 0, "NONE", "not compressed"))
            file.writeframes(b"".join(takes))
        index[language] = {"voices": voices, "starts": starts}
        print(f"{language}: {len(takes)} digits, {starts[-1] / RATE:.0f} s")
    (folder / "index.json").write_text(json.dumps(index) + "\n")


def record(voice: str, digit: str) -> bytes:
    """One digit, cut to what is heard of it, as unsigned samples of 8 bits."""
    spoken = run("espeak-ng", "-v", voice, "-s", str(SPEED), "--stdout", digit)
    form = ["-t", "raw", "-r", str(RATE), "-e", "signed", "-b", "16", "-c", "1"]
    # At 8 kHz most of an s is cut off; more treble keeps enough of it.
    narrowed = run("sox", "-D", "-t", "wav", "-", *form, "-", "gain", "-12", "treble", "12", "3000", given=spoken)
    samples = array("h", narrowed)
    return level(cut(samples))


def run(program: str, *arguments: str, given: bytes = b"") -> bytes:
    """What a program writes when it is given something to read."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"The program {program} is not installed.")
    done = subprocess.run([path, *arguments], input=given, capture_output=True, check=True)  # noqa: S603 - our own
    return done.stdout


def loudness(samples: array[int]) -> list[float]:
    """The root mean square of each hundredth of a second."""
    frames = (samples[start : start + FRAME] for start in range(0, len(samples), FRAME))
    return [math.sqrt(sum(sample * sample for sample in frame) / len(frame)) for frame in frames]


def cut(samples: array[int]) -> array[int]:
    """Without the silence at both ends."""
    frames = loudness(samples)
    heard = [number for number, frame in enumerate(frames) if frame > 0.015 * max(frames)]
    samples = samples[max(0, heard[0] - 1) * FRAME : (heard[-1] + 2) * FRAME]
    if len(samples) > LONGEST:
        raise SystemExit(f"A digit takes {len(samples) / RATE:.2f} s, which is too long for the mix.")
    return samples


def level(samples: array[int]) -> bytes:
    """As loud as all the others, with soft ends, as unsigned bytes."""
    frames = loudness(samples)
    heard = [frame for frame in frames if frame > 0.1 * max(frames)]
    factor = LOUDNESS / math.sqrt(sum(frame * frame for frame in heard) / len(heard))
    last = len(samples) - 1
    ends = (min(1.0, place / FRAME, (last - place) / FRAME) for place in range(len(samples)))
    return bytes(
        128 + max(-127, min(127, round(factor * sample * end))) for sample, end in zip(samples, ends, strict=True)
    )


if __name__ == "__main__":
    main()
