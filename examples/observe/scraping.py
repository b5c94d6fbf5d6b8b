"""A Prometheus of one's own for a while: started on a free port with this folder's configuration, asked, stopped."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
TARGET = f"{HOST}:8000"  # in prometheus.yml
PATIENCE = 30.0  # seconds

_EVERYWHERE = ("__name__", "job", "instance", "rule")  # labels that tell nothing where there is one application

#: A point of a series: seconds since the epoch, and the value.
Point = tuple[float, float]


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Prometheus:
    """Scrapes one application while it is entered.

    :param port: of the application.
    :param folder: where its data go.
    :param interval: seconds between two scrapes.
    :raises FileNotFoundError: if it is not installed.
    """

    def __init__(self, port: int, folder: Path, interval: float = 1.0) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError("prometheus is not installed; Debian has it in the package of that name")
        text = (HERE / "prometheus.yml").read_text("utf-8")
        text = text.replace(TARGET, f"{HOST}:{port}").replace("alerts.yml", str(HERE / "alerts.yml"))
        text = text.replace("5s", f"{round(interval * 1000)}ms")
        self._config = folder / "prometheus.yml"
        self._config.write_text(text, "utf-8")
        self._port = free_port()
        self._command = [
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
            "--log.level=warn",
        ]

    def __enter__(self) -> Prometheus:
        self._process = subprocess.Popen(self._command)  # noqa: S603 - the command is that above
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urlopen(f"http://{HOST}:{self._port}/-/ready", timeout=5):
                    return self
            except (URLError, ConnectionError):
                time.sleep(0.05)
        self._stop()
        raise TimeoutError("prometheus did not start")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _get(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        url = f"http://{HOST}:{self._port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=PATIENCE) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return found

    def now(self, expression: str) -> float | None:
        """The value of the first series that the expression finds, or ``None``."""
        found = self._get("query", query=expression)
        return float(found[0]["value"][1]) if found else None

    def over(self, expression: str, begin: float, end: float) -> dict[str, list[Point]]:
        """Each series that the expression finds, second by second, by the values of its labels."""
        found = self._get("query_range", query=expression, start=begin, end=end, step=1)
        series = {}
        for item in found:
            labels = [value for name, value in sorted(item["metric"].items()) if name not in _EVERYWHERE]
            series[", ".join(labels)] = [(float(at), float(value)) for at, value in item["values"]]
        return series
