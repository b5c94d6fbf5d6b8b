"""The strength harness, without its networks: what is kept of a run, and the tables that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks.strength import pictures, results
from benchmarks.strength.contenders import Contender, Sample, ours
from benchmarks.strength.lines import reading_order
from benchmarks.strength.pictures import drawing, kept
from benchmarks.strength.report import markdown
from benchmarks.strength.results import Result, Results


def counted(name: str = "counted", own: bool = False) -> Contender:
    """A generator whose pictures are numbers."""
    drawn = iter(range(1000))

    def make(count: int) -> list[Sample]:
        return [Sample(b"%d" % next(drawn), "abc") for _ in range(count)]

    return Contender(name, "abc", (), (300, 150), make, own=own)


def result(contender: str, reading: str, version: str = "", seed: int = 1, **figures: float) -> Result:
    return Result(contender, reading, seed, version, figures)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and pictures of ours that are of version ``now``."""
    monkeypatch.setattr(pictures, "CACHE", tmp_path)
    monkeypatch.setattr(pictures, "drawing", lambda: "now")
    monkeypatch.setattr(results, "drawing", lambda: "now")


def contents(samples: Sequence[Sample]) -> list[bytes]:
    return [sample.content for sample in samples]


def test_pictures_are_drawn_once() -> None:
    """A smaller set is the beginning of a larger one, each picture is drawn once, and purposes share none."""
    contender = counted()
    few = contents(kept(contender, 3, "learn"))
    held = contents(kept(contender, 3, "held"))
    many = contents(kept(contender, 8, "learn"))
    assert many[:3] == few == contents(kept(counted(), 3, "learn"))
    assert len({*many, *held}) == 11


def test_pictures_of_another_version_of_ours_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """When what draws our pictures changes, they are drawn anew; those of others stay."""
    before = {own: contents(kept(counted(own=own), 2, "learn")) for own in (True, False)}
    monkeypatch.setattr(pictures, "drawing", lambda: "later")
    for own in (True, False):
        contender = counted(own=own)
        contender.make(5)
        assert (contents(kept(contender, 2, "learn")) == before[own]) is not own


def test_the_fingerprint_is_of_what_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same every time, and another one as soon as the families have other weights."""
    before = drawing()
    assert before == drawing()
    monkeypatch.setattr(pictures, "STYLES", {"rows": 1.0})
    assert drawing() != before


def test_a_run_is_taken_up_again(tmp_path: Path) -> None:
    """What was measured is known to the next run by contender, reading and seed; ours only for the same pictures."""
    path = tmp_path / "below" / "results.jsonl"
    first = Results(path)
    first.add(result("counted", "a reader", exact=0.5))
    first.add(result("gatepost", "a reader", version="now", exact=0.1))
    first.add(result("gatepost", "another", version="before", exact=0.9))
    again, gatepost = Results(path), ours("gatepost", {"rows": 1.0})
    assert again.has(counted(), "a reader", 1)
    assert not again.has(counted(), "a reader", 2)
    assert not again.has(counted(), "another", 1)
    assert again.has(gatepost, "a reader", 1)
    assert not again.has(gatepost, "another", 1)
    assert again.of(gatepost, "a reader")[0].figures == {"exact": 0.1}


def test_the_tables(tmp_path: Path) -> None:
    """A column for each generator, a row for each reading; of several seeds the mean, and - for what is unknown."""
    known = Results(tmp_path / "results.jsonl")
    known.add(result("counted", "a reader", exact=0.25, pictures=400))
    known.add(result("counted", "a reader", seed=2, exact=0.75, pictures=400))
    known.add(result("counted", "speed", per_second=1234.5, bytes=4321))
    known.add(Result("gatepost", "a network", 1, "now", {"exact": 0.5}, {"rows": 0.25, "waves": 0.75}))
    lines = markdown([ours("gatepost", {"rows": 1.0, "waves": 1.0}), counted()], known).splitlines()
    assert "|  | gatepost | counted |" in lines
    assert "| a reader | - | 50.0 % (25.0 to 75.0) |" in lines
    assert "| a network | 50.0 % (rows 25, waves 75) | - |" in lines
    assert "| counted, 300x150 | 1,234 | 4,321 | - | - |" in lines


@pytest.mark.parametrize(
    "points",
    [
        [(50, 75)],
        [(30, 60), (80, 90), (130, 75), (180, 70), (230, 80), (270, 60)],
        [(40, 30), (90, 40), (140, 50), (60, 85), (110, 95), (160, 105)],
        [(200, 50), (250, 40), (40, 130), (90, 120), (140, 110), (190, 100)],
        [(40, 25), (90, 25), (200, 75), (250, 75), (100, 125), (150, 125)],
    ],
)
def test_lines_are_found_from_where_letters_are(points: list[tuple[float, float]]) -> None:
    """One line that wanders, two that lean and three that begin at different places are read in order."""
    for shuffled in (points, points[::-1], points[1::2] + points[::2]):
        assert [shuffled[number] for number in reading_order(shuffled)] == points
        doubled = [(2 * x, 2 * y) for x, y in shuffled]
        assert reading_order(doubled, 600) == reading_order(shuffled)
