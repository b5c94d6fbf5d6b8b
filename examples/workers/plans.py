"""What is started, and how: gunicorn alone with SQLite, or two of it behind nginx with Redis."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from crew import Crew, Failed

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
#: Where system programs are that an ordinary user's PATH may lack.
_MORE_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


@dataclass(frozen=True)
class Site:
    """What runs.

    :param url: the address to open.
    :param store: the gate's store, as the ``gatepost`` command wants it.
    :param instances: the addresses of the instances behind the proxy, if there is one.
    """

    url: str
    store: str
    instances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Needs:
    """What has to be installed.

    :param modules: Python modules, each with the distribution that has it.
    :param programs: system programs: any of these names, and the Debian package.
    """

    modules: Mapping[str, str]
    programs: tuple[tuple[tuple[str, ...], str], ...] = ()

    def missing(self) -> str:
        """One sentence about what has to be installed first; empty if nothing."""
        packages = [package for names, package in self.programs if not find_program(*names)]
        distributions = [name for module, name in self.modules.items() if find_spec(module) is None]
        ways = []
        if packages:
            ways.append(f"on Debian `apt install {' '.join(packages)}`, or your system's package of that name")
        if distributions:
            ways.append("in the project's folder `pip install '.[workers]'`")
        lacking = ", ".join([*packages, *distributions])
        return f"This needs {lacking}, which could not be found: {'; and '.join(ways)}." if ways else ""


@dataclass(frozen=True)
class Plan:
    """One way to run the guestbook.

    :param start: starts it in a folder, on a port.
    """

    start: Callable[[Crew, Path, int], Site]
    needs: Needs


def find_program(*names: str) -> str:
    """The path of the first of these programs that is there, or the empty string."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_PATH])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), "")


# --- the plans ---


def _sqlite(crew: Crew, folder: Path, port: int) -> Site:
    store = f"sqlite:///{quote(str(folder / 'gatepost.db'))}"
    with _listening(port) as listener:
        url = _url(listener)
        _gunicorn(crew, "gunicorn", folder, listener, workers=4, store=store, proxies="")
    _wait_for(crew, url)
    return Site(url, store)


def _redis(crew: Crew, folder: Path, port: int) -> Site:
    with _listening(port):
        pass  # nginx comes last, and a port that is taken is better told before
    path = folder / "redis.sock"
    store = f"unix://{quote(str(path))}"
    log = folder / "redis.log"
    # A socket in our folder and no port: nobody else on this machine can open it.
    where = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "600", "--dir", str(folder)]
    server = find_program("redis-server", "valkey-server")
    command = [server, str(HERE / "redis.conf"), *where, "--loglevel", "warning", "--logfile", str(log)]
    crew.start("Redis", command, folder=folder, environ={}, log=log)
    crew.wait_until(lambda: _connects(path), "Redis did not listen")

    listeners = [socket.create_server((HOST, 0)) for _ in range(2)]
    instances = tuple(_url(listener) for listener in listeners)
    for name, listener in zip(("instance one", "instance two"), listeners, strict=True):
        with listener:
            _gunicorn(crew, name, folder, listener, workers=2, store=store, proxies=HOST)
    for instance in instances:
        _wait_for(crew, instance)

    with _listening(port) as chosen:  # let go of at once: nginx opens its own
        url = _url(chosen)
    _nginx(crew, folder, url, instances)
    _wait_for(crew, url)
    return Site(url, store, instances)


_MODULES = {
    "gatepost": "gatepost",
    "gunicorn": "gunicorn",
    "python_multipart": "python-multipart",
    "uvicorn_worker": "uvicorn-worker",
}
_PROGRAMS = ((("nginx",), "nginx"), (("redis-server", "valkey-server"), "redis-server"))
PLANS = {
    "sqlite": Plan(_sqlite, Needs(_MODULES)),
    "redis": Plan(_redis, Needs(_MODULES | {"redis": "redis"}, _PROGRAMS)),
}
CHECK_NEEDS = Needs({"gatepost": "gatepost"})


# --- what they are made of ---


def _gunicorn(
    crew: Crew, name: str, folder: Path, listener: socket.socket, *, workers: int, store: str, proxies: str
) -> None:
    environ = {
        # In the environment, since everybody on a machine can read a command. One for all workers and all instances.
        "GATEPOST_SECRET": secret(),
        "GATEPOST_STORE": store,
        "GUESTBOOK_DB": str(folder / "guestbook.db"),
        "GUESTBOOK_BIND": f"fd://{listener.fileno()}",
        "FORWARDED_ALLOW_IPS": proxies,
        "WEB_CONCURRENCY": str(workers),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(HERE / "gunicorn.conf.py")]
    crew.start(name, command, folder=folder, environ=environ, pass_fds=[listener.fileno()])


def _nginx(crew: Crew, folder: Path, url: str, instances: tuple[str, ...]) -> None:
    own = folder / "nginx"
    own.mkdir()
    # Started by root, its workers would change to a user who cannot read our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    one, two = (instance.removeprefix("http://").rstrip("/") for instance in instances)
    listen = url.removeprefix("http://").rstrip("/")
    words = {"@USER@": user, "@LISTEN@": listen, "@NAME@": HOST, "@ONE@": one, "@TWO@": two}
    for template in ("nginx.conf", "guestbook.conf"):
        (own / template).write_text(filled((HERE / "nginx" / template).read_text("utf-8"), words), "utf-8")
    command = [find_program("nginx"), "-e", "stderr", "-p", str(own), "-c", str(own / "nginx.conf")]
    crew.start("nginx", command, folder=own, environ={})


def filled(template: str, words: Mapping[str, str]) -> str:
    """A template with its ``@WORDS@`` replaced, but for those in comments, which explain them."""
    lines = []
    for line in template.splitlines():
        if not line.lstrip().startswith("#"):
            for word, value in words.items():
                line = line.replace(word, value)
        lines.append(line)
    return "\n".join([*lines, ""])


_made_up = secrets.token_urlsafe(32)


def secret() -> str:
    """The site's secret: that of the environment, or one for this run alone."""
    return os.environ.get("GATEPOST_SECRET") or _made_up


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket on this port of this machine; 0 takes any free one."""
    with socket.create_server((HOST, port)) as listener:
        yield listener


def _url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}/"


def _wait_for(crew: Crew, url: str) -> None:
    crew.wait_until(lambda: _answers(url), f"{url} did not answer")


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=5)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    if status != 200:
        raise Failed(f"{url} answered with status {status}, so all was ended.")
    return True


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True
