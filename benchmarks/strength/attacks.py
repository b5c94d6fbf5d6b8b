"""Readers without learning, written against the very source: colour masks, and segmentation.

Both end in the same way: what they take for a letter is brought to one size and compared with every character in every
font, standing as the pictures have them, filled and hollow; the best that do not overlap are the answer.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gatepost.challenges._layout import Pose, Stance

from .contenders import Contender, Sample
from .readers import Box, in_order

EDGE = 32  # of the square that letters are compared in
FACE = 45  # half the size of letters that templates are made of
TURN = 12.0  # degrees
WHOLE = 0.3  # how much surer one is of all that has one colour than of a part of something
Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Rows = NDArray[np.float32]
Candidate = tuple[Box, Mask, float]
"""Where it is, its shape, and how much surer than of others one is that it is a letter."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something taken for a letter."""

    box: Box
    character: str
    score: float


class Templates:
    """What letters can look like, as rows of a matrix: as the fonts have them, and in each stance several times."""

    def __init__(self, shapes: str, fonts: tuple[Path, ...], stances: tuple[Stance, ...], variants: int = 14) -> None:
        chance = random.Random(5)  # noqa: S311 - looks only
        rows, self._names = [], []
        for font in fonts:
            face = ImageFont.truetype(str(font), 2 * FACE)
            for shape in shapes:
                poses = [Pose.any(chance, stance, TURN) for stance in stances for _ in range(variants)]
                rows.append(_unit(np.asarray(_drawn(face, shape, hollow=False)) > 127))
                for number, pose in enumerate(poses):
                    turned = pose.apply(_drawn(face, shape, hollow=number % 3 == 2), 1.0)
                    rows.append(_unit(np.asarray(turned.mask) > 100))
                self._names += [shape.lower()] * (1 + len(poses))
        self._rows = np.stack(rows)

    def match(self, masks: Sequence[Mask]) -> list[tuple[str, float]]:
        """For each mask the character it is most like, and how much, up to 1."""
        if not masks:
            return []
        scores = np.stack([_unit(mask) for mask in masks]) @ self._rows.T
        return [(self._names[int(row.argmax())], float(row.max())) for row in scores]


@functools.lru_cache(maxsize=4)
def _templates(shapes: str, fonts: tuple[Path, ...], stances: tuple[Stance, ...]) -> Templates:
    return Templates(shapes, fonts, stances)


