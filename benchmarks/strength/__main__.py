"""``python -m benchmarks.strength``: how many pictures of each generator machines read, exactly and without case.

What has been measured is kept in a folder that git ignores, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .contenders import all_contenders
from .pictures import CACHE
from .report import markdown
from .results import Result, Results
from .tasks import USUAL, Extent, tasks

PARTS = ("speed", "contrast", "readers", "20000", "2000", "transfer", "located transfer", "located")
VIEWS = (
    "layers 192x96,difference 160x60,layers 160x60,layers own,difference 192x96,difference own,"
    "colours 160x60,colours 192x96"
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strength", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only what takes minutes: no networks")
    parser.add_argument("--only", action="append", help="a contender by name, such as 'gatepost rows'; may be repeated")
    parser.add_argument("--reading", default="", help="only readings whose names have this in them")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, by commas")
    parser.add_argument(
        "--views",
        default=VIEWS,
        help="what a network is shown, and at which size; the first that suits a contender serves with few labels too",
    )
    parser.add_argument("--seconds", type=float, default=USUAL, help="CPU seconds of a training")
    parser.add_argument("--seeds", default="1", help="of weights and order, by commas")
    parser.add_argument("--results", type=Path, default=CACHE / "results.jsonl", help="what has been measured")
    parser.add_argument("--write", type=Path, help="a file for the tables, written anew after each measurement")
    chosen = parser.parse_args()
    contenders = [one for one in all_contenders() if not chosen.only or one.name in chosen.only]
    if not contenders:
        sys.exit(f"--only: choose from {', '.join(one.name for one in all_contenders())}.")
    parts = ("speed", "contrast", "readers") if chosen.quick else chosen.parts.split(",")
    results = Results(chosen.results)
    extent = Extent(chosen.seconds, chosen.views.split(","), [int(seed) for seed in chosen.seeds.split(",")])
    for task in tasks(contenders, extent):
        wanted = task.part in parts and chosen.reading in task.reading
        if wanted and not results.has(task.contender, task.reading, task.seed):
            result = task.run()
            results.add(result)
            say(result)
            if chosen.write:
                chosen.write.write_text(markdown(all_contenders(), results), encoding="utf-8")
    print(markdown(all_contenders(), results))


def say(result: Result) -> None:
    """Print one result at once: the whole takes hours."""
    figures = ", ".join(f"{name} {figure:.3f}" for name, figure in {**result.figures, **result.families}.items())
    print(f"{result.contender:24} {result.reading:46} {figures}", flush=True)


if __name__ == "__main__":
    main()
