"""Labelled pictures that are drawn once and kept, since drawing 20,000 of them takes some generators minutes.

The same pictures serve every reader, every input size and every seed, and a run that is taken up again.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from gatepost.challenges.image import CHARACTERS, STYLES

from .contenders import Contender, Sample

CACHE = Path(__file__).resolve().parents[2] / ".strength"
"""Where pictures and results are kept; git ignores it."""


def drawing() -> str:
    """A fingerprint of what draws our pictures: those of another version must not be mixed with today's."""
    digest = hashlib.sha256(repr((CHARACTERS, dict(STYLES))).encode())
    for name in ("_canvas", "_colours", "_drawing", "_glyphs", "_layout", "_styles"):
        digest.update((resources.files("gatepost.challenges") / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def kept(contender: Contender, count: int, purpose: str) -> Sequence[Sample]:
    """So many pictures for a purpose (``learn``, ``held``): those of two purposes are never the same ones.

    A smaller set is the beginning of a larger one.
    """
    name = contender.name.replace(" ", "-") + (f"-{drawing()}" if contender.own else "")
    path = CACHE / f"{name}-{purpose}.pickle"
    samples: list[Sample] = pickle.loads(path.read_bytes()) if path.exists() else []  # noqa: S301 - we wrote it
    if len(samples) < count:
        CACHE.mkdir(exist_ok=True)
        samples += contender.make(count - len(samples))
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(pickle.dumps(samples))
        unfinished.replace(path)
    return samples[:count]
