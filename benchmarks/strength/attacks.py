"""Readers without learning, written against the very source: colour masks, and segmentation.

Both end in the same way: what they take for a letter is brought to one size and compared with every character in every
font, turned, slanted, filled and hollow, as the pictures have them; the best that do not overlap are the answer.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .contenders import Contender, Sample
from .readers import Box, in_order

EDGE = 24  # of the square that letters are compared in
Mask = np.ndarray


@dataclass(frozen=True, slots=True)
class Found:
    """Something taken for a letter."""

    box: Box
    character: str
    score: float


class Templates:
    """What letters can look like, as rows of a matrix."""

    def __init__(self, shapes: str, fonts: tuple[Path, ...], variants: int = 14) -> None:
        chance = random.Random(5)  # noqa: S311 - looks only
        rows, self._names = [], []
        for font in fonts:
            face = ImageFont.truetype(str(font), 60)
            for shape in shapes:
                for number in range(variants):
                    rows.append(_unit(_drawn(face, shape, chance, hollow=number % 3 == 2)))
                    self._names.append(shape.lower())
        self._rows = np.stack(rows)

    def match(self, masks: Sequence[Mask]) -> list[tuple[str, float]]:
        """For each mask the character it is most like, and how much, up to 1."""
        if not masks:
            return []
        scores = np.stack([_unit(mask) for mask in masks]) @ self._rows.T
        return [(self._names[int(row.argmax())], float(row.max())) for row in scores]


@functools.lru_cache(maxsize=4)
def _templates(shapes: str, fonts: tuple[Path, ...]) -> Templates:
    return Templates(shapes, fonts)


def _drawn(face: ImageFont.FreeTypeFont, shape: str, chance: random.Random, hollow: bool) -> Mask:
    image = Image.new("L", (140, 140))
    brush = ImageDraw.Draw(image)
    brush.text((70, 70), shape, fill=255, font=face, anchor="mm", stroke_width=4 if hollow else 0)
    if hollow:
        brush.text((70, 70), shape, fill=0, font=face, anchor="mm")
    turn, slant, wide = math.radians(chance.uniform(-16, 16)), chance.uniform(-0.25, 0.25), chance.uniform(0.85, 1.15)
    sine, cosine = math.sin(turn), math.cos(turn)
    a, b, d, e = cosine / wide, sine / wide + slant, -sine, cosine
    matrix = (a, b, 70 - 70 * (a + b), d, e, 70 - 70 * (d + e))
    turned = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(turned) > 100


def _unit(mask: Mask) -> np.ndarray:
    """A mask cut to its ink, as large as the square allows, blurred, of length 1."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return np.zeros(EDGE * EDGE, np.float32)
    cut = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(np.float32)
    scale = (EDGE - 4) / max(cut.shape)
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    square = np.zeros((EDGE, EDGE), np.float32)
    top, left = (EDGE - size[1]) // 2, (EDGE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = cut
    row = cv2.GaussianBlur(square, (0, 0), 1.0).ravel()
    row -= row.mean()
    return row / max(1e-6, float(np.linalg.norm(row)))


def _pixels(sample: Sample) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(sample.content)).convert("RGB"))


