"""A recording as a picture: how loud it is above, and below which frequencies it has, from low to high."""

from __future__ import annotations

import cmath
import io
import math
import wave
from array import array
from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, LOUD, HIGH = 600, 60, 192  # pixels: across, the curve's height, the spectrogram's
WINDOW = 512  # samples that one column's frequencies are made of, a power of two
QUIET = 60.0  # decibels below the loudest that are drawn as nothing

PAPER, INK = (255, 255, 255), (16, 32, 80)


def drawn(content: bytes) -> Image.Image:
    """The picture of a WAV file of one channel, with a mark for every second."""
    with wave.open(io.BytesIO(content)) as file:
        rate, width = file.getframerate(), file.getsampwidth()
        samples = _samples(file.readframes(file.getnframes()), width)
    image = Image.new("L", (WIDTH, LOUD + HIGH))
    brush = ImageDraw.Draw(image)
    loudest = max(map(abs, samples)) or 1.0
    step = len(samples) / WIDTH
    columns = []
    for x in range(WIDTH):
        piece = samples[int(x * step) : int((x + 1) * step) + 1]
        brush.line([(x, LOUD / 2 * (1 - value / loudest)) for value in (min(piece), max(piece))], fill=255)
        columns.append(_loudness(samples, int((x + 0.5) * step)))
    most = max(map(max, columns))
    for x, column in enumerate(columns):
        for y in range(HIGH):
            value = column[(HIGH - 1 - y) * len(column) // HIGH]
            image.putpixel((x, LOUD + y), round(255 * max(0.0, 1 + (value - most) / QUIET)))
    for second in range(1, math.ceil(len(samples) / rate)):
        brush.line([(second * rate / step, LOUD - 4), (second * rate / step, LOUD)], fill=255)
    return _coloured(image)


def _samples(frames: bytes, width: int) -> list[float]:
    if width == 1:  # without a sign, so that 128 is silence
        return [value - 128.0 for value in frames]
    return list(map(float, array("h", frames)))


def _loudness(samples: Sequence[float], middle: int) -> list[float]:
    """Decibels of each frequency round a moment."""
    start = middle - WINDOW // 2
    piece = [samples[at] if 0 <= at < len(samples) else 0.0 for at in range(start, start + WINDOW)]
    # Faded in and out, since a sharp edge has all frequencies.
    faded = [value * (0.5 - 0.5 * math.cos(math.tau * at / WINDOW)) for at, value in enumerate(piece)]
    return [20 * math.log10(abs(part) + 1e-3) for part in _frequencies(faded)[: WINDOW // 2]]


def _frequencies(values: Sequence[complex]) -> list[complex]:
    """The Fourier transform of as many values as a power of two."""
    if len(values) == 1:
        return [values[0]]
    even, odd = _frequencies(values[::2]), _frequencies(values[1::2])
    turned = [cmath.exp(-1j * math.tau * at / len(values)) * part for at, part in enumerate(odd)]
    sums = [one + other for one, other in zip(even, turned, strict=True)]
    return sums + [one - other for one, other in zip(even, turned, strict=True)]


def _coloured(image: Image.Image) -> Image.Image:
    """Ink on paper, in sixteen steps."""
    stepped = image.point([round(value / 17) for value in range(256)])
    stepped.putpalette([round(a + (b - a) * step / 15) for step in range(16) for a, b in zip(PAPER, INK, strict=True)])
    return stepped
