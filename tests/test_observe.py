"""The example that is watched: its files name what exists, and a real Prometheus sees a flood of the demo."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate, Reason, State
from gatepost.timed import OPERATIONS
from twins import settings

prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
from gatepost.metrics import GateMetrics  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
OBSERVE = ROOT / "examples" / "observe"
DASHBOARD = json.loads((OBSERVE / "dashboard.json").read_text("utf-8"))
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
#: Labels that Prometheus adds, and those of which the values are known beforehand.
ADDED = {"job", "instance", "le", "alertname", "severity"}
VALUES: dict[str, set[str]] = {
    "reason": {reason.value for reason in Reason},
    "state": {state.value for state in State},
    "edge": {"above", "below"},
    "operation": set(OPERATIONS),
}


def known() -> dict[str, set[str]]:
    """The names of all series that a gate can have, with their labels."""
    registry = prometheus.CollectorRegistry()
    metrics = GateMetrics(Gate(settings()), registry)
    found = {}
    for metric in vars(metrics).values():
        for family in metric.describe() if hasattr(metric, "describe") else ():
            for suffix in SUFFIXES[family.type]:
                found[family.name + suffix] = set(metric._labelnames)
    return found


KNOWN = known()
EXPRESSIONS = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(note["expr"] for note in DASHBOARD["annotations"]["list"]),
    *(variable["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"),
    *re.findall(r"(?m)^ +expr: (?:>-)?((?:.*)(?:\n {10}.*)*)", (OBSERVE / "alerts.yml").read_text("utf-8")),
    *re.findall(r'(?m)^[A-Z]+ = ["\'](.*)["\']$', (OBSERVE / "plot.py").read_text("utf-8")),
]


def test_the_files_have_expressions() -> None:
    """What the other tests look at was found: of the dashboard, of each alert, and of the plot."""
    assert len(DASHBOARD["panels"]) >= 15
    text = (OBSERVE / "alerts.yml").read_text("utf-8")
    assert sum(" expr:" in line for line in text.splitlines()) == text.count("alert:") >= 5
    assert len(EXPRESSIONS) >= 25 + text.count("alert:") + 7


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_what_exists(expression: str) -> None:
    """Every series, label and value of a label in the dashboard, the alerts and the plot is one that a gate has."""
    names = re.findall(r"\bgatepost_\w+", expression)
    assert names
    assert set(names) <= KNOWN.keys()
    labels = set().union(*(KNOWN[name] for name in names)) | ADDED
    for matchers in re.findall(r"(gatepost_\w+)\{(.*?)\}", expression):
        for label, value in re.findall(r'(\w+)(?:=~|=|!=)"(.*?)"', matchers[1]):
            assert label in KNOWN[matchers[0]] | ADDED, label
            for one in value.split("|") if label in VALUES else ():
                assert one in VALUES[label], one
    for kept in re.findall(r"\bby \((.*?)\)", expression):
        assert set(kept.split(", ")) <= labels


def test_legends_name_labels_that_are_left() -> None:
    """A legend shows labels that its expression keeps."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            kept = {label for by in re.findall(r"\bby \((.*?)\)", target["expr"]) for label in by.split(", ")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, target["expr"]


def test_dashboard_shows_every_metric() -> None:
    """Nothing is counted that the dashboard does not show, but for the time engaged, which it has from the state."""
    shown = {name for expression in EXPRESSIONS for name in re.findall(r"\bgatepost_\w+", expression)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in KNOWN}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert families - shown == {"gatepost_engaged_seconds_total"}


def test_panels_do_not_overlap() -> None:
    """Each panel has a place of its own in the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_readme_lists_every_metric() -> None:
    """The README's table has exactly the metrics that there are, with their labels."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| `(gatepost_\w+)` \| ([^|]*) \|", text)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert told == {re.sub(r"_(bucket|count|sum)$", "", name): labels for name, labels in KNOWN.items()}


# --- Prometheus itself ---


def promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_alerts() -> None:
    """Prometheus takes both files as they are."""
    promtool("check", "config", OBSERVE / "prometheus.yml")
    promtool("check", "rules", OBSERVE / "alerts.yml")


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """Every query of the dashboard is one, once Grafana has put its variables in."""
    variables = {"$__rate_interval": "20s", "$__range": "1h", "$job": "guestbook", "$rule": ".*"}
    rules = []
    for number, expression in enumerate(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]):
        for name, value in variables.items():
            expression = expression.replace(name, value)
        rules.append({"record": f"panel:{number}", "expr": expression})
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML, too
    promtool("check", "rules", path)


