"""The ``gatepost`` command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost import Gate, Settings
from gatepost.cli import main
from twins import SECRET, WsgiTwin

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> Command:
    """Runs the command as the operator of the application would."""
    monkeypatch.setenv("GATEPOST_SECRET", SECRET)
    monkeypatch.setenv("GATEPOST_STORE", url)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def worker(url: str, monkeypatch: pytest.MonkeyPatch) -> WsgiTwin:
    """A running application on the same store, whose exchange happens when the test says so."""
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)
    twin = WsgiTwin(Gate(Settings(secret=SECRET, protect="/contact", store=url)))
    twin.gate.exchange.once()
    return twin


def test_status_tells_state_rate_and_counts(command: Command, worker: WsgiTwin) -> None:
    """What the workers have told the store is printed for each rule, for people and for programs."""
    for _ in range(3):
        worker.send(body=b"a=b")
    worker.gate.exchange.once()
    status, out, _ = command("status")
    assert status == 0
    assert "/contact\n  state      calm\n" in out
    assert "  rate       3.0 in 1 minute\n" in out
    assert "  threshold  above 20 in 1 minute, until under 10 for 1 minute\n" in out
    assert "    submissions  3\n" in out
    status, out, _ = command("status", "--json")
    [told] = json.loads(out)
    assert (told["rule"], told["engaged"], told["counts"]["submissions"]) == ("/contact", False, 3)


def test_store_may_stand_before_and_behind_the_command(command: Command, worker: WsgiTwin, url: str) -> None:
    """Where the store is named makes no difference."""
    assert worker.gate is not None
    expected = command("status", "--json")
    assert command("--store", url, "status", "--json") == expected
    assert command("status", "--json", "--store", url) == expected


def test_engage_and_release_reach_the_workers(command: Command, worker: WsgiTwin) -> None:
    """A rule that is engaged by the command demands a challenge at every worker, until it is released."""
    assert worker.send(body=b"a=b").status == 200
    status, out, _ = command("engage", "/contact", "--for", "90s")
    assert (status, out.startswith("/contact is engaged until ")) == (0, True)
    worker.gate.exchange.once()
    assert worker.send(body=b"a=b").status == 429
    assert "  state      engaged, until " in command("status")[1]
    assert command("release", "/contact")[0] == 0
    worker.gate.exchange.once()
    assert worker.send(body=b"a=b").status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["engage", "/nowhere"], "there is no rule '/nowhere'"),
        (["--store", "memory://", "status"], "wanted the store that workers share"),
        (["--store", "mysql://x", "status"], "wanted 'auto'"),
        (["--store", "sqlite://relative.db", "status"], "four slashes"),
    ],
)
def test_mistakes_are_one_sentence(command: Command, worker: WsgiTwin, arguments: list[str], words: str) -> None:
    """What cannot be done is said in one sentence, with exit status 1."""
    assert worker.gate is not None
    status, out, err = command(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("gatepost: ")
    assert words in err
    assert err.count("\n") == 1


def test_secret_is_needed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the application's secret its store cannot be told from others'."""
    monkeypatch.delenv("GATEPOST_SECRET")
    status, _, err = command("status")
    assert status == 1
    assert "secret" in err


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "-5m"])
def test_time_must_be_one(command: Command, text: str) -> None:
    """A time that cannot be read is refused as argparse does it."""
    with pytest.raises(SystemExit):
        command("engage", "/contact", "--for", text)
