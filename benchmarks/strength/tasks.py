"""The single measurements, in the order in which they are worth having: a run may be stopped at any of them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gatepost.challenges.image import STYLES

from . import attacks, contrast, readers
from .contenders import Contender, Sample
from .pictures import kept
from .results import Result, version

FEW, MANY = 2_000, 20_000  # labelled pictures
READ = 400  # pictures that a reader without training is given
USUAL = 360.0  # CPU seconds that a network learns for
HELD = 1_000  # that a network is given, and that contrast is measured on

Reading = Callable[[Contender, Sequence[Sample]], list[str]]
Measured = tuple[dict[str, float], dict[str, float]]


def _tesseract(page: int) -> Reading:
    return lambda contender, samples: readers.tesseract(contender, samples, page)


def _ddddocr(crops: bool) -> Reading:
    return lambda _, samples: readers.ddddocr(samples, crops=crops)


def _flat(reading: Reading) -> Reading:
    return lambda contender, samples: reading(contender, [attacks.flattened(sample) for sample in samples])


READERS: dict[str, Reading] = {
    "tesseract, one line": _tesseract(7),
    "tesseract, one word": _tesseract(8),
    "ddddocr": _ddddocr(crops=False),
    "ddddocr, crop by crop": _ddddocr(crops=True),
    "tesseract, ground taken away": _flat(_tesseract(7)),
    "ddddocr, ground taken away": _flat(_ddddocr(crops=False)),
    "ddddocr, crop by crop, ground taken away": _flat(_ddddocr(crops=True)),
    "colour masks + templates": lambda contender, samples: attacks.guess(contender, samples, attacks.colour_masks),
    "segmentation + templates": lambda contender, samples: attacks.guess(contender, samples, attacks.segmentation),
}
"""Readers that learn nothing. For those where the ground is taken away, someone has read our source."""


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement: whose pictures, by what, and how to do it."""

    part: str
    contender: Contender
    reading: str
    seed: int
    measure: Callable[[], Measured]

    def run(self) -> Result:
        """Do it."""
        random.seed(self.seed)
        begin = time.process_time()
        figures, families = self.measure()
        figures["cpu"] = time.process_time() - begin
        return Result(self.contender.name, self.reading, self.seed, version(self.contender), figures, families)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done.

    :param seconds: of CPU that a network learns for.
    :param views: what it is shown, such as ``layers 192x96`` or ``difference own``.
    :param seeds: of its weights and order.
    :param many: the larger number of labelled pictures.
    """

    seconds: float
    views: Sequence[str]
    seeds: Sequence[int]
    many: int = MANY


def scored(samples: Sequence[Sample], texts: Sequence[str]) -> Measured:
    """The share that was read exactly, the share of letters right at their place, and the first by family."""
    pairs = list(zip(samples, texts, strict=True))
    letters = sum(a == b for sample, text in pairs for a, b in zip(sample.answer, text, strict=False))
    families: dict[str, float] = {}
    for family in sorted({sample.family for sample in samples}):
        some = [sample.answer == text for sample, text in pairs if sample.family == family]
        families[family] = sum(some) / len(some)
    whole = sum(len(sample.answer) for sample in samples)
    exact = sum(sample.answer == text for sample, text in pairs) / len(pairs)
    figures = {"exact": exact, "letters": letters / whole, "pictures": len(pairs)}
    return figures, families if len(families) > 1 else {}


def tasks(contenders: Sequence[Contender], extent: Extent) -> Iterator[Task]:
    """All measurements of these contenders."""
    for contender in contenders:
        yield Task("speed", contender, "speed", 1, lambda c=contender: _speed(c))  # type: ignore[misc]
        if contender.own:
            yield Task("contrast", contender, "contrast", 1, lambda c=contender: _contrast(c))  # type: ignore[misc]
    for contender in contenders:
        for name, reading in READERS.items():
            yield Task("readers", contender, name, 1, lambda c=contender, r=reading: _read(c, r))  # type: ignore[misc]
    families = [one for one in contenders if one.own and one.name.removeprefix("gatepost ") in STYLES]
    main = [one for one in contenders if one not in families]
    for seed in extent.seeds:
        for number, count in enumerate((extent.many, FEW)):
            for contender in main:
                # What is best for each comes first; the other views only to show that.
                views = _views(contender, extent.views)
                if contender.own:
                    yield _counted(contender, views[0], count, extent, seed)
                for view in views[: 1 if number else None]:
                    yield _learned(contender, view, count, extent, seed)
        if seed == extent.seeds[0]:
            yield from _transferred(families, extent, seed)
        for contender in main:
            if contender.own:
                yield _located(contender, [contender], extent.seconds, seed)[0]


def _views(contender: Contender, views: Sequence[str]) -> list[str]:
    """Layers are for our pictures, whose ground has two sides; the difference from the border is for plain grounds."""
    return [view for view in views if contender.own or not view.startswith("layers")] or ["difference 160x60"]


def _within(seconds: float) -> str:
    """What is added to the name of a reading by a network that had another time than others."""
    return "" if seconds == USUAL else f", {seconds:.0f} CPU s"


def _learned(contender: Contender, view: str, count: int, extent: Extent, seed: int) -> Task:
    def measure() -> Measured:
        texts, unseen = _trained(contender, [contender], view, count, extent.seconds, seed)[0]
        return scored(unseen, texts)

    return Task(str(count), contender, f"network, {count:,} labelled, {view}{_within(extent.seconds)}", seed, measure)


def _counted(contender: Contender, view: str, count: int, extent: Extent, seed: int) -> Task:
    """What the network that finds out by itself where letters are reads."""

    def measure() -> Measured:
        from . import counted, network

        learned, unseen = kept(contender, count, "learn"), kept(contender, HELD, "held")
        seen = network.View(*_view(contender, view))
        pictures = network.Pictures(learned, seen, contender.alphabet)
        trained = counted.train(contender, pictures, learned, extent.seconds, seed)
        return scored(
            unseen, counted.read(trained, network.Pictures(unseen, seen, contender.alphabet), contender.alphabet)
        )

    reading = f"network that finds letters, {count:,} labelled, {view}{_within(extent.seconds)}"
    return Task(str(count), contender, reading, seed, measure)


def _view(contender: Contender, view: str) -> tuple[str, tuple[int, int]]:
    """The form and the size that a view's name stands for."""
    form, shape = view.split()
    size = contender.size if shape == "own" else (int(shape.split("x")[0]), int(shape.split("x")[1]))
    return form, size


