"""Draws what a Prometheus saw of a flood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from scraping import Point, Prometheus

RATE = "gatepost_rate"
THRESHOLDS = 'sum by (edge) (gatepost_threshold{level="1"})'
ENGAGED = "gatepost_engaged"
CHALLENGES = "sum by (reason) (rate(gatepost_challenges_total[5s])) > 0"
DEFERRALS = "sum by (reason) (rate(gatepost_deferrals_total[5s])) > 0"
OUTCOMES = 'sum by (reason) (rate(gatepost_outcomes_total{reason=~"solved|calmed"}[5s]))'
PASSED = "sum(rate(gatepost_passed_total[5s]))"
ANSWERED = "histogram_quantile({}, sum by (le) (rate(gatepost_answer_seconds_bucket[15s])))"

_COLOURS = {
    "rule-engaged": "#1f6fb4",
    "wrong": "#d1495b",
    "continued": "#7b5ea7",
    "too-fast": "#8c6d31",
    "busy": "#e08e1b",
    "issue-limit": "#9a9a9a",
    "failure-limit": "#5c5c5c",
    "solved": "#2a8f5d",
    "calmed": "#66b3a6",
    "passed": "#1f6fb4",
}


def draw(prometheus: Prometheus, begin: float, end: float, picture: Path) -> None:
    """Ask for the series between two times, and draw them to this file."""
    mpl.use("Agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    plt.rcParams.update({"grid.alpha": 0.25, "axes.titlesize": 10, "axes.titlelocation": "left"})

    def over(expression: str) -> dict[str, list[Point]]:
        return prometheus.over(expression, begin, end)

    [rate] = over(RATE).values()
    thresholds = over(THRESHOLDS)
    [engaged] = over(ENGAGED).values()
    figure, panels = plt.subplots(4, 1, figsize=(9, 9.5), sharex=True, layout="constrained")

    panels[0].set_title("Submissions in the last 15 seconds, and the thresholds")
    _line(panels[0], rate, begin, "#1f6fb4", "gatepost_rate")
    for edge, colour in (("above", "#d1495b"), ("below", "#2a8f5d")):
        _line(panels[0], thresholds[edge], begin, colour, f"gatepost_threshold, {edge}", dashed=True)

    panels[1].set_title("Challenges (and pages without one, dashed) a second, by reason")
    _lines(panels[1], over(CHALLENGES), begin)
    _lines(panels[1], over(DEFERRALS), begin, dashed=True)

    panels[2].set_title("Submissions a second that got to the application")
    [passed] = over(PASSED).values()
    _lines(panels[2], {"passed": passed, **over(OUTCOMES)}, begin)

    panels[3].set_title("Seconds from a submission's first challenge to its delivery")
    for quantile, colour in ((0.5, "#1f6fb4"), (0.9, "#d1495b")):
        for points in over(ANSWERED.format(quantile)).values():
            _line(panels[3], points, begin, colour, f"{quantile:.0%} of them take less".replace("%", " %"))
    panels[3].set_xlabel("seconds")

    for panel in panels:
        _shade(panel, engaged, begin)
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, end - begin)
        panel.legend(loc="upper left", frameon=False, fontsize=8)
    figure.savefig(picture, dpi=100)


def _line(
    panel: Any, points: Sequence[Point], begin: float, colour: str | None, label: str, *, dashed: bool = False
) -> None:
    times, values = [at - begin for at, _ in points], [value for _, value in points]
    panel.plot(times, values, color=colour, label=label, linewidth=1.4, linestyle="--" if dashed else "-")


def _lines(panel: Any, series: Mapping[str, Sequence[Point]], begin: float, *, dashed: bool = False) -> None:
    for reason, points in sorted(series.items()):
        _line(panel, points, begin, _COLOURS.get(reason), reason, dashed=dashed)


def _shade(panel: Any, engaged: Sequence[Point], begin: float) -> None:
    """Shade the time in which the rule is engaged."""
    times = [at - begin for at, _ in engaged]
    panel.fill_between(
        times,
        0,
        1,
        where=[value > 0 for _, value in engaged],
        transform=panel.get_xaxis_transform(),
        color="#f2c14e",
        alpha=0.18,
        linewidth=0,
        label="engaged",
    )
