"""The audio challenge: recordings, languages, options, and how what was typed is compared."""

from __future__ import annotations

import io
import itertools
import math
import os
import random
import subprocess
import sys
import threading
import wave
from importlib import resources
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatepost.challenges import _mixing, audio
from gatepost.challenges.audio import AudioKind, languages
from gatepost.protocols import Challenge, Kind

KIND = AudioKind()
SPOKEN = ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru", "tr")
CAP = 90_000  # bytes, which are 120,000 characters of base64
TENTH = _mixing.RATE // 10

takes_lengths = st.lists(st.integers(_mixing.RATE // 5, _mixing.LONGEST_TAKE), min_size=4, max_size=8)


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a test has to repeat itself


def samples(file: bytes) -> bytes:
    """What the recording plays, read with the header that says what it is."""
    with wave.open(io.BytesIO(file)) as opened:
        assert (opened.getnchannels(), opened.getsampwidth(), opened.getframerate()) == (1, 1, _mixing.RATE)
        played: bytes = opened.readframes(opened.getnframes())
        assert len(played) == opened.getnframes()
    return played


def heard(challenge: Challenge) -> bytes:
    return samples(challenge.media.content)


def tone(hertz: float, length: int) -> bytes:
    """A take of one pitch, as loud as takes are."""
    turn = 2 * math.pi * hertz / _mixing.RATE
    return bytes(128 + round(math.sqrt(2) * _mixing.LOUDNESS * math.sin(turn * place)) for place in range(length))


def level_of(sound: bytes) -> float:
    """The root mean square of its samples."""
    return math.sqrt(sum((sample - 128) ** 2 for sample in sound) / len(sound))


def level_heard(sound: bytes) -> float:
    """The root mean square, silence left out."""
    frames = [level_of(sound[start : start + 80]) for start in range(0, len(sound), 80)]
    loud = [frame for frame in frames if frame > 0.1 * max(frames)]
    return math.sqrt(sum(frame * frame for frame in loud) / len(loud))


def stretches(sound: bytes) -> list[tuple[bool, int, int]]:
    """Where there is sound and where silence of a tenth of a second or more: whether it sounds, start and end."""
    frames = [sound[start : start + 80] for start in range(0, len(sound), 80)]
    runs = [(on, len(list(run))) for on, run in itertools.groupby(level_of(frame) > 2 for frame in frames)]
    joined: list[tuple[bool, int]] = []
    for on, count in runs:
        on = on or count < 10
        if joined and joined[-1][0] == on:
            count += joined.pop()[1]
        joined.append((on, count))
    ends = list(itertools.accumulate(count * 80 for _, count in joined))
    return [(on, start, end) for (on, _), start, end in zip(joined, [0, *ends], ends, strict=False)]


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on all recordings have the answer 777777."""
    monkeypatch.setattr("gatepost.challenges.audio.secrets.choice", lambda _: "7")


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The languages that are drawn from now on."""
    asked: list[str] = []
    original = audio._takes

    def spy(language: str) -> audio._Takes:
        asked.append(language)
        return original(language)

    monkeypatch.setattr(audio, "_takes", spy)
    return asked


def test_it_is_a_kind() -> None:
    """The class fulfils the protocol under the name that travels in tokens."""
    assert isinstance(KIND, Kind)
    assert KIND.name == "audio"


# --- recordings ---


@pytest.mark.parametrize("length", [4, 6, 8])
def test_answers_are_digits(length: int) -> None:
    """Every answer has the length asked for and is made of digits, each of which comes in time."""
    answers = [AudioKind(length=length).draw(1, "fr").answer for _ in range(40)]
    assert all(len(answer) == length for answer in answers)
    assert set("".join(answers)) == set("0123456789")


@pytest.mark.parametrize("level", [-1, 1, 2, 4, 99])
@pytest.mark.parametrize("language", SPOKEN)
def test_the_recording_is_a_small_wav_file(language: str, level: int) -> None:
    """The header tells the truth, the file is below the cap, and it lasts from 3 to 11 seconds."""
    challenge = AudioKind(length=8).draw(level, language)
    content = challenge.media.content
    assert challenge.media.type == "audio/wav"
    assert challenge.data == b""
    assert len(content) < CAP
    assert content[:4] == b"RIFF"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert 3 * _mixing.RATE < len(heard(challenge)) == len(content) - 44 <= _mixing.LONGEST


@settings(max_examples=20)
@given(lengths=takes_lengths, seed=st.integers(0, 10**6))
@example(lengths=[_mixing.LONGEST_TAKE] * 8, seed=1)
def test_the_longest_digits_still_fit(lengths: list[int], seed: int) -> None:
    """Whatever the lengths of the takes, the file is below the cap and no pause is shorter than a tenth of a second."""
    digits = [tone(400, length) for length in lengths]
    speech = _mixing.compose(digits, digits[:2], 1, dice(seed))[0][0]
    assert len(speech) + 44 < CAP
    silences = [end - start for sounds, start, end in stretches(speech) if not sounds]
    assert len(silences) == len(lengths) + 1
    assert min(silences) >= TENTH


def test_the_digits_are_heard_in_order() -> None:
    """After a lead-in of half a second the digits follow each other, each told from the next by its pitch."""
    pitches = [200, 700, 350, 1200, 200, 1200]
    for seed in range(10):
        digits = [tone(hertz, 3000) for hertz in pitches]
        speech = _mixing.compose(digits, digits, 1, dice(seed))[0][0]
        parts = stretches(speech)
        assert parts[0][0] is False
        assert parts[0][2] >= _mixing.RATE // 2
        found = []
        for sounds, start, end in parts:
            if sounds:
                rises = sum(a < 128 <= b for a, b in itertools.pairwise(speech[start:end]))
                found.append(rises * _mixing.RATE / 3000)  # would be its pitch at its own speed
        assert [min(pitches, key=lambda hertz: abs(hertz - other)) for other in found] == pitches


def test_speed_and_pitch_differ_together() -> None:
    """Of one take there are quick, high ones and slow, deep ones, all within a fifth of its own speed."""
    take = tone(400, 4000)
    bent = [_mixing._bend(take, dice(seed)) for seed in range(60)]
    lengths = [len(sound) for sound in bent]
    assert 4000 * 16 / 19 <= min(lengths) < 3700
    assert 4250 < max(lengths) <= 4000 * 16 / 14 + 1
    rises = {sum(a < 128 <= b for a, b in itertools.pairwise(sound)) for sound in bent}
    assert rises <= set(range(198, 203))  # so a shorter one is higher


@pytest.mark.parametrize("language", ["en", "fr", "pl"])
def test_digits_are_louder_than_what_is_around_them(language: str) -> None:
    """Over eight recordings babble and noise are as far below the digits as each level says, to 1.5 dB."""
    chance, takes = dice(5), audio._takes(language)
    for level in (1, 4):
        babble, noise = [], []
        for _ in range(8):
            some = [takes.any_of(chance.randrange(10), chance) for _ in range(12)]
            (speech, loud), (hiss, soft), *layers = _mixing.compose(some[:6], some[6:], level, chance)
            digits = level_heard(speech) * loud
            noise.append(20 * math.log10(digits / level_of(hiss) / soft))
            around = [sum(layer) // len(layer) for layer in zip(*(sound for sound, _ in layers), strict=True)]
            babble.append(20 * math.log10(digits / level_of(bytes(around)) / layers[0][1] / len(layers)))
        assert sum(babble) / 8 == pytest.approx(_mixing.BABBLE_BELOW[level - 1], abs=1.5)
        assert sum(noise) / 8 == pytest.approx(_mixing.NOISE_BELOW[level - 1], abs=1.5)


def test_levels_are_bounded() -> None:
    """Each level is noisier than the one before, none is as loud as the digits, and past the last nothing changes."""
    for decibels in (_mixing.BABBLE_BELOW, _mixing.NOISE_BELOW):
        assert sorted(decibels, reverse=True) == list(decibels)
        assert min(decibels) >= 5
    take = tone(400, 4000)
    hardest = _mixing.record([take], [take], len(_mixing.BABBLE_BELOW), dice(1))
    assert _mixing.record([take], [take], 99, dice(1)) == hardest
    assert _mixing.record([take], [take], 1, dice(1)) != hardest


def test_recordings_are_loud_but_not_cut_off() -> None:
    """The samples use the range that there is, and few of them are at its ends."""
    for number in range(12):
        sound = heard(KIND.draw(1 + number % 4, SPOKEN[number % 10]))
        assert 6 < level_of(sound) < 25
        assert sound.count(0) + sound.count(255) < len(sound) / 100


@pytest.mark.usefixtures("same_answer")
def test_two_recordings_of_one_answer_differ_everywhere() -> None:
    """No tenth of a second of a recording is in another one, so nothing of it can be looked up in a table."""
    sounds = [heard(KIND.draw(1, "en")) for _ in range(6)]
    pieces = [sound[start : start + 80] for sound in sounds for start in range(0, len(sound) - 80, 80)]
    assert len(set(pieces)) == len(pieces)
    assert all(len(set(piece)) > 3 for piece in pieces)  # and none of them is silence


@pytest.mark.usefixtures("same_answer")
def test_the_global_generator_is_left_alone() -> None:
    """Drawing does not move the state of the module random, and seeding that repeats nothing."""
    contents = set()
    for _ in range(4):
        random.seed(7)
        before = random.getstate()
        contents.add(KIND.draw(1, "en").media.content)
        assert random.getstate() == before
    assert len(contents) == 4


def test_all_chance_in_a_recording_comes_from_its_generator() -> None:
    """The same takes and the same seed give the same file."""
    takes = [tone(hertz, 3000) for hertz in (300, 500, 800)]
    first, second = (_mixing.record(takes, takes, 2, dice(3)) for _ in range(2))
    assert first == second


def test_threads_draw_at_the_same_time() -> None:
    """One kind serves many threads: every recording is whole, and all of them differ."""
    kind, drawn = AudioKind(), []

    def draw() -> None:
        for language in SPOKEN[:4]:
            drawn.append(kind.draw(1, language))  # noqa: PERF401 - each as soon as it is there

    threads = [threading.Thread(target=draw) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({heard(challenge) for challenge in drawn}) == 24


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_i11_parent_and_child_draw_differently_after_a_fork() -> None:
    """A kind made and used before a fork works in both processes, and neither repeats the other."""
    program = (
        "import os; from gatepost.challenges.audio import AudioKind; kind = AudioKind(); kind.draw(1, 'en')\n"
        "child = os.fork(); os.write(1, kind.draw(1, 'en').answer.encode() + b' ')\n"
        "if child: assert os.waitpid(child, 0)[1] == 0"
    )
    first, second = run(program).split()
    assert first != second


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """Importing reads no file of sounds, and drawing needs nothing but the standard library."""
    program = (
        "import sys; from gatepost.challenges import audio; assert not audio._index.cache_info().currsize\n"
        "kind = audio.AudioKind(); assert not audio._takes.cache_info().currsize\n"
        "known = set(sys.modules); kind.draw(1, 'de'); assert audio._takes.cache_info().currsize == 1\n"
        "new = {name.partition('.')[0] for name in sys.modules.keys() - known}\n"
        "new |= set(sys.modules) & {'numpy', 'audioop', 'pocketsphinx'}\n"
        "print(*new - (sys.stdlib_module_names - {'audioop'}) - {'gatepost'})"
    )
    assert run(program) == ""


# --- samples and languages ---


def test_there_are_samples_in_ten_languages() -> None:
    """The languages are those that are promised, and all of them together take less than 3 MB."""
    assert languages() == SPOKEN
    folder = resources.files("gatepost.sounds")
    assert sum(len(file.read_bytes()) for file in folder.iterdir() if file.is_file()) < 3_000_000
    assert "GNU General Public License" in folder.joinpath("NOTICE.txt").read_text("utf-8")


@pytest.mark.parametrize("language", SPOKEN)
def test_every_voice_speaks_all_ten_digits(language: str) -> None:
    """At least five voices have ten takes each, all different, none too short or too long, all equally loud."""
    takes = audio._takes(language)
    chance = dice(1)
    assert takes.sound == samples(resources.files("gatepost.sounds").joinpath(f"{language}.wav").read_bytes())
    assert takes.starts[0] == 0
    assert takes.starts[-1] == len(takes.sound)
    assert (len(takes.starts) - 1) % 10 == 0
    found = {digit: {takes.any_of(digit, chance) for _ in range(100)} for digit in range(10)}
    assert all(len(voices) >= 5 for voices in found.values())
    everything = set().union(*found.values())
    assert len(everything) == len(takes.starts) - 1
    assert all(_mixing.RATE * 0.15 < len(take) <= _mixing.LONGEST_TAKE for take in everything)
    assert all(level_heard(take) == pytest.approx(_mixing.LOUDNESS, rel=0.1) for take in everything)


@pytest.mark.parametrize(
    ("locale", "wanted"),
    [
        *((language, language) for language in SPOKEN),
        *(("pt-BR", "pt"), ("pt_BR", "pt"), ("DE-at", "de"), ("es-419", "es"), ("ru-Cyrl-RU", "ru")),
        *(("ja", "en"), ("", "en"), ("-", "en"), ("../de", "en"), ("deu", "en"), ("e" * 10_000, "en")),
    ],
)
def test_the_visitors_language_is_spoken(spoken: list[str], locale: str, wanted: str) -> None:
    """The language of the locale is spoken, whatever its region and case, and English where there is none of it."""
    KIND.draw(1, locale)
    assert spoken == [wanted]


def test_another_language_can_stand_in(spoken: list[str]) -> None:
    """A site chooses what is spoken to those whose language is missing."""
    kind = AudioKind(fallback="tr")
    kind.draw(1, "ja")
    kind.draw(1, "en")
    assert spoken == ["tr", "en"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("length", value) for value in (3, 9, 6.0, "6", None, True)),
        *(("fallback", value) for value in ("", "ja", "EN", "en-GB", None, 7, ["en"])),
    ],
)
def test_a_mistake_in_an_option_stops_the_start(option: str, value: object) -> None:
    """A wrong value raises a ValueError of one sentence that begins with the option's name and says what is wanted."""
    options: Any = {option: value}
    with pytest.raises(ValueError, match=rf"^{option}: got .*, wanted [^.]*\.$") as caught:
        AudioKind(**options)
    assert repr(value) in str(caught.value)


# --- what was typed ---


def answered(text: str) -> str:
    return KIND.normalise({"answer": text}, b"")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("407219", "407219"),
        (" 4 07\t219\r\n", "407219"),
        ("4-0-7, 2\u20131\u20119", "407219"),
        ("407\u00a0219.", "407219"),
        ("\u200f4\u200b07219\u200e", "407219"),
        ("\uff14\uff10\uff17\uff12\uff11\uff19", "407219"),
        ("\u0664\u0660\u0667\u060c\u0662\u0661\u0669", "407219"),
        ("\u096a\u0966\u096d\u0968\u0967\u096f", "407219"),
        ("4\u20e30\ufe0f\u20e3", "40"),
        ("\u2463\u246b", "412"),
        ("four", ""),
        ("40721O", ""),
        ("\u2163", ""),
        ("\u56db", ""),
        ("\ud800", ""),
        ("", ""),
        (" , -", ""),
        ("1" * 201, ""),
        ("\ufdfa" * 200, ""),
        ("7" * 10_000_000, ""),
    ],
)
def test_what_was_typed_is_read_kindly(text: str, wanted: str) -> None:
    """Digits of any script count, spaces, hyphens, commas and what is not seen do not, and a letter is never right."""
    assert answered(text) == wanted


def test_no_answer_is_an_empty_one() -> None:
    """Without the field the result is empty."""
    assert KIND.normalise({}, b"") == ""


@given(text=st.text(max_size=40) | st.text(alphabet="0123456789\u0661\u0967 ,-", max_size=40))
def test_the_result_is_digits_alone(text: str) -> None:
    """Whatever is typed, the result is made of the ten ASCII digits and is left as it is when read again."""
    once = answered(text)
    assert set(once) <= set("0123456789")
    assert answered(once) == once


@given(
    digits=st.text(alphabet="0123456789", min_size=1, max_size=8),
    zero=st.sampled_from("0\u0660\u06f0\u0966\u09e6\u0e50\uff10\U0001d7ce"),
    between=st.lists(st.sampled_from(["", " ", "-", ", ", "\u00a0", "\u2009", "\u200b"]), min_size=8, max_size=8),
)
def test_scripts_and_separators_do_not_matter(digits: str, zero: str, between: list[str]) -> None:
    """The same digits in another script and with separators give the same as the plain ones, which is themselves."""
    typed = "".join(chr(ord(zero) + int(digit)) + space for digit, space in zip(digits, between, strict=False))
    assert answered(typed) == answered(digits) == digits
