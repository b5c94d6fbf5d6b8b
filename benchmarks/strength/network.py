"""A small convolutional reader with a CTC head, trained on labelled pictures within a budget of CPU seconds.

It is what a good adversary with an afternoon would write: 0.6 million parameters, bfloat16, augmentation, one core.
A second loss says in the beginning roughly where letters are, columns keep the height at which something was found, and
the ground is taken away first; of BotBlock it learns nothing in two minutes without the last of these.
It reads columns from left to right, so of letters in several lines it makes something only by chance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from . import learning
from .attacks import Grey, difference, layers
from .contenders import Sample

Size = tuple[int, int]
BATCH = 32
RATE = 2e-3
WIDE = 240  # from which width on a picture is halved once more


def _plain(content: bytes) -> Grey:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


INPUTS: dict[str, Callable[[bytes], Grey]] = {"colours": _plain, "difference": difference, "layers": layers}
"""What the network is shown: the colours as they are, their difference from the border's, or the brightness and what
medians take away from it."""


@dataclass(frozen=True, slots=True)
class View:
    """How a network sees pictures."""

    form: str
    size: Size

    def __str__(self) -> str:
        return f"{self.form} {self.size[0]}x{self.size[1]}"

    def see(self, sample: Sample) -> Grey:
        """A sample as the network gets it."""
        image = Image.fromarray(INPUTS[self.form](sample.content))
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image)


class Reader(nn.Module):
    """Pictures in, for each of some 40 columns the likelihood of each character out."""

    def __init__(self, classes: int, size: Size) -> None:
        super().__init__()
        wide = size[0] > WIDE
        self.body = nn.Sequential(
            _step(3, 32, 2),
            _step(32, 64, 2),
            nn.MaxPool2d(2) if wide else nn.Identity(),
            _step(64, 128, 1),
            nn.MaxPool2d((2, 1)),
            _step(128, 128, 1),
            nn.MaxPool2d((2, 1)),
            _step(128, 160, 1),
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            found = self.body(torch.zeros(1, 3, size[1], size[0]))
        self.head = nn.Sequential(
            _line(found.shape[1] * found.shape[2], 160, 1), _line(160, 160, 3), nn.Conv1d(160, classes + 1, 1)
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(pictures).flatten(1, 2))
        return scores.float().log_softmax(1).permute(2, 0, 1)


def _step(inward: int, outward: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, stride, 1, bias=False), nn.BatchNorm2d(outward), nn.ReLU(inplace=True)
    )


def _line(inward: int, outward: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(inward, outward, kernel, padding=kernel // 2, bias=False), nn.BatchNorm1d(outward), nn.ReLU()
    )


class Pictures:
    """Samples as a network wants them."""

    def __init__(self, samples: Sequence[Sample], view: View, alphabet: str) -> None:
        self.view = view
        self.answers = [[1 + alphabet.index(character) for character in sample.answer] for sample in samples]
        self._seen = np.stack([view.see(sample) for sample in samples])

    def __len__(self) -> int:
        return len(self.answers)

    def batch(self, numbers: Sequence[int]) -> torch.Tensor:
        """Some of them."""
        scaled = torch.from_numpy(self._seen[list(numbers)]).permute(0, 3, 1, 2).float().div_(127.5)
        return scaled.contiguous(memory_format=torch.channels_last)


def _varied(pictures: torch.Tensor, chance: random.Random, coloured: bool) -> torch.Tensor:
    """Augmentation: shifted, sized and slanted a little, colours exchanged if they are colours."""
    count = pictures.shape[0]
    spread = (torch.rand(count, 2, 3) - 0.5) * torch.tensor([[0.16, 0.2, 0.1], [0.06, 0.16, 0.16]])
    grid = functional.affine_grid(torch.eye(2, 3) + spread, list(pictures.shape), align_corners=False)
    pictures = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    order = [0, 1, 2]
    if coloured:
        chance.shuffle(order)
    return pictures[:, order] * (0.8 + 0.4 * torch.rand(count, 1, 1, 1))


def _rough(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A loss for the beginning: each letter is somewhere near its even share of the columns.

    CTC alone needs many steps before it has any idea of where letters are; this gives it one.
    """
    columns, letters = scores.shape[0], wanted.shape[1]
    at = (torch.arange(letters) + 0.5) * columns / letters
    apart = (torch.arange(columns)[:, None] - at[None]) / (0.6 * columns / letters)
    likely = scores[:, :, None, 1:] - 0.5 * (apart**2)[:, None, :, None]
    return functional.cross_entropy(likely.logsumexp(0).flatten(0, 1), wanted.flatten() - 1)


