"""The tables, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

from .contenders import Contender
from .results import Result, Results

Row = tuple[str, ...]

_OTHERS = "-"  # what was not measured


def markdown(contenders: Sequence[Contender], results: Results) -> str:
    """Everything that is known, as tables."""
    families = [one for one in contenders if one.own and one.name.startswith("gatepost ")]
    main = [one for one in contenders if one not in families]
    parts = [
        "Read exactly:\n",
        _by_reading(main, results),
        "\nOur families and options, read exactly:\n",
        _by_reading(families, results),
        "\nDrawing, and the contrast of inks:\n",
        _drawing(contenders, results),
    ]
    return "\n".join(parts) + "\n"


def _by_reading(contenders: Sequence[Contender], results: Results) -> str:
    readings = [
        reading
        for reading in results.readings()
        if any(_exact(results.of(one, reading)) != _OTHERS for one in contenders)
    ]
    rows = [(reading, *(_exact(results.of(one, reading)) for one in contenders)) for reading in readings]
    return table(("", *(one.name for one in contenders)), rows)


def _exact(found: Sequence[Result]) -> str:
    """The share that was read exactly, the mean of all seeds; how they spread, if there are several."""
    shares = [100 * one.figures["exact"] for one in found if "exact" in one.figures]
    if not shares:
        return _OTHERS
    spread = f" ({min(shares):.1f} to {max(shares):.1f})" if len(shares) > 1 else ""
    families = found[0].families
    each = " (" + ", ".join(f"{name} {100 * share:.0f}" for name, share in families.items()) + ")" if families else ""
    return f"{mean(shares):.1f} %{spread or each}"


def _drawing(contenders: Sequence[Contender], results: Results) -> str:
    columns: list[tuple[str, str, str, Callable[[float], str]]] = [
        ("pictures for each second of CPU", "speed", "per_second", lambda figure: f"{figure:,.0f}"),
        ("bytes", "speed", "bytes", lambda figure: f"{figure:,.0f}"),
        ("lowest contrast", "contrast", "lowest", lambda figure: f"{figure:.2f}:1"),
        ("pictures with an ink below 3:1", "contrast", "below", lambda figure: f"{figure:.0f}"),
    ]
    rows = []
    for contender in contenders:
        cells = []
        for _, reading, figure, form in columns:
            found = [one.figures[figure] for one in results.of(contender, reading) if figure in one.figures]
            cells.append(form(found[0]) if found else _OTHERS)
        if any(cell != _OTHERS for cell in cells):
            rows.append((f"{contender.name}, {contender.size[0]}x{contender.size[1]}", *cells))
    return table(("", *(title for title, *_ in columns)), rows)


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
