"""The table of what a passing request costs, which both twins share."""

from __future__ import annotations

from collections.abc import Sequence

from .tables import middle, ratio, show, verdict
from .timing import Result

BARE = "application alone (its own time)"
NO_OP = "middleware that does nothing"
GATEPOST = "Gatepost"


def report(title: str, results: Sequence[tuple[str, dict[str, Result]]], whole: bool = False) -> None:
    """Print what each contender adds, request by request.

    :param whole: for a slow application: give as ratio how much longer the whole request takes, since what little is
        added drowns in its noise.
    """
    rows: list[tuple[str, ...]] = []
    for request, by_name in results:
        rows.append((request, "", "", "", "", ""))
        for name, result in by_name.items():
            bare = by_name[BARE]
            times = f"{1 + result.median / bare.median:.2f}x" if whole else ratio(result, by_name[NO_OP])
            rows.append((f"  {name}", *middle(result), "" if result is bare else times, *verdict(result)))
    base = "of the whole request to the application alone" if whole else f"to the {NO_OP}"
    note = f"Microseconds over the application alone. The ratio is that {base}."
    show(title, ("request and contender", "median", "quartiles", "ratio", "target", ""), rows, note)
