"""What ``gatepost status`` prints of a rule, and that it makes nothing."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import Gate, Settings
from gatepost.cli import main
from gatepost.protocols import Sums, Terms, Told
from gatepost.status import describe, lasting, moment
from gatepost.stores import auto, fingerprint, make_store
from gatepost.stores.sqlite import SqliteStore
from twins import SECRET, settings

NOW = 1_800_000_000.0
CALM = Told(
    rule="/contact",
    period=60.0,
    rate=3.04,
    until=(0.0,),
    since=NOW - 4000,
    cause="",
    counts={"submissions": 1234},
    terms=Terms("adaptive", (20.0,), (10.0,), 60.0),
)
ENGAGED = Told(
    rule="/",
    period=15.0,
    rate=489.6,
    until=(NOW + 40, 0.0),
    since=NOW - 80,
    cause="61 submissions in 15 s, threshold 60",
    counts={"wrong": 14, "submissions": 16_940, "delivered": 11, "rule-engaged": 268, "challenged": 689, "held": 626},
    terms=Terms("observe", (60.0, 200.0), (30.0, 100.0), 0.0),
)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone that is two hours ahead."""
    monkeypatch.setenv("TZ", "EET-02:00")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("noon")
def test_calm_rule() -> None:
    """State, since when, rate, thresholds and counts of a calm rule stand one under the other."""
    assert describe(CALM, NOW).splitlines() == [
        "/contact",
        "  state      calm",
        "  since      2027-01-15 08:53:20+02:00 (1 hour 6 minutes ago)",
        "  rate       3.0 in 1 minute",
        "  threshold  above 20 in 1 minute, until under 10 for 1 minute",
        "  counts",
        "    submissions  1,234",
    ]


@pytest.mark.usefixtures("noon")
def test_engaged_rule() -> None:
    """Of an engaged one the cause, each level and the mode are said as well; totals come before outcomes by reason."""
    assert describe(ENGAGED, NOW).splitlines() == [
        "/",
        "  mode     observe: nothing is challenged",
        "  state    engaged, level 1 of 2, until 2027-01-15 10:00:40+02:00 at least (in 40 seconds)",
        "  since    2027-01-15 09:58:40+02:00 (1 minute 20 seconds ago): 61 submissions in 15 s, threshold 60",
        "  rate     489.6 in 15 seconds",
        "  level 1  above 60 in 15 seconds, until under 30",
        "  level 2  above 200 in 15 seconds, until under 100",
        "  counts",
        "    submissions   16,940",
        "    held             626",
        "    challenged       689",
        "    delivered         11",
        "  by reason",
        "    rule-engaged     268",
        "    wrong             14",
    ]


def test_rule_that_ended_while_nobody_looked() -> None:
    """A rule whose workers are gone is calm since its end, and the cause of its engagement is that of the past."""
    lines = describe(ENGAGED, NOW + 100)
    assert "state    calm" in lines
    assert f"since    {moment(NOW + 40)} (1 minute ago)\n" in lines


