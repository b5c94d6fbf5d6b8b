"""How all networks learn: on one thread, from one seed, in steps that get smaller until the time is up."""

from __future__ import annotations

import math

import torch
from torch import nn


class Descent:
    """Fits a network to losses, step by step.

    :param most: the highest learning rate.
    """

    def __init__(self, network: nn.Module, most: float) -> None:
        self._parameters = list(network.parameters())
        self._most = most
        self._steps = 0
        self._optimiser = torch.optim.AdamW(self._parameters, lr=most, weight_decay=0.01)

    def step(self, loss: torch.Tensor, share: float) -> None:
        """Go one step down.

        :param share: of the time that is over.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = self._most * _rate(share)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimiser.step()
        self._steps += 1
        if self._steps % 200 == 0:
            print(f"    {share:.0%} of the time, {self._steps} steps, loss {loss.item():.2f}", flush=True)


def begin(seed: int) -> None:
    """One thread, and weights from this seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)


def _rate(share: float) -> float:
    """How much of the highest learning rate is used after a share of the time."""
    return min(1.0, share / 0.05) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
