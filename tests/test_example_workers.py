"""The example with several workers, as it is run: gunicorn with SQLite, and two instances behind nginx with Redis."""

from __future__ import annotations

import importlib
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gatepost.testing import ManualClock
from server_clients import PATIENCE
from servers import wait_until
from test_guestbook import PNG, multipart

WORKERS = Path(__file__).parent.parent / "examples" / "workers"
SECRET = "0123456789abcdef" * 2
#: Where visitors come from, one after the other, in the word of a proxy.
_ADDRESSES = (f"198.51.100.{number}" for number in range(1, 255))


def example(name: str) -> ModuleType:
    """A module of the example. It is no package, so its folder has to be on the path for a moment."""
    sys.path.insert(0, str(WORKERS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(WORKERS))


check, plans = example("check"), example("plans")


class Run:
    """The command at work, in a folder for temporary files of its own.

    :param words: what is typed behind the command's name.
    :param environ: what its environment has more than ours.
    """

    def __init__(self, *words: str, **environ: str) -> None:
        # Short, since the path of a socket has to be.
        self.folder = tempfile.TemporaryDirectory(prefix="gatepost-test-")
        self.process = subprocess.Popen(  # noqa: S603 - our own programme
            [sys.executable, str(WORKERS), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": self.folder.name, "GATEPOST_SECRET": SECRET, **environ},
            start_new_session=True,
        )
        self.printed = ""
        self.complaints = ""

    def wait_until_open(self) -> None:
        """Read up to the last line of the welcome."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if "Ctrl+C" in line:
                return
        self.end()
        raise AssertionError(f"it did not start: {self.printed}{self.complaints}")

    @property
    def addresses(self) -> list[str]:
        """What was printed: the site's address, then those of its instances."""
        found = re.findall(r"^ +(?:The guestbook is open|Instance \d, behind it): +(\S+)$", self.printed, re.MULTILINE)
        return [str(address) for address in found]

    @property
    def store(self) -> str:
        return self.printed.partition("--store ")[2].split()[0]

    def file(self, pattern: str) -> Path:
        """The one file of this name below its folder."""
        [path] = Path(self.folder.name).rglob(pattern)
        return path

    def end(self, number: int | None = None, seconds: float = PATIENCE) -> int:
        """Wait for the end, after a signal if one is given; the exit status.

        :param seconds: that it may take.
        :raises subprocess.TimeoutExpired: if a process of it is still there. All have inherited what they print to, and
            its end comes when the last one has ended.
        """
        if number is not None:
            self.process.send_signal(number)
        try:
            printed, self.complaints = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.printed += printed
        return self.process.returncode

    def left(self) -> list[str]:
        """The names of what is left of its files."""
        return [path.name for path in Path(self.folder.name).iterdir()]


@pytest.fixture
def run_of() -> Iterator[Any]:
    """Runs the command; what runs at the end is ended."""
    runs: list[Run] = []

    def run(*words: str) -> Run:
        runs.append(Run(*words))
        return runs[-1]

    yield run
    for one in runs:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)
        one.folder.cleanup()


# --- gunicorn with SQLite ---


def test_sqlite_workers_are_one_gate(run_of: Any) -> None:
    """Four workers engage together, and of one answer posted 50 times at once one is delivered; nothing is left.

    A busy machine may ask some of the others to try again, and then they are told that it was sent already.
    """
    if missing := plans.PLANS["sqlite"].needs.missing():
        pytest.skip(missing)
    run = run_of("sqlite", "--check")
    assert run.end(seconds=PATIENCE + 2 * check.ENDURANCE) == 0, run.printed + run.complaints
    assert re.search(r"50 times at once to \d workers: 1 delivered, .*; in the book 1 time\(s\)\.\n", run.printed)
    assert "Error" not in run.complaints
    assert "Warning" not in run.complaints
    assert run.left() == []


def test_ctrl_c_leaves_nothing(run_of: Any) -> None:
    """Ctrl-C ends every process and removes every file."""
    if missing := plans.PLANS["sqlite"].needs.missing():
        pytest.skip(missing)
    run = run_of("sqlite")
    run.wait_until_open()
    assert run.end(signal.SIGINT) == 0
    assert run.printed.endswith("The book is closed.\n")
    assert run.left() == []


# --- two instances behind nginx with Redis ---


@pytest.fixture(scope="module")
def access_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both instances write of their requests."""
    return tmp_path_factory.mktemp("workers") / "access.log"


@pytest.fixture(scope="module")
def site(access_log: Path) -> Iterator[Run]:
    """The site behind nginx. It has been engaged by the example's own check, and is ended by SIGTERM."""
    if missing := plans.PLANS["redis"].needs.missing():
        pytest.skip(missing)
    run = Run("redis", GUNICORN_CMD_ARGS=f"--access-logfile={access_log}")
    try:
        run.wait_until_open()
        assert check.check(run.addresses[0]), "the workers are not one gate"
        yield run
    finally:
        status = run.end(signal.SIGTERM)
        left = run.left()
        run.folder.cleanup()
    assert (status, left) == (0, []), run.complaints


@pytest.fixture
def visitor(site: Run) -> Any:
    """One who comes through nginx."""
    return check.Visitor(site.addresses[0])


@pytest.fixture
def pair(site: Run, visitor: Any) -> list[Any]:
    """The same at each instance, past nginx, saying what nginx says."""
    return [check.Visitor(address, visitor.host) for address in site.addresses[1:]]


def challenged(visitor: Any, body: bytes, content_type: str, **headers: str) -> Any:
    """Send a form until it is challenged, and kept.

    The rule is engaged, but a worker that has had nothing to do hears of it with its first submission, and lets that
    one pass. (And what holds for a minute may be over on a slow machine.) One that is busy may have no question at the
    moment, or nobody who keeps what is large.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        reply = visitor.send("POST", body, content_type=content_type, **headers)
        if reply.status == 429 and check.right_answer(reply.text) and 'id="unkept"' not in reply.text:
            return reply
        if reply.status == 429:
            reply.wait()
    raise AssertionError("no page came")


def instance_of(reply: Any) -> int:
    """Which instance answered: the process of gunicorn that leads the group of its workers."""
    return os.getpgid(int(reply.headers["x-worker"]))


def form(message: str) -> tuple[bytes, str]:
    return multipart("Ada", message)


def entries(site: Run, message: str) -> list[bytes | None]:
    """The pictures of the entries with this message."""
    with closing(sqlite3.connect(site.file("guestbook.db"))) as connection:
        rows = connection.execute("SELECT picture FROM entries WHERE message = ?", (message,)).fetchall()
    return [row[0] for row in rows]


def answered(visitor: Any, page: Any, **headers: str) -> int:
    """The status that the right answer to a page gets, not before it may come; asked to try again, the visitor does."""
    page.wait()

    def post(_: int, page: Any) -> Any:
        answer = check.solve(page.body, check.right_answer(page.text))
        return visitor.send("POST", answer.body, content_type=answer.content_type, **headers)

    [last] = check.answer_at_once(post, page, 1).last
    return int(last.status)


def test_page_through_nginx_is_the_gates(visitor: Any, pair: list[Any]) -> None:
    """Status, header fields and content of the page come through nginx as an instance sends them."""
    through = challenged(visitor, *form("a page"))
    direct = challenged(pair[0], *form("a page"), x_forwarded_for=next(_ADDRESSES))
    own = {"server", "connection", "transfer-encoding", "content-length", "date", "x-worker"}
    assert set(through.headers) - own == set(direct.headers) - own
    same = ("cache-control", "content-security-policy", "content-type", "gatepost", "vary", "x-content-type-options")
    for name in same:
        assert through.headers[name] == direct.headers[name]
    assert through.headers["gatepost"] == "challenge; reason=rule-engaged"
    assert through.headers["cache-control"] == "no-store"
    assert check.right_answer(through.text)
    assert "gatepost_carry" in through.text


def test_i2_upload_of_one_instance_is_delivered_by_the_other(site: Run, visitor: Any, pair: list[Any]) -> None:
    """A picture of 2 MB passes nginx, is too large for the page, waits in Redis, and arrives byte for byte."""
    picture = PNG + random.Random(4).randbytes(2_000_000)  # noqa: S311 - any bytes will do
    page = challenged(visitor, *multipart("Ada", "with a picture", picture))
    assert len(page.body) < 100_000
    [other] = [one for one in pair if instance_of(one.send("GET")) != instance_of(page)]
    passed = len(entries(site, "with a picture"))
    assert answered(other, page) == 303
    assert entries(site, "with a picture")[passed:] == [picture]


def test_i4_answer_at_both_instances_at_once_is_delivered_once(site: Run, pair: list[Any]) -> None:
    """Of one answer that comes to both instances 24 times at once, exactly one is delivered.

    Who is asked to try again, since Redis did not answer in time, is told that it was sent already when it does.
    """
    address = next(_ADDRESSES)
    page = challenged(pair[0], *form("once"), x_forwarded_for=address)
    page.wait()

    def post(number: int, page: Any) -> Any:
        answer = check.solve(page.body, check.right_answer(page.text))
        return pair[number % 2].send("POST", answer.body, content_type=answer.content_type, x_forwarded_for=address)

    passed = len(entries(site, "once"))
    outcome = check.answer_at_once(post, page, 24)
    assert outcome.once, str(outcome)
    assert len(entries(site, "once")) == passed + 1


def test_i3_nginx_keeps_the_host(visitor: Any) -> None:
    """The gate knows its own site behind nginx by host and port: a form without origin is answered with its origin.

    An answer whose origin is not the site's own, for a form without one, would be refused.
    """
    origin = f"http://{visitor.host}"
    page = challenged(visitor, *form("from an old browser"))
    assert answered(visitor, page, origin="http://elsewhere.example") == 400
    assert answered(visitor, page, origin=origin) == 303


def test_i5_visitor_does_not_choose_an_address(visitor: Any, pair: list[Any], access_log: Path) -> None:
    """An instance takes the proxy's word for a visitor's address, and the proxy does not hand on the visitor's."""
    forged = {"x_forwarded_for": next(_ADDRESSES), "x_real_ip": "192.0.2.7", "forwarded": "for=192.0.2.7"}
    visitor.send("GET", path="/?through", **forged)
    address = next(_ADDRESSES)
    pair[0].send("GET", path="/?direct", x_forwarded_for=address)

    def clients() -> list[str]:
        lines = access_log.read_text().splitlines()
        return [line.split()[0] for wanted in ("through", "direct") for line in lines if f"?{wanted} " in line]

    wait_until(lambda: len(clients()) == 2, "both requests are in the log")
    assert clients() == ["127.0.0.1:0", f"{address}:0"]


def test_gatepost_command_sees_the_site(site: Run) -> None:
    """The command that is printed prints the rule's state, as all workers together have it."""
    command = [sys.executable, "-m", "gatepost", "status", "--store", site.store]
    environ = {**os.environ, "GATEPOST_SECRET": SECRET}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
    assert "rule-engaged" in done.stdout
    assert "solved" in done.stdout


# --- the check itself ---


def reply(status: int, reason: str = "", retry_after: int = 0) -> Any:
    """What came back now; with a reason it is the gate's page to go on with."""
    headers = {"gatepost": f"challenge; reason={reason}"} if reason else {}
    return check.Reply(status, headers | ({"retry-after": str(retry_after)} if retry_after else {}), b"")


BUSY = (503, "store-away", 5)
ASKED = (429, "failure-limit", 30)


@pytest.mark.parametrize(
    ("course", "told", "once"),
    [
        ([[303], [409], [409]], "1 delivered, 2 told that it was sent already", True),
        ([[303], [BUSY, 409], [409]], "1 delivered, 2 told that it was sent already", True),
        ([[BUSY, ASKED, 303], [BUSY, BUSY, 409], [ASKED, 409]], "1 delivered, 2 told that it was sent already", True),
        (
            [[409], [303], [BUSY] * 99],
            "1 delivered, 1 told that it was sent already, 1 asked to try again to the end",
            True,
        ),
        ([[BUSY] * 99] * 2, "0 delivered, 0 told that it was sent already, 2 asked to try again to the end", False),
        ([[303], [303], [409]], "2 delivered, 1 told that it was sent already", False),
        ([[303], [BUSY, 303], [409]], "2 delivered, 1 told that it was sent already", False),
        ([[409], [409]], "0 delivered, 2 told that it was sent already", False),
        ([[303], [409], [500]], "1 delivered, 1 told that it was sent already, 1 with status 500", False),
        (
            [[303], [503], [BUSY, 400]],
            "1 delivered, 0 told that it was sent already, 1 with status 503, 1 with status 400",
            False,
        ),
    ],
)
def test_i4_check_tells_one_delivery_from_others(
    monkeypatch: pytest.MonkeyPatch, course: list[list[Any]], told: str, once: bool
) -> None:
    """Only one delivery will do, beside those told 'sent already'; who is asked to try again does, not too early."""
    clock = ManualClock()
    monkeypatch.setattr(check, "time", SimpleNamespace(monotonic=clock, sleep=clock.tick))
    coming = [iter([reply(*(one if isinstance(one, tuple) else (one,))) for one in ones]) for ones in course]
    began = clock()

    def answer(number: int, page: Any) -> Any:
        assert clock() >= page.due or not page.asks_again
        return replace(next(coming[number]), at=clock())

    outcome = check.answer_at_once(answer, reply(429), len(course))
    assert (str(outcome), outcome.once) == (told, once)
    assert outcome.again.total() == sum(isinstance(ones[0], tuple) for ones in course)
    assert clock() - began <= check.ENDURANCE


# --- trouble ---


def test_child_that_dies_ends_all(run_of: Any) -> None:
    """When gunicorn is killed, its workers go with it, and one sentence says what happened."""
    if missing := plans.PLANS["sqlite"].needs.missing():
        pytest.skip(missing)
    run = run_of("sqlite")
    run.wait_until_open()
    os.kill(instance_of(check.Visitor(run.addresses[0]).send("GET")), signal.SIGKILL)
    assert run.end() == 1
    assert run.complaints == "gunicorn ended by signal 9, so all was ended.\n"
    assert run.left() == []


def test_start_without_secret_is_refused(tmp_path: Path) -> None:
    """Without a secret gunicorn does not start, and its last line says why and how to make one."""
    if missing := plans.PLANS["sqlite"].needs.missing():
        pytest.skip(missing)
    done = subprocess.run(  # noqa: S603 - our own programme
        [sys.executable, "-m", "gunicorn", "--check-config", "--config", str(WORKERS / "gunicorn.conf.py")],
        env={**os.environ, "GATEPOST_SECRET": "", "GUESTBOOK_DB": str(tmp_path / "guestbook.db")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "secret: none was given" in done.stderr
    assert "secrets.token_urlsafe(32)" in done.stderr


@pytest.mark.parametrize("name", ["sqlite", "redis"])
def test_port_in_use_is_told(run_of: Any, name: str) -> None:
    """A port that somebody else has is one sentence, and nothing stays started."""
    if missing := plans.PLANS[name].needs.missing():
        pytest.skip(missing)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = run_of(name, "--port", str(port))
        assert run.end() == 1
    assert run.complaints == f"Port {port} is in use already. Choose another one with --port.\n"
    assert run.left() == []


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names every program and module that is missing, and how to get it."""
    monkeypatch.setattr(plans, "find_program", lambda *_: "")
    monkeypatch.setattr(plans, "find_spec", lambda module: None if module == "uvicorn_worker" else module)
    assert plans.PLANS["redis"].needs.missing() == (
        "This needs nginx, redis-server, uvicorn-worker, which could not be found: on Debian "
        "`apt install nginx redis-server`, or your system's package of that name; and in the project's folder "
        "`pip install '.[workers]'`."
    )


def test_templates_are_filled() -> None:
    """Nothing in either of nginx's files is left to replace, but for the comments that explain it."""
    words = {f"@{word}@": "x" for word in ("USER", "LISTEN", "NAME", "ONE", "TWO")}
    for name in ("nginx.conf", "guestbook.conf"):
        filled = plans.filled((WORKERS / "nginx" / name).read_text("utf-8"), words)
        assert not [line for line in filled.splitlines() if "@" in line and not line.lstrip().startswith("#")]
    assert "#   @LISTEN@" in filled


@pytest.mark.parametrize(
    "url", ["http://example.org/", "http://127.0.0.1.example.org/", "http://127.0.0.1:80@example.org/", "127.0.0.1"]
)
def test_check_floods_this_machine_alone(url: str) -> None:
    """The check takes an address of this machine, and no other."""
    done = subprocess.run(  # noqa: S603 - our own programme
        [sys.executable, str(WORKERS), "check", url], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert f"got '{url}', wanted one of this machine" in done.stderr


def test_without_the_package_one_sentence_is_printed() -> None:
    """With nothing but Python, the command says what to install, and shows no traceback."""
    done = subprocess.run(  # noqa: S603 - our own programme
        [sys.executable, "-S", "-E", str(WORKERS), "sqlite"],  # -S: without what is installed
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("This needs gatepost, gunicorn, python-multipart, uvicorn-worker, which")
    assert done.stderr.count("\n") == 1
