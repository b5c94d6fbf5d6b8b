"""``python -m benchmarks.strength``: how many pictures of each generator machines read, exactly and without case."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence

from gatepost.challenges.image import STYLES

from . import attacks, contrast, readers
from .contenders import Contender, Sample, all_contenders

Reading = Callable[[Contender, Sequence[Sample]], list[str]]

READERS: dict[str, Reading] = {
    "tesseract --psm 7": lambda contender, samples: readers.tesseract(contender, samples, 7),
    "tesseract --psm 8": lambda contender, samples: readers.tesseract(contender, samples, 8),
    "ddddocr": lambda _, samples: readers.ddddocr(samples, crops=False),
    "ddddocr, crop by crop": lambda _, samples: readers.ddddocr(samples, crops=True),
    "tesseract --psm 7, ground taken away": lambda contender, samples: readers.tesseract(
        contender, [attacks.flattened(sample) for sample in samples], 7
    ),
    "ddddocr, ground taken away": lambda _, samples: readers.ddddocr(
        [attacks.flattened(sample) for sample in samples], crops=False
    ),
    "ddddocr, crop by crop, ground taken away": lambda _, samples: readers.ddddocr(
        [attacks.flattened(sample) for sample in samples], crops=True
    ),
    "colour masks + templates": lambda contender, samples: attacks.guess(contender, samples, attacks.colour_masks),
    "segmentation + templates": lambda contender, samples: attacks.guess(contender, samples, attacks.segmentation),
}


def exact(samples: Sequence[Sample], texts: Sequence[str]) -> str:
    """The share that was read exactly, and of the letters that were right at their place."""
    right = sum(sample.answer == text for sample, text in zip(samples, texts, strict=True))
    letters = sum(a == b for sample, text in zip(samples, texts, strict=True) for a, b in zip(sample.answer, text))  # noqa: B905
    whole = sum(len(sample.answer) for sample in samples)
    return f"{100 * right / len(samples):5.1f} % exact, {100 * letters / whole:5.1f} % of letters"


def trained(contender: Contender, labelled: int, seconds: float, sizes: Sequence[str], seed: int, held: int) -> None:
    """Train the network at each size and print what it reads of pictures that it has not seen."""
    from . import network

    learned, unseen = contender.make(labelled), contender.make(held)
    for name in sizes:
        layered, shape = name.startswith("layers "), name.split()[-1]
        size = contender.size if shape == "own" else (int(shape.split("x")[0]), int(shape.split("x")[1]))
        begin = time.time()
        pictures = network.Pictures(learned, size, contender.alphabet, layered)
        reader = network.train(pictures, size, len(contender.alphabet), seconds, seed)
        texts = network.read(reader, network.Pictures(unseen, size, contender.alphabet, layered), contender.alphabet)
        row = f"network {'layers ' * layered}{size[0]}x{size[1]}, {labelled} labelled, {seconds:.0f} CPU s"
        say(contender.name, row, exact(unseen, texts), time.time() - begin)
        families = sorted({sample.family for sample in unseen})
        for family in families if len(families) > 1 else ():
            some = [n for n, sample in enumerate(unseen) if sample.family == family]
            say(contender.name, f"  of {family}", exact([unseen[n] for n in some], [texts[n] for n in some]), 0)


def drawn_by_itself(contender: Contender, seconds: float, seed: int, held: int) -> None:
    """Train the network that draws its own pictures with our source."""
    from . import located

    begin = time.time()
    network = located.train(contender, seconds, seed)
    unseen = contender.make(held)
    texts = located.read(network, unseen, contender.alphabet)
    say(contender.name, f"network on located letters, {seconds:.0f} CPU s", exact(unseen, texts), time.time() - begin)


def transfer(contenders: Sequence[Contender], seconds: float, seed: int, held: int) -> None:
    """What a network that has learned one family, from pictures that it draws itself, reads of the others.

    The network with the CTC head would prove nothing here, since it hardly learns the family that it is trained on.
    """
    from . import located

    for contender in contenders:
        network = located.train(contender, seconds, seed)
        for other in contenders:
            unseen = other.make(held)
            texts = located.read(network, unseen, other.alphabet)
            say(other.name, f"network that has learned {contender.name}", exact(unseen, texts), 0)


def say(contender: str, reading: str, result: str, took: float) -> None:
    """Print one line of the table at once: the whole takes hours."""
    print(f"{contender:24} {reading:46} {result}  {f'{took:.0f} s' if took else ''}".rstrip(), flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strength", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer pictures, one small network")
    parser.add_argument("--only", action="append", help="a contender by name, such as 'gatepost rows'; may be repeated")
    parser.add_argument(
        "--parts", default="contrast,readers,2000,20000,located,transfer", help="which parts, by commas"
    )
    parser.add_argument(
        "--sizes",
        default="160x60,192x96,own,layers 160x60,layers 192x96",
        help="what the network sees; layers: without the ground",
    )
    parser.add_argument("--seconds", type=float, help="CPU seconds of a training, instead of 120 and 360")
    parser.add_argument("--seed", type=int, default=1, help="of the network's weights and order")
    chosen = parser.parse_args()
    contenders = [one for one in all_contenders() if not chosen.only or one.name in chosen.only]
    if not contenders:
        sys.exit(f"--only: choose from {', '.join(one.name for one in all_contenders())}.")
    parts = chosen.parts.split(",")
    count = 100 if chosen.quick else 400
    random.seed(chosen.seed)
    for contender in contenders:
        if "contrast" in parts and contender.name.startswith("gatepost"):
            lowest, below = contrast.measured(contender.make(100 if chosen.quick else 1000))
            say(contender.name, "lowest contrast of an ink", f"{lowest:.2f}:1, {below} pictures below 3:1", 0)
        if "readers" in parts:
            samples = contender.make(count)
            for reading, read in READERS.items():
                begin = time.time()
                say(contender.name, reading, exact(samples, read(contender, samples)), time.time() - begin)
        held = 500 if chosen.quick else 1000
        sizes = ["160x60"] if chosen.quick else chosen.sizes.split(",")
        if "2000" in parts:
            trained(contender, 2000, chosen.seconds or (60 if chosen.quick else 120), sizes, chosen.seed, held)
        if "20000" in parts and not chosen.quick:
            trained(contender, 20000, chosen.seconds or 360, sizes, chosen.seed, held)
        if "located" in parts and contender.name.startswith("gatepost") and not chosen.quick:
            drawn_by_itself(contender, chosen.seconds or 360, chosen.seed, held)
    if "transfer" in parts and not chosen.quick:
        families = [one for one in contenders if one.name.removeprefix("gatepost ") in STYLES]
        transfer(families, chosen.seconds or 120, chosen.seed, 500)


if __name__ == "__main__":
    main()
