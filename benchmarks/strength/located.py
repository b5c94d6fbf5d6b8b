"""A reader trained on pictures that it draws itself with our own source, which tells it where each letter is.

Nobody has to label anything for it, and it never sees a picture twice. It is the strongest attack here, and the reason
why no picture is more than one hurdle among several. One that has learned the letters of one family can be shown the
pictures of another sheared, so that their letters stand as those that it knows.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from gatepost.challenges import _styles
from gatepost.challenges._layout import Letter, Stance, arrange

from . import learning
from .attacks import layers
from .contenders import Contender, Sample
from .lines import reading_order

CELL = 8  # pixels of the grid that letters are looked for in
BATCH = 16
RATE = 3e-3
NOTHING, UNSURE = 0, -1
SIZE = (300, 150)
ROOM = (400, 224)  # for a picture that is sheared

Place = Callable[[float, float], tuple[float, float]]
"""Where in a picture of ours something is that lies at these shares of the width and height of what is looked at."""


def _plain(across: float, down: float) -> tuple[float, float]:
    return across * SIZE[0], down * SIZE[1]


class Shear:
    """Shows pictures whose letters stand in one way as if they stood in another, both on average."""

    def __init__(self, found: Stance, known: Stance) -> None:
        # From where in the new picture to where in the old one, both from the middle.
        self._back = _upright(found) @ np.linalg.inv(_upright(known))

    def show(self, sample: Sample) -> Sample:
        """The picture, sheared."""
        image = Image.open(BytesIO(sample.content)).convert("RGB")
        (a, b), (d, e) = self._back.tolist()
        (c, f) = self.place(0, 0)
        matrix, bicubic = (a, b, c, d, e, f), Image.Resampling.BICUBIC
        sheared = image.transform(ROOM, Image.Transform.AFFINE, matrix, bicubic, fillcolor=image.getpixel((1, 1)))
        file = BytesIO()
        sheared.save(file, "PNG")
        return replace(sample, content=file.getvalue())

    def place(self, across: float, down: float) -> tuple[float, float]:
        """See :data:`Place`."""
        x, y = self._back @ ((across - 0.5) * ROOM[0], (down - 0.5) * ROOM[1])
        return float(x + SIZE[0] / 2), float(y + SIZE[1] / 2)


def _upright(stance: Stance) -> NDArray[np.float64]:
    """Where a step to the right and one down lead to in a letter that stands so, on average."""
    lean, rise = (math.tan(math.radians(sum(part) / 2)) for part in (stance.lean, stance.rise))
    return np.array([[1.0, -lean], [-rise, 1.0]])


@contextmanager
def watched() -> Iterator[list[list[tuple[float, float]]]]:
    """While it lasts, the middles of all letters drawn, picture by picture."""
    seen: list[list[tuple[float, float]]] = []

    def watching(chance: random.Random, letters: Sequence[Letter], *rest: Any) -> None:
        arrange(chance, letters, *rest)
        seen.append([(one.left + one.width / 2, one.top + one.height / 2) for one in letters])

    with mock.patch.object(_styles, "arrange", watching):
        yield seen


def grid(classes: int) -> nn.Sequential:
    """A network that says for each cell of a picture how likely it is nothing, or each letter."""
    steps = [(3, 24, 5, 2), (24, 48, 3, 2), (48, 96, 3, 2), (96, 128, 3, 1), (128, 160, 3, 1)]
    parts: list[nn.Module] = []
    for inward, outward, kernel, stride in steps:
        parts += [
            nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outward),
            nn.ReLU(),
        ]
    return nn.Sequential(*parts, nn.Conv2d(160, classes + 1, 1))


def _inputs(samples: Sequence[Sample]) -> torch.Tensor:
    stack = np.stack([layers(sample.content) for sample in samples])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _targets(
    samples: Sequence[Sample], places: Sequence[Sequence[tuple[float, float]]], alphabet: str, shape: tuple[int, int]
) -> torch.Tensor:
    wanted = torch.zeros(len(samples), *shape, dtype=torch.long)
    for number, (sample, middles) in enumerate(zip(samples, places, strict=True)):
        cells = [(min(shape[0] - 1, int(y / CELL)), min(shape[1] - 1, int(x / CELL))) for x, y in middles]
        for row, column in cells:
            wanted[number, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = UNSURE
        for (row, column), character in zip(cells, sample.answer, strict=True):
            wanted[number, row, column] = 1 + alphabet.index(character)
    return wanted


def missed(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The loss of cells: on average over those that are letters, and over those that are nothing."""
    loss = functional.cross_entropy(scores.clamp(-30, 30), wanted.clamp(min=0), reduction="none")
    letters = (loss * (wanted > 0)).sum() / (wanted > 0).sum()
    nothing = (loss * (wanted == NOTHING)).sum() / (wanted == NOTHING).sum()
    return letters + nothing


def train(contender: Contender, seconds: float, seed: int) -> nn.Sequential:
    """A network that has drawn and learned for so many CPU seconds; drawing does not count."""
    learning.begin(seed)
    network = grid(len(contender.alphabet))
    descent, spent = learning.Descent(network, RATE), 0.0
    with watched() as seen:
        while spent < seconds:
            seen.clear()
            samples = contender.make(BATCH)
            begin = time.process_time()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = network(_inputs(samples)).float()
            wanted = _targets(samples, seen, contender.alphabet, (scores.shape[2], scores.shape[3]))
            descent.step(missed(scores, wanted), spent / seconds)
            spent += time.process_time() - begin
    return network.eval()


def read(network: nn.Sequential, samples: Sequence[Sample], alphabet: str, shear: Shear | None = None) -> list[str]:
    """What it makes of each picture: the surest letters that are not next to each other, in order of reading."""
    texts, place = [], shear.place if shear else _plain
    for begin in range(0, len(samples), 50):
        some = [shear.show(sample) if shear else sample for sample in samples[begin : begin + 50]]
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            likely = network(_inputs(some)).float().softmax(1).numpy()
        for sample, cells in zip(some, likely, strict=True):
            texts.append(spelled(cells, alphabet, len(sample.answer), place))
    return texts


def spelled(cells: NDArray[np.float32], alphabet: str, length: int, place: Place = _plain) -> str:
    """The surest letters that are not next to each other, in order of reading; cells are those of a picture of ours."""
    # A letter's likelihood spreads over neighbouring cells.
    sure = functional.avg_pool2d(torch.from_numpy(1 - cells[NOTHING])[None], 3, 1, 1)[0].numpy().copy()
    found: list[tuple[int, int, str]] = []
    for _ in range(length):
        row, column = np.unravel_index(int(sure.argmax()), sure.shape)
        around = cells[1:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].sum((1, 2))
        found.append((int(row), int(column), alphabet[int(around.argmax())]))
        sure[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = -1
    high, wide = sure.shape
    places = [place((column + 0.5) / wide, (row + 0.5) / high) for row, column, _ in found]
    found = [found[number] for number in reading_order(places)]
    return "".join(character for _, _, character in found)