def _trained(
    learned: Contender, read: Sequence[Contender], view: str, count: int, seconds: float, seed: int
) -> list[tuple[list[str], Sequence[Sample]]]:
    from . import network

    seen = network.View(*_view(learned, view))
    pictures = network.Pictures(kept(learned, count, "learn"), seen, learned.alphabet)
    reader = network.train(pictures, len(learned.alphabet), seconds, seed)
    del pictures
    results = []
    for contender in read:
        unseen = kept(contender, HELD, "held")
        held = network.Pictures(unseen, seen, learned.alphabet)
        results.append((network.read(reader, held, learned.alphabet), unseen))
    return results


def _transferred(families: Sequence[Contender], extent: Extent, seed: int) -> Iterator[Task]:
    """What networks that have learned one family read of every family."""
    view = next(iter(extent.views))
    for learned in families:
        trained: list[dict[str, Measured]] = []

        def measure(
            other: Contender, learned: Contender = learned, trained: list[dict[str, Measured]] = trained
        ) -> Measured:
            if not trained:
                texts = _trained(learned, families, view, extent.many, extent.seconds, seed)
                trained.append(
                    {one.name: scored(unseen, read) for one, (read, unseen) in zip(families, texts, strict=True)}
                )
            return trained[0][other.name]

        for other in families:
            reading = f"network trained on {learned.name}{_within(extent.seconds)}"
            yield Task("transfer", other, reading, seed, lambda o=other, m=measure: m(o))  # type: ignore[misc]
    for learned in families:
        yield from _located(learned, families, extent.seconds / 3, seed)


def _located(learned: Contender, read: Sequence[Contender], seconds: float, seed: int) -> list[Task]:
    """What the network that draws its own pictures reads: as they are, and as if letters stood as it knows them."""
    trained: list[object] = []

    def measure(other: Contender, *, sheared: bool = False) -> Measured:
        from . import located

        if not trained:
            trained.append(located.train(learned, seconds, seed))
        unseen = kept(other, HELD, "held")
        shear = located.Shear(other.stances[0], learned.stances[0]) if sheared else None
        return scored(unseen, located.read(trained[0], unseen, other.alphabet, shear))  # type: ignore[arg-type]

    if len(read) == 1:
        reading = f"network on located letters{_within(seconds)}"
        return [Task("located", one, reading, seed, lambda o=one: measure(o)) for one in read]  # type: ignore[misc]
    part, reading = "located transfer", f"located, trained on {learned.name}{_within(seconds)}"
    found = []
    for one in read:
        found.append(Task(part, one, reading, seed, lambda o=one: measure(o)))  # type: ignore[misc]
        if one is not learned:
            again = f"{reading}, letters brought into its stance"
            found.append(Task(part, one, again, seed, lambda o=one: measure(o, sheared=True)))  # type: ignore[misc]
    return found


def _speed(contender: Contender) -> Measured:
    """Pictures for each second of CPU and their bytes, once fonts are open. A process of its own starts at no cost."""
    contender.make(5)
    starting = _spent(contender, 5)[0]
    spent, samples = _spent(contender, READ + 5)
    size = sum(len(sample.content) for sample in samples) / len(samples)
    return {"per_second": READ / max(spent - starting, 0.01), "bytes": size}, {}


def _spent(contender: Contender, count: int) -> tuple[float, Sequence[Sample]]:
    """The CPU time of drawing, here and in processes that were started for it, and what was drawn."""
    before = sum(os.times()[:4])
    samples = contender.make(count)
    return sum(os.times()[:4]) - before, samples


def _contrast(contender: Contender) -> Measured:
    lowest, below = contrast.measured(kept(contender, HELD, "held"))
    return {"lowest": lowest, "below": below, "pictures": HELD}, {}


def _read(contender: Contender, reading: Reading) -> Measured:
    samples = kept(contender, HELD, "held")[:READ]
    return scored(samples, reading(contender, samples))
