"""The contrast of inks with the ground, measured on finished pictures and not taken from what drew them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .contenders import Sample


def _luminances(colours: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = colours / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    weighted: NDArray[np.float64] = linear @ np.array([0.2126, 0.7152, 0.0722])
    return weighted


def lowest_contrast(content: bytes) -> float:
    """The lowest contrast of a picture's inks with its ground.

    What fills squares of 2 by 2 pixels is a plain colour (blends at edges hardly do); the ground's colours are those
    on the outermost pixels, and all others are inks. If all are on the border, the ground has two sides, and each is
    the other's ink.
    """
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(np.int64)
    codes = pixels @ np.array([65536, 256, 1])
    whole = (codes[1:, 1:] == codes[:-1, 1:]) & (codes[1:, 1:] == codes[1:, :-1]) & (codes[1:, 1:] == codes[:-1, :-1])
    plain, counts = np.unique(codes[1:, 1:][whole], return_counts=True)
    plain = plain[counts > 0.0008 * codes.size]
    ring = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    numbers, many = np.unique(ring, return_counts=True)
    grounds = numbers[many > 0.03 * len(ring)]
    inks = np.setdiff1d(plain, grounds)

    def levels(which: NDArray[np.int64]) -> NDArray[np.float64]:
        return _luminances(np.stack([which >> 16, which >> 8 & 255, which & 255], 1)) + 0.05

    below = levels(grounds)
    if not len(inks):
        return float(below.max() / below.min())
    ratios = levels(inks)[:, None] / below[None]
    return float(np.maximum(ratios, 1 / ratios).min())


def measured(samples: Sequence[Sample]) -> tuple[float, int]:
    """The lowest contrast of all, and how many pictures have an ink below 3:1."""
    lowest = [lowest_contrast(sample.content) for sample in samples]
    return min(lowest), sum(ratio < 3 for ratio in lowest)
