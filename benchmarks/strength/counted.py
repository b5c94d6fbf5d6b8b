"""A reader that learns from labelled pictures where letters are, whatever their layout.

A label says which letters a picture has, and not where. The network gives each cell of a grid its likelihood of being
each letter or nothing. At first it learns two things: that summed up over all cells these are what the label counts
(aggregation cross-entropy, Xie et al., 2019), and that each letter is roughly where letters of its number are in
pictures that are drawn with the source. After a while the cells that it holds
likeliest for the letters of a label are taken for their places, and it learns as if it had been told them. Lines are
found afterwards, from where letters are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from . import learning
from .contenders import Contender, Sample
from .located import RATE, UNSURE, grid, missed, spelled, watched
from .network import Pictures, shuffled

COUNTED = 10.0  # the weight of the loss of counts
ROUGHLY = 0.2  # the share of the time after which the network's places are taken for true
DRAWN = 1_500  # pictures that tell roughly where letters are
SIZE = (300, 150)


def _varied(pictures: torch.Tensor) -> torch.Tensor:
    """Augmentation: shifted, sized and slanted a little."""
    count = pictures.shape[0]
    spread = (torch.rand(count, 2, 3) - 0.5) * torch.tensor([[0.2, 0.2, 0.1], [0.08, 0.2, 0.1]])
    change = functional.affine_grid(torch.eye(2, 3) + spread, list(pictures.shape), align_corners=False)
    varied = functional.grid_sample(pictures, change, padding_mode="border", align_corners=False)
    return varied.contiguous(memory_format=torch.channels_last)


def _usual(contender: Contender, high: int, wide: int) -> Mapping[str, torch.Tensor]:
    """For each family and each letter of an answer the logarithm of how likely each cell is its place."""
    with watched() as places:
        samples = contender.make(DRAWN)
    counts: dict[str, torch.Tensor] = {}
    for sample, middles in zip(samples, places, strict=True):
        count = counts.setdefault(sample.family, torch.full((len(middles), high, wide), 1e-3))
        for number, (x, y) in enumerate(middles):
            count[number, min(high - 1, int(y / SIZE[1] * high)), min(wide - 1, int(x / SIZE[0] * wide))] += 1
    smooth = {
        family: functional.avg_pool2d(functional.pad(count[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
        for family, count in counts.items()
    }
    return {family: (share / share.sum((1, 2), keepdim=True)).log() for family, share in smooth.items()}


def _miscounted(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the sums over all cells are from what the label counts."""
    cells = scores.shape[2] * scores.shape[3]
    shares = functional.one_hot(wanted, scores.shape[1]).sum(1) / cells
    shares[:, 0] = 1 - wanted.shape[1] / cells
    found = scores.clamp(-30, 30).softmax(1).mean((2, 3))
    return -(shares * (found + 1e-8).log()).sum(1).mean()


def _maps(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """For each picture and each letter of its answer, how likely each cell is that letter."""
    likely = scores.clamp(-30, 30).log_softmax(1)
    return torch.gather(likely, 1, wanted[:, :, None, None].expand(-1, -1, *likely.shape[2:]))


def _astray(scores: torch.Tensor, wanted: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """How unlikely it is that each letter is where letters of its number are."""
    return -(_maps(scores, wanted) + usual).flatten(2).logsumexp(2).mean()


@torch.no_grad()
def _guessed(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """For each picture the cells likeliest for the letters of its answer, no two of them next to each other."""
    maps = _maps(scores, wanted)
    count, letters, high, wide = maps.shape
    targets = torch.zeros(count, high, wide, dtype=torch.long)
    every, rows, columns = torch.arange(count), torch.arange(high), torch.arange(wide)
    cells = []
    for _ in range(letters):
        best = maps.flatten(1).argmax(1)
        number, row, column = best // (high * wide), best // wide % high, best % wide
        cells.append((row, column, wanted[every, number]))
        beside = (columns[None] - column[:, None]).abs() <= 1
        near = ((rows[None] - row[:, None]).abs() <= 1)[:, :, None] & beside[:, None]
        targets[near] = UNSURE
        maps = maps - 1e4 * near[:, None]
        maps[every, number] -= 1e6
    for row, column, letter in cells:
        targets[every, row, column] = letter
    return targets


def train(contender: Contender, pictures: Pictures, samples: Sequence[Sample], seconds: float, seed: int) -> nn.Module:
    """A network that has learned from these for so many CPU seconds, this thread's own."""
    learning.begin(seed)
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    network = grid(len(contender.alphabet)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        high, wide = network(_varied(pictures.batch([0, 1]) - 1)).shape[2:]
    places = _usual(contender, high, wide)
    answers, usual = torch.tensor(pictures.answers), torch.stack([places[sample.family] for sample in samples])
    descent = learning.Descent(network, RATE)
    queue, begin = shuffled(len(pictures), chance), time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        share = spent / seconds
        some = next(queue)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = network(_varied(pictures.batch(some) - 1)).float()
        wanted = answers[some]
        if share < ROUGHLY:
            loss = COUNTED * _miscounted(scores, wanted) + _astray(scores, wanted, usual[some])
        else:
            loss = missed(scores, _guessed(scores, wanted))
        descent.step(loss, share)
    trained: nn.Module = network.eval()
    return trained


def read(network: nn.Module, pictures: Pictures, alphabet: str) -> list[str]:
    """What it makes of each picture."""
    texts = []
    for begin in range(0, len(pictures), 50):
        some = range(begin, min(begin + 50, len(pictures)))
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            likely = network(pictures.batch(some) - 1).float().softmax(1).numpy()
        lengths = [len(pictures.answers[number]) for number in some]
        texts += [spelled(cells, alphabet, length) for cells, length in zip(likely, lengths, strict=True)]
    return texts
