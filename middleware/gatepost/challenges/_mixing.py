"""Mixing for the audio challenge: spoken digits become one recording, which is another one each time.

A sound is a string of bytes: unsigned samples of 8 bits, :data:`RATE` in a second, 128 for silence. The steps between
them are coarse, but what they add lies far below the noise. To add sounds up, each becomes one large integer with 16
bits for every sample, so that one multiplication and one addition in C serve tens of thousands of samples.
"""

from __future__ import annotations

import functools
import io
import math
import wave
from collections.abc import Sequence
from random import Random

RATE = 8000
LOUDNESS = 20.0  # of a take, as the root mean square of what is heard of it
LONGEST_TAKE = RATE * 9 // 10
LONGEST = 11 * RATE  # of a recording

# How far babble and noise lie below the digits, in decibels, at each level. In hearing tests by telephone, people with
# good ears still understand half of the groups of three digits when the noise is 7 dB louder than the digits. Our
# voices are less natural, and other ears have to understand them too.
BABBLE_BELOW = (9.0, 8.0, 7.0, 6.0)
NOISE_BELOW = (16.0, 15.0, 14.0, 13.0)

_SILENCE = b"\x80"
_INVERTED = bytes(range(255, -1, -1))
_WHOLE = 256  # the most that weights can sum up to

_LAYERS = 2  # of babble
_LASTING = 0.8  # of a take's loudness, when its soft parts count too

_FINE = 16  # a sound is bent by taking every 16th of 16 times as many samples, or every 15th, or ...
_STEPS = (14, 15, 16, 17, 18, 19)
_PIECE = RATE // 12  # the step stays the same for so long
_BENT = 0.8  # of its loudness, so that the curve through its samples has room


def record(digits: Sequence[bytes], crowd: Sequence[bytes], level: int, chance: Random) -> bytes:
    """A WAV file in which the digits are heard in order, in a room where others babble.

    :param digits: takes of digits, each at most :data:`LONGEST_TAKE` long.
    :param crowd: takes that the babble is made of.
    :param level: as for :meth:`Kind.draw`.
    """
    tracks = compose(digits, crowd, level, chance)
    speech_weight = tracks[0][1]
    samples = _scale(_blend(tracks), _WHOLE / speech_weight / _BENT)  # the digits are as loud as their takes
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, RATE, len(samples), "NONE", ""))
        writer.writeframes(samples)
    return file.getvalue()


def compose(digits: Sequence[bytes], crowd: Sequence[bytes], level: int, chance: Random) -> list[tuple[bytes, int]]:
    """The tracks of a recording, all of one length, with their weights: the digits, the noise, layers of babble."""
    number = min(max(level, 1), len(BABBLE_BELOW)) - 1
    speech = _arrange([_scale(_bend(take, chance), _factor(chance.uniform(-2, 2))) for take in digits], chance)
    noise, hiss = _noise(len(speech), chance)
    voices = [_bend(take, chance)[::-1] for take in crowd]
    babble = [_babble(voices, len(speech), chance) for _ in range(_LAYERS)]
    # Layers that have nothing to do with each other add up in power.
    beside = _factor(-BABBLE_BELOW[number]) / _LASTING / math.sqrt(_LAYERS)
    shares = [1.0, _factor(-NOISE_BELOW[number]) * _BENT * LOUDNESS / hiss, *(beside for _ in babble)]
    weights = (int(_WHOLE * share / sum(shares)) for share in shares)
    return list(zip([speech, noise, *babble], weights, strict=True))


def _factor(decibels: float) -> float:
    return 10 ** (decibels / 20)


def _lanes(sound: bytes) -> int:
    """The sound as one integer, with 16 bits for each sample."""
    wide = bytearray(2 * len(sound))
    wide[::2] = sound
    return int.from_bytes(wide, "little")


def _sound(lanes: int, length: int) -> bytes:
    """The upper halves of the lanes."""
    return lanes.to_bytes(2 * length, "little")[1::2]