def shuffled(count: int, chance: random.Random) -> Iterator[list[int]]:
    """Batches of numbers of pictures in random order, without end."""
    left: list[int] = []
    while True:
        if len(left) < BATCH:
            left = [*range(count)] * (1 + BATCH // count)
            chance.shuffle(left)
        yield left[:BATCH]
        left = left[BATCH:]


def train(pictures: Pictures, classes: int, seconds: float, seed: int) -> Reader:
    """A reader that has learned from these for so many CPU seconds, this thread's own."""
    learning.begin(seed)
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    reader = Reader(classes, pictures.view.size)
    descent = learning.Descent(reader, RATE)
    queue, begin = shuffled(len(pictures), chance), time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        share = spent / seconds
        numbers = next(queue)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = reader(_varied(pictures.batch(numbers), chance, pictures.view.form != "layers"))
        loss = _loss(scores, [pictures.answers[number] for number in numbers], 1 - 2 * share)
        descent.step(loss, share)
    return reader.eval()


def _loss(scores: torch.Tensor, wanted: Sequence[Sequence[int]], guided: float) -> torch.Tensor:
    loss = functional.ctc_loss(
        scores,
        torch.tensor([part for answer in wanted for part in answer]),
        torch.full((len(wanted),), scores.shape[0]),
        torch.tensor([len(answer) for answer in wanted]),
        zero_infinity=True,
    )
    if guided > 0 and len({len(answer) for answer in wanted}) == 1:
        loss = loss + guided * _rough(scores, torch.tensor(wanted))
    return loss


def read(reader: Reader, pictures: Pictures, alphabet: str) -> list[str]:
    """What the reader makes of each picture."""
    texts = []
    for begin in range(0, len(pictures), 100):
        some = range(begin, min(begin + 100, len(pictures)))
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            scores = reader(pictures.batch(some))
        for number, column in zip(some, scores.permute(1, 0, 2).numpy(), strict=True):
            texts.append(_decoded(column, alphabet, len(pictures.answers[number])))
    return texts


def _decoded(scores: NDArray[np.float32], alphabet: str, length: int) -> str:
    """The likeliest path that spells exactly so many characters: a reader knows how many there are."""
    classes = scores.shape[1] - 1
    # For each count of characters begun: the best score that ends in a gap, and in each character; and as a number
    # to the base of the alphabet, what it spells.
    gap, inside = np.full(length + 1, -np.inf), np.full((length + 1, classes), -np.inf)
    gap[0] = 0.0
    gap_text, inside_text = np.zeros(length + 1, np.int64), np.zeros((length + 1, classes), np.int64)
    every, counts = np.arange(classes), np.arange(length + 1)
    for column in scores:
        last = inside.argmax(1)
        ends, ends_text = inside[counts, last], inside_text[counts, last]
        # A character follows a gap, or another character than itself.
        rest = inside.copy()
        rest[counts, last] = -np.inf
        second = rest.argmax(1)
        before = np.where(every == last[:, None], rest[counts, second][:, None], ends[:, None])
        before_text = np.where(every == last[:, None], inside_text[counts, second][:, None], ends_text[:, None])
        before_text = np.where(gap[:, None] >= before, gap_text[:, None], before_text)
        before = np.maximum(gap[:, None], before)
        begun = np.vstack([np.full((1, classes), -np.inf), before[:-1]])
        begun_text = np.vstack([np.zeros((1, classes), np.int64), before_text[:-1]]) * classes + every
        gap_text = np.where(ends > gap, ends_text, gap_text)
        gap = np.maximum(gap, ends) + column[0]
        inside_text = np.where(begun > inside, begun_text, inside_text)
        inside = np.maximum(inside, begun) + column[1:]
    best = int(inside[length].argmax())
    number = int(gap_text[length] if gap[length] >= inside[length, best] else inside_text[length, best])
    text = ""
    for _ in range(length):
        number, digit = divmod(number, classes)
        text = alphabet[digit] + text
    return text
