"""Printing results as tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from .timing import Result

ROW = tuple[str, ...]


def show(title: str, head: ROW, rows: Sequence[ROW], note: str = "") -> None:
    """Print a table; the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}\n")
    for row in (head, tuple("-" * width for width in widths), *rows):
        first, *rest = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(["", first, *rest]).rstrip())
    if note:
        print(f"\n  {note}")


def micro(value: float) -> str:
    """Microseconds with as many digits as mean something."""
    digits = 2 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def middle(result: Result) -> ROW:
    """The median and the interquartile range."""
    return micro(result.median), f"{micro(result.low)} .. {micro(result.high)}"


def ratio(result: Result, other: Result) -> str:
    """How many times the other's median this one's is."""
    return f"{result.median / other.median:.1f}x" if other.median > 0 else "-"


def verdict(result: Result) -> ROW:
    """The target, and how the median stands to it."""
    if result.target is None:
        return "", ""
    missed = result.median > result.target
    return micro(result.target), f"missed, {result.median / result.target:.2f}x" if missed else "met"