def _blend(tracks: Sequence[tuple[bytes, int]]) -> bytes:
    """Sounds of one length as one sound. What their weights lack to 256 is silence."""
    length = len(tracks[0][0])
    rest = _WHOLE - sum(weight for _, weight in tracks)
    return _sound(sum(_lanes(sound) * weight for sound, weight in [*tracks, (_SILENCE * length, rest)]), length)


def _scale(sound: bytes, factor: float) -> bytes:
    """The same, louder or softer."""
    return sound.translate(bytes(min(255, max(0, round(128 + factor * (sample - 128)))) for sample in range(256)))


def _delay(sound: bytes, samples: int) -> bytes:
    return (samples * _SILENCE + sound)[: len(sound)]


# --- one voice ---


def _bend(take: bytes, chance: Random) -> bytes:
    """The same at another speed and pitch, which drift."""
    fine, pieces, start = _refine(take), [], 0
    number = chance.randrange(1, len(_STEPS) - 1)
    while start < len(fine):
        end = start + _STEPS[number] * _PIECE
        pieces.append(fine[start : end : _STEPS[number]])
        start, number = end, min(max(number + chance.choice((-1, 0, 1)), 0), len(_STEPS) - 1)
    return b"".join(pieces)


def _curve(distance: float) -> tuple[float, float]:
    """Catmull and Rom's weights of the next sample on one side, at this distance, and of the one beyond it."""
    return ((3 * distance - 5) * distance * distance + 2) / 2, distance * (1 - distance) ** 2 / 2


# For each place between two samples, the weights of the left one, of the one before it, of the right one, of the one
# behind it. The outer two count against the inner two, so they are inverted.
_CURVES = [
    [round(_BENT * _WHOLE * weight) for distance in (place / _FINE, 1 - place / _FINE) for weight in _curve(distance)]
    for place in range(_FINE)
]


# It would be more than half of the work. The 70 takes of a language are 3 to 5 MB when they are refined.
@functools.lru_cache(maxsize=80)
def _refine(take: bytes) -> bytes:
    """The sound with 16 samples for one, and a little softer."""
    length = len(take)
    padded = _SILENCE + take + 2 * _SILENCE
    before, left, right, behind = (padded[shift : shift + length] for shift in range(4))
    lanes = [_lanes(sound) for sound in (left, before.translate(_INVERTED), right, behind.translate(_INVERTED))]
    silence = _lanes(_SILENCE * length)
    fine = bytearray(_FINE * length)
    for place, weights in enumerate(_CURVES):
        total = sum(map(int.__mul__, lanes, weights), silence * (_WHOLE - sum(weights)))
        fine[place::_FINE] = _sound(total, length)
    return bytes(fine)


# --- all of them ---


def _arrange(digits: Sequence[bytes], chance: Random) -> bytes:
    """The digits with pauses before, between and after them, as long as the recording has room for."""
    pauses = [chance.uniform(0.6, 1.0), *(chance.uniform(0.3, 0.7) for _ in digits[1:]), chance.uniform(0.3, 0.5)]
    second = min(RATE, (LONGEST - sum(map(len, digits))) / sum(pauses))
    return b"".join(_SILENCE * int(pause * second) + digit for pause, digit in zip(pauses, [*digits, b""], strict=True))


def _babble(voices: Sequence[bytes], length: int, chance: Random) -> bytes:
    """One layer of babble: the voices in any order, again and again."""
    layer = b""
    while len(layer) < length + LONGEST_TAKE:
        layer += b"".join(chance.sample(voices, len(voices)))
    start = chance.randrange(LONGEST_TAKE)
    return layer[start : start + length]


def _noise(length: int, chance: Random) -> tuple[bytes, float]:
    """Noise that is dark, since an s must not drown in it, but another each time; and how loud it is."""
    white = chance.randbytes(length)
    weights = [chance.randrange(10, 40) for _ in range(6)]
    noise = _blend([(_delay(white, delay), weight) for delay, weight in enumerate(weights)])
    # The root mean square of bytes that are spread evenly is 256 / sqrt(12).
    return noise, math.sqrt(sum(weight * weight for weight in weights) / 12)
