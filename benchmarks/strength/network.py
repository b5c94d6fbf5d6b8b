"""A small convolutional reader with a CTC head, trained on one core within a budget of CPU seconds.

It is what a good adversary with an afternoon would write: 0.6 million parameters, colour in, bfloat16, augmentation.
It is told the family of each picture, in training and in reading (finding that out is easy), and so reads two lines
as two lines.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from .attacks import layers
from .contenders import Sample

Size = tuple[int, int]
BATCH = 20
TWO_LINES = ("rows",)


class Reader(nn.Module):
    """Pictures in, for each of some 40 columns (80 for two lines) the likelihood of each character out."""

    def __init__(self, classes: int, size: Size) -> None:
        super().__init__()
        width = size[0]
        # Columns are about four pixels of a picture 160 wide, eight of one 300 wide.
        self.body = nn.Sequential(
            _step(3, 24, 5, (2, 2)),
            _step(24, 48, 3, (2, 2)),
            _step(48, 96, 3, (2, 2 if width > 240 else 1)),
            _step(96, 160, 3, (2, 1)),
            _step(160, 192, 3, (1, 1)),
        )
        self.gather = nn.Sequential(nn.Conv2d(192, 160, 1), nn.BatchNorm2d(160), nn.ReLU())
        self.head = nn.Sequential(nn.Conv1d(160, 160, 3, padding=1), nn.ReLU(), nn.Conv1d(160, classes + 1, 1))

    def forward(self, pictures: torch.Tensor, two: bool) -> torch.Tensor:
        found = self.gather(self.body(pictures))
        middle = found.shape[2] // 2
        parts = [found[:, :, :middle], found[:, :, middle:]] if two else [found]
        line = torch.cat([part.amax(2) for part in parts], 2)
        return self.head(line).float().log_softmax(1).permute(2, 0, 1)


def _step(inward: int, outward: int, kernel: int, stride: tuple[int, int]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outward), nn.ReLU()
    )


class Pictures:
    """Samples as a network wants them; large ones stay files until they are needed."""

    def __init__(self, samples: Sequence[Sample], size: Size, alphabet: str, layered: bool = False) -> None:
        self._size = size
        self._layered = layered
        self._samples = samples
        self.two = [sample.family in TWO_LINES for sample in samples]
        self.answers = [[1 + alphabet.index(character) for character in sample.answer] for sample in samples]
        keep = len(samples) * size[0] * size[1] * 3 < 3_000_000_000
        self._kept = np.stack([self._load(sample) for sample in samples]) if keep else None

    def __len__(self) -> int:
        return len(self._samples)

    def _load(self, sample: Sample) -> np.ndarray:
        if self._layered:
            image = Image.fromarray(layers(sample.content))
        else:
            image = Image.open(BytesIO(sample.content)).convert("RGB")
        if image.size != self._size:
            image = image.resize(self._size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image)

    def batch(self, numbers: Sequence[int]) -> torch.Tensor:
        chosen = (
            self._kept[list(numbers)]
            if self._kept is not None
            else np.stack([self._load(self._samples[n]) for n in numbers])
        )
        return torch.from_numpy(chosen).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _varied(pictures: torch.Tensor, chance: random.Random) -> torch.Tensor:
    """Augmentation: shifted, sized and slanted a little, colours exchanged."""
    count = pictures.shape[0]
    spread = (torch.rand(count, 2, 3) - 0.5) * torch.tensor([[0.16, 0.2, 0.1], [0.06, 0.16, 0.16]])
    grid = functional.affine_grid(torch.eye(2, 3) + spread, list(pictures.shape), align_corners=False)
    pictures = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    order = [0, 1, 2]
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


def train(pictures: Pictures, size: Size, classes: int, seconds: float, seed: int) -> Reader:
    """A reader that has learned from these for so many CPU seconds, this thread's own."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    reader = Reader(classes, size)
    descent = torch.optim.AdamW(reader.parameters(), lr=1e-3, weight_decay=0.01)
    begin = time.process_time()
    spent = 0.0
    # One batch is of one layout, since the two have different numbers of columns.
    layouts = [[n for n in range(len(pictures)) if pictures.two[n] is two] for two in (False, True)]
    queues: list[list[int]] = [[], []]
    steps = 0
    while spent < seconds:
        share = spent / seconds
        for group in descent.param_groups:
            group["lr"] = 2.5e-3 * min(1.0, share / 0.08) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))
        two = chance.random() < len(layouts[1]) / len(pictures)
        if len(queues[two]) < BATCH:
            queues[two] = layouts[two] * (1 + BATCH // len(layouts[two]))
            chance.shuffle(queues[two])
        numbers, queues[two] = queues[two][:BATCH], queues[two][BATCH:]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = reader(_varied(pictures.batch(numbers), chance), two)
        wanted = [pictures.answers[number] for number in numbers]
        loss = functional.ctc_loss(
            scores,
            torch.tensor([part for answer in wanted for part in answer]),
            torch.full((len(numbers),), scores.shape[0]),
            torch.tensor([len(answer) for answer in wanted]),
            zero_infinity=True,
        )
        if share < 0.5 and len({len(answer) for answer in wanted}) == 1:
            loss = loss + (1 - 2 * share) * _rough(scores, torch.tensor(wanted))
        descent.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 5.0)
        descent.step()
        steps += 1
        spent = time.process_time() - begin
        if steps % 300 == 0:
            print(f"    {spent:.0f} s, {steps * BATCH} pictures, loss {loss.item():.2f}", flush=True)
    return reader.eval()


def read(reader: Reader, pictures: Pictures, alphabet: str) -> list[str]:
    """What the reader makes of each picture."""
    texts = [""] * len(pictures)
    for two in (False, True):
        numbers = [n for n in range(len(pictures)) if pictures.two[n] is two]
        for begin in range(0, len(numbers), 100):
            some = numbers[begin : begin + 100]
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                scores = reader(pictures.batch(some), two)
            for number, column in zip(some, scores.permute(1, 0, 2).numpy(), strict=True):
                texts[number] = _decoded(column, alphabet, len(pictures.answers[number]))
    return texts


def _decoded(scores: np.ndarray, alphabet: str, length: int) -> str:
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