def _labels(pixels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """For each pixel the number of the plain colour nearest to it, and the numbers of those at the border."""
    flat = (pixels >> 3).astype(np.int32)
    codes = flat[..., 0] << 10 | flat[..., 1] << 5 | flat[..., 2]
    # Blends at edges are seldom 2 by 2 pixels large.
    whole = (codes[1:, 1:] == codes[:-1, 1:]) & (codes[1:, 1:] == codes[1:, :-1]) & (codes[1:, 1:] == codes[:-1, :-1])
    found, counts = np.unique(codes[1:, 1:][whole], return_counts=True)
    major = found[counts > max(12, 0.0006 * codes.size)][:64]
    centres = np.stack([major >> 10, major >> 5 & 31, major & 31], 1).astype(np.float32)
    apart = np.abs(flat[:, :, None, :] - centres[None, None]).sum(-1)
    labels = apart.argmin(-1)
    ring = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    numbers, many = np.unique(ring, return_counts=True)
    return labels, [int(number) for number, count in zip(numbers, many, strict=True) if count > 0.03 * len(ring)]


def _parts(mask: Mask, shape: tuple[int, int]) -> Iterator[tuple[Box, Mask]]:
    """The connected parts of a mask that could be letters by their size."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    high, wide = shape
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[number])
        if 0.09 * high <= height <= 0.9 * high and 0.015 * wide <= width <= 0.3 * wide and area > 0.08 * width * height:
            yield (left, top, left + width, top + height), labels[top : top + height, left : left + width] == number


def _closed(mask: Mask, edge: int) -> Mask:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((edge, edge), np.uint8)) > 0


def _opened(mask: Mask, edge: int) -> Mask:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((edge, edge), np.uint8)) > 0


def _filled(mask: Mask) -> Mask:
    """A mask with its holes filled."""
    padded = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    return padded[1:-1, 1:-1] != 2


def colour_masks(sample: Sample) -> list[tuple[Box, Mask]]:
    """Candidates: everything of one colour, its parts, and its parts without thin lines."""
    labels, grounds = _labels(_pixels(sample))
    candidates = []
    for number in range(labels.max() + 1):
        if number in grounds:
            continue
        mask = labels == number
        for one in (mask, _closed(mask, 3), _opened(mask, 3)):
            candidates += _parts(one, mask.shape)
        ys, xs = np.nonzero(mask)
        if len(ys) > 20 and xs.max() - xs.min() < 0.3 * mask.shape[1]:
            box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
            candidates.append((box, mask[box[1] : box[3], box[0] : box[2]]))
    return candidates


def segmentation(sample: Sample) -> list[tuple[Box, Mask]]:
    """Candidates: what is lighter or darker than the ground, without arcs; hollow letters are filled first."""
    pixels = _pixels(sample)
    labels, grounds = _labels(pixels)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    candidates = []
    for mask in _inks(grey, labels, grounds):
        for thin in (3, 4, 5):
            body = _opened(_filled(_closed(mask, 2)), thin)
            for box, part in _parts(body, mask.shape):
                region = cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
                inside = mask[box[1] : box[3], box[0] : box[2]] & region
                candidates += [(box, inside), (box, _opened(inside, 3))]
            candidates += _parts(_opened(mask, thin), mask.shape)
    return candidates


def _inks(grey: np.ndarray, labels: np.ndarray, grounds: Sequence[int]) -> list[Mask]:
    levels = [float(np.median(grey[labels == number])) for number in grounds] or [float(np.median(grey))]
    low, high = min(levels), max(levels)
    if high - low < 40:
        return [grey > high + 28, grey < low - 28, np.abs(grey - (low + high) / 2) > 28]
    # The ground has two sides, and letters change with it: what a median takes away is letters.
    binary = (grey > (low + high) / 2).astype(np.uint8)
    return [(cv2.medianBlur(binary, edge) ^ binary) > 0 for edge in (11, 15, 19, 25)]


def layers(content: bytes) -> np.ndarray:
    """A picture as three layers for a network: its brightness, and what medians of two sizes take away from it."""
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    low, high = int(grey.min()), int(grey.max())
    whole = ((grey.astype(np.int32) - low) * 255 // max(1, high - low)).astype(np.uint8)
    binary = (whole > 127).astype(np.uint8)
    return np.stack([whole, *(255 * (cv2.medianBlur(binary, edge) ^ binary) for edge in (19, 31))], -1)


def flattened(sample: Sample, edge: int = 25) -> Sample:
    """The picture as whoever knows the source would hand it to a reader: letters dark on white, the ground taken away.

    Of a ground with two sides, a median gives the ground back; what differs from it is letters. Of a plain ground,
    what differs from it in brightness is.
    """
    pixels = _pixels(sample)
    labels, grounds = _labels(pixels)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    levels = [float(np.median(grey[labels == number])) for number in grounds] or [float(np.median(grey))]
    if max(levels) - min(levels) > 40:
        binary = (grey > sum(levels) / len(levels)).astype(np.uint8)
        ink = cv2.morphologyEx(cv2.medianBlur(binary, edge) ^ binary, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    else:
        ink = (np.abs(grey.astype(np.int16) - levels[0]) > 28).astype(np.uint8)
    _, content = cv2.imencode(".png", 255 * (1 - ink))
    return Sample(content.tobytes(), sample.answer, sample.family)


def guess(
    contender: Contender, samples: Sequence[Sample], find: Callable[[Sample], list[tuple[Box, Mask]]]
) -> list[str]:
    """The answers that an attack arrives at."""
    templates = _templates(contender.shapes, contender.fonts)
    texts = []
    for sample in samples:
        candidates = find(sample)
        matched = templates.match([mask for _, mask in candidates])
        found = [Found(box, *match) for (box, _), match in zip(candidates, matched, strict=True)]
        chosen: list[Found] = []
        for one in sorted(found, key=lambda one: -one.score):
            if len(chosen) < len(sample.answer) and not any(_overlap(one.box, other.box) for other in chosen):
                chosen.append(one)
        by_box = {one.box: one.character for one in chosen}
        texts.append("".join(by_box[box] for box in in_order(list(by_box), sample.family == "rows")))
    return texts


def _overlap(one: Box, other: Box) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return False
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return across * down > 0.35 * smaller