def _drawn(face: ImageFont.FreeTypeFont, shape: str, hollow: bool) -> Image.Image:
    image = Image.new("L", (5 * FACE, 5 * FACE))
    brush = ImageDraw.Draw(image)
    middle = 2.5 * FACE
    brush.text((middle, middle), shape, fill=255, font=face, anchor="mm", stroke_width=FACE // 8 if hollow else 0)
    if hollow:
        brush.text((middle, middle), shape, fill=0, font=face, anchor="mm")
    return image


def _unit(mask: Mask) -> Rows:
    """A mask cut to its ink, as large as the square allows, blurred, of length 1."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return np.zeros(EDGE * EDGE, np.float32)
    cut = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(np.float32)
    scale = (EDGE - 4) / max(cut.shape)
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    square = np.zeros((EDGE, EDGE), np.float32)
    top, left = (EDGE - size[1]) // 2, (EDGE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    row: Rows = cv2.GaussianBlur(square, (0, 0), 1.0).ravel().astype(np.float32)
    row -= row.mean()
    row /= max(1e-6, float(np.linalg.norm(row)))
    return row


def _pixels(sample: Sample) -> Grey:
    return np.asarray(Image.open(BytesIO(sample.content)).convert("RGB"))


def _labels(pixels: Grey) -> tuple[NDArray[np.intp], list[int]]:
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
    return _morphed(mask, cv2.MORPH_CLOSE, edge)


def _opened(mask: Mask, edge: int) -> Mask:
    return _morphed(mask, cv2.MORPH_OPEN, edge)


def _morphed(mask: Mask, how: int, edge: int) -> Mask:
    morphed: Mask = cv2.morphologyEx(mask.astype(np.uint8), how, np.ones((edge, edge), np.uint8)) > 0
    return morphed


def _filled(mask: Mask) -> Mask:
    """A mask with its holes filled."""
    padded = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    filled: Mask = padded[1:-1, 1:-1] != 2
    return filled


def colour_masks(sample: Sample) -> list[Candidate]:
    """Candidates: everything of one colour; of colours that are almost one, its parts, with and without thin lines."""
    pixels = _pixels(sample)
    candidates = [*_of_one_colour(pixels)]
    labels, grounds = _labels(pixels)
    for number in range(int(labels.max()) + 1):
        if number in grounds:
            continue
        mask = labels == number
        for one in (mask, _closed(mask, 3), _opened(mask, 3)):
            candidates += [(box, part, 0.0) for box, part in _parts(one, mask.shape)]
        candidates += _narrow(mask, 0.0)
    return candidates


def _of_one_colour(pixels: Grey) -> Iterator[Candidate]:
    """All that has the very same colour, if it is in one place, and with the lines across it closed."""
    codes = pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    found, counts = np.unique(codes, return_counts=True)
    common = np.argsort(-counts)[1:60]
    for code in found[common[counts[common] > 0.0008 * codes.size]]:
        for box, mask, surer in _narrow(codes == code, WHOLE):
            # Of lines and arcs hardly anything is left without what is as thin as they are; of some letters neither.
            thin = max(2, round(pixels.shape[0] / 50))
            thick = _opened(mask, thin).sum() / mask.sum()
            yield box, _closed(np.pad(mask, 6), thin), surer + 0.15 * min(1.0, 4 * float(thick))


def _narrow(mask: Mask, surer: float) -> Iterator[Candidate]:
    """A mask cut to its ink, if it is no wider than a letter can be."""
    ys, xs = np.nonzero(mask)
    if len(ys) > 20 and xs.max() - xs.min() < 0.3 * mask.shape[1] and ys.max() - ys.min() > 0.05 * mask.shape[0]:
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        yield box, mask[box[1] : box[3], box[0] : box[2]], surer


def segmentation(sample: Sample) -> list[Candidate]:
    """Candidates: what is lighter or darker than the ground, without arcs; hollow letters are filled first."""
    pixels = _pixels(sample)
    labels, grounds = _labels(pixels)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    candidates: list[tuple[Box, Mask]] = []
    for mask in _inks(grey, labels, grounds):
        for thin in (3, 4, 5):
            body = _opened(_filled(_closed(mask, 2)), thin)
            for box, part in _parts(body, mask.shape):
                region = cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
                inside = mask[box[1] : box[3], box[0] : box[2]] & region
                candidates += [(box, inside), (box, _opened(inside, 3))]
            candidates += _parts(_opened(mask, thin), mask.shape)
    return [(box, mask, 0.0) for box, mask in candidates]


def _inks(grey: Grey, labels: NDArray[np.intp], grounds: Sequence[int]) -> list[Mask]:
    levels = [float(np.median(grey[labels == number])) for number in grounds] or [float(np.median(grey))]
    low, high = min(levels), max(levels)
    if high - low < 40:
        return [grey > high + 28, grey < low - 28, np.abs(grey - (low + high) / 2) > 28]
    # The ground has two sides, and letters change with it: what a median takes away is letters.
    binary = (grey > (low + high) / 2).astype(np.uint8)
    return [_against(binary, edge) > 0 for edge in (11, 15, 19, 25)]


def _against(binary: Grey, edge: int) -> Grey:
    """What a median takes away from a picture of two values: all that is smaller than its square."""
    return np.bitwise_xor(cv2.medianBlur(binary, edge).astype(np.uint8), binary)


def layers(content: bytes) -> Grey:
    """A picture as three layers for a network: its brightness, and what medians of two sizes take away from it."""
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    low, high = int(grey.min()), int(grey.max())
    whole = ((grey.astype(np.int32) - low) * 255 // max(1, high - low)).astype(np.uint8)
    binary = (whole > 127).astype(np.uint8)
    return np.stack([whole, *(255 * _against(binary, edge) for edge in (19, 31))], -1)


def difference(content: bytes) -> Grey:
    """A picture as its difference from the colour of its border, channel by channel: plain grounds turn black."""
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(ring, 0).astype(np.int16)
    apart: Grey = np.abs(pixels.astype(np.int16) - ground).astype(np.uint8)
    return apart


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
        ink = _opened(_against(binary, edge) > 0, 2).astype(np.uint8)
    else:
        ink = (np.abs(grey.astype(np.int16) - levels[0]) > 28).astype(np.uint8)
    _, content = cv2.imencode(".png", 255 * (1 - ink))
    return Sample(content.tobytes(), sample.answer, sample.family)


def guess(contender: Contender, samples: Sequence[Sample], find: Callable[[Sample], list[Candidate]]) -> list[str]:
    """The answers that an attack arrives at."""
    templates = _templates(contender.shapes, contender.fonts, contender.stances)
    texts = []
    for sample in samples:
        candidates = find(sample)
        matched = templates.match([mask for _, mask, _ in candidates])
        found = [
            Found(box, character, score + surer)
            for (box, _, surer), (character, score) in zip(candidates, matched, strict=True)
        ]
        chosen: list[Found] = []
        for one in sorted(found, key=lambda one: -one.score):
            if len(chosen) < len(sample.answer) and not any(_overlap(one.box, other.box) for other in chosen):
                chosen.append(one)
        by_box = {one.box: one.character for one in chosen}
        texts.append("".join(by_box[box] for box in in_order(list(by_box), sample, contender.size[0])))
    return texts


def _overlap(one: Box, other: Box) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return False
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return across * down > 0.35 * smaller