@pytest.mark.parametrize("told", [CALM, ENGAGED])
def test_rule_of_a_store_without_thresholds(told: Told) -> None:
    """A store of somebody's own, or of a version before, need not know the settings."""
    lines = describe(replace(told, terms=Terms(), counts={}, since=0.0, until=()), NOW).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["state", "rate"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 seconds"),
        (0.4, "0 seconds"),
        (1, "1 second"),
        (59.7, "1 minute"),
        (90, "1 minute 30 seconds"),
        (3600, "1 hour"),
        (7384, "2 hours 3 minutes"),
        (90_000, "1 day 1 hour"),
        (10**7, "115 days 17 hours"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    """A duration is said by its two largest units."""
    assert lasting(seconds) == words


@given(st.builds(Terms, mode=st.text(), above=st.lists(st.floats(1, 1e9)).map(tuple), hold=st.floats(0, 1e6)))
def test_any_terms_can_be_printed(terms: Terms) -> None:
    """Whatever another version has written down, the rule is described."""
    assert describe(replace(CALM, terms=terms), NOW).startswith("/contact\n")


# --- the thresholds in a store ---


def test_thresholds_travel_with_the_sums(tmp_path: Path) -> None:
    """What a worker has configured the command prints."""
    url = f"sqlite:///{tmp_path}/gatepost.db"
    rules: dict[str, Any] = {"above": ["20/minute", "90/minute"], "below": ["5/minute", "50/minute"], "hold": 90}
    gate = Gate(Settings(secret=SECRET, protect="/contact", store=url, **rules))
    gate.exchange.once()
    store = make_store(gate.settings)
    assert store is not None
    [told] = store.status()
    assert told.terms == Terms("adaptive", (20.0, 90.0), (5.0, 50.0), 90.0)
    store.close()
    gate.store.close()


def test_file_of_before_is_read(tmp_path: Path) -> None:
    """A file of before there were thresholds in it is used as it is, and gets them with the next exchange."""
    path = tmp_path / "gatepost.db"
    old = SqliteStore(path, settings())
    sums = Sums("rule", 60.0, 1, 1, 0, (), 0, "", {"wrong": 1}, terms=Terms("always", (1.0,), (0.5,), 3.0))
    old.exchange([replace(sums, terms=Terms())])
    before = old.identity()
    old.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE terms")
    connection.close()
    new = SqliteStore(path, settings())
    assert new.identity() == before
    assert [(told.counts, told.terms) for told in new.status()] == [({"wrong": 1}, Terms())]
    new.exchange([sums])
    assert [told.terms for told in new.status()] == [sums.terms]
    new.close()


# --- looking makes nothing ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test, and the secret of its application."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GATEPOST_SECRET", SECRET)
    monkeypatch.delenv("GATEPOST_STORE")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence of a command that cannot be carried out."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


COMMANDS = pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["engage", "/x"], ["release", "/x"]])


@COMMANDS
@pytest.mark.parametrize("where", ["option", "environment"])
def test_command_makes_no_file(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    where: str,
) -> None:
    """A file that is not there is not made, since it would be the command's user's: one sentence, exit status 1."""
    url = f"sqlite:///{folder}/gatepost.db"
    if where == "environment":
        monkeypatch.setenv("GATEPOST_STORE", url)
    arguments = ["--store", "auto" if where == "environment" else url, *command]
    assert f"there is no file '{folder}/gatepost.db' yet" in said(capsys, *arguments)
    assert list(folder.iterdir()) == []


@COMMANDS
def test_command_makes_no_folder(folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """With nothing configured the same, and where to look is said."""
    sentence = said(capsys, *command)
    assert f"has no store of this secret and site in '{folder}' yet" in sentence
    assert "PrivateTmp" in sentence
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this platform has no such users")
def test_command_knows_whose_store_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command run as another user than the application names the one that has the store."""
    mine = os.geteuid()
    auto.place(fingerprint(Settings(secret=SECRET, protect="/"))).touch(0o600)
    monkeypatch.setattr("gatepost.stores.auto._user", lambda: mine + 4321)
    sentence = said(capsys, "status")
    assert f"user {mine + 4321} has no store" in sentence
    assert f"but user {auto._name(mine)} has: run the command as that user." in sentence
    assert len(list(folder.iterdir())) == 1


def test_command_finds_what_the_application_has_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the application's user, with nothing configured, the command looks at the application's file."""
    gate = Gate(Settings(secret=SECRET, protect="/contact"))
    gate.exchange.once()
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith("/contact\n  state      calm\n")
    assert len(list(folder.iterdir())) == 1
    gate.store.close()


def test_file_that_cannot_be_looked_for_may_be_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the command may not even look, it does not say that nothing is there."""

    def forbidden(_: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", forbidden)
    sentence = said(capsys, "--store", f"sqlite:///{folder}/nowhere/gatepost.db", "status")
    assert "which cannot be used" in sentence