SERIES: dict[str, list[tuple[str, str]]] = {
    "GatepostEngaged": [('gatepost_engaged{rule="/"}', "1x60")],
    "GatepostEngagedForLong": [('gatepost_engaged{rule="/"}', "1x2000")],
    "GatepostStoreLost": [("gatepost_store_away", "2x60")],
    "GatepostStoreSlow": [
        ('gatepost_store_seconds_bucket{operation="claim",le="0.1"}', "0x200"),
        ('gatepost_store_seconds_bucket{operation="claim",le="0.25"}', "0+10x200"),
        ('gatepost_store_seconds_bucket{operation="claim",le="+Inf"}', "0+10x200"),
    ],
    "GatepostBudgetSpent": [
        ('gatepost_drawings_denied_total{kind="image"}', "0+10x60"),
        ('gatepost_challenges_total{kind="image",reason="rule-engaged",rule="/"}', "0+20x60"),
    ],
    "GatepostNobodyAnswers": [
        ('gatepost_challenges_total{kind="image",reason="wrong",rule="/"}', "0+50x400"),
        ('gatepost_outcomes_total{reason="solved",rule="/"}', "0+1x400"),
    ],
}


@pytest.mark.parametrize("alert", SERIES)
@pytest.mark.parametrize("alarming", [True, False])
def test_alerts_fire_when_they_should(alert: str, alarming: bool, tmp_path: Path) -> None:
    """Each alert fires on what it is for, once that lasts, and on nothing while the gate is calm."""
    series = []
    for name, values in SERIES[alert]:
        start, per_step, times = re.fullmatch(r"(\d+)(\+\d+)?x(\d+)", values).groups()  # type: ignore[union-attr]
        quiet = f"{start if per_step else 0}+0x{times}"
        labelled = name.replace("{", '{job="guestbook",') if "{" in name else f'{name}{{job="guestbook"}}'
        series.append({"series": labelled, "values": f"{start}{per_step or '+0'}x{times}" if alarming else quiet})
    hours = 7 if alert == "GatepostEngagedForLong" else 1
    case = {
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",job="guestbook"}})',
                "eval_time": f"{hours}h" if hours > 1 else ("40m" if "0x400" in str(SERIES[alert]) else "14m"),
                "exp_samples": [{"labels": "{}", "value": 1}] if alarming else [],
            }
        ],
    }
    path = tmp_path / "cases.yml"
    path.write_text(
        json.dumps({"rule_files": [str(OBSERVE / "alerts.yml")], "evaluation_interval": "15s", "tests": [case]})
    )
    promtool("test", "rules", path)


def test_an_hour_is_not_for_long(tmp_path: Path) -> None:
    """A gate that has been watched for an hour, and engaged for all of it, is not said to be engaged for long."""
    case = {
        "interval": "15s",
        "input_series": [{"series": 'gatepost_engaged{job="guestbook",rule="/"}', "values": "1+0x240"}],
        "promql_expr_test": [
            {"expr": "count(ALERTS{alertname='GatepostEngagedForLong'})", "eval_time": "1h", "exp_samples": []}
        ],
    }
    path = tmp_path / "cases.yml"
    path.write_text(
        json.dumps({"rule_files": [str(OBSERVE / "alerts.yml")], "evaluation_interval": "15s", "tests": [case]})
    )
    promtool("test", "rules", path)


@pytest.fixture
def scraping(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(OBSERVE))
    return importlib.import_module("scraping")


@pytest.fixture
def demo(scraping: Any, tmp_path: Path) -> Iterator[int]:
    """The port of the demo, as its README starts it."""
    port: int = scraping.free_port()
    environ = {"GUESTBOOK_DB": str(tmp_path / "book.db"), "GATEPOST_STORE": f"sqlite:///{tmp_path}/gate.db"}
    process = subprocess.Popen([sys.executable, OBSERVE, "--port", str(port)], env=os.environ | environ)  # noqa: S603
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if ask(port, "GET", "/metrics")[0] == 200:
                break
        except ConnectionError:
            time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(30)


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    line = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        line.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"})
        response = line.getresponse()
        return response.status, response.read()
    finally:
        line.close()


def test_prometheus_sees_a_flood(scraping: Any, demo: int, tmp_path: Path) -> None:
    """A real Prometheus scrapes the demo in a flood, and tells of the challenges and of the rule that is engaged."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    pages = "sum(gatepost_challenges_total) + sum(gatepost_deferrals_total)"
    queries = ["gatepost_engaged", pages, 'gatepost_threshold{edge="above"}', "sum(gatepost_challenges_total) > bool 0"]
    with scraping.Prometheus(demo, tmp_path, interval=0.2) as server:
        statuses = [ask(demo, "POST", "/", b"name=Ada&message=hello")[0] for _ in range(12)]
        found: list[float | None] = []
        deadline = time.monotonic() + 30
        while found != [1, 9, 3, 1] and time.monotonic() < deadline:
            found = [server.now(query) for query in queries]
            time.sleep(0.05)
    assert statuses == [303] * 3 + [429] * 9
    assert found == [1, 9, 3, 1]
