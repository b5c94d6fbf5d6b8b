"""BotBlock's engine once the pictures that it had ready are gone, beside what a flooded gate draws.

Run as ``python -m benchmarks.engine``, with seconds as an argument, it prints the engine's figures as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .tables import show

_STOCK = 500  # pictures that it keeps ready by default


@dataclass(frozen=True)
class Figures:
    """What was measured: pictures a second, seconds, and shares of a core.

    ``wait`` and ``longest`` are of one request, in seconds; ``asking`` is the load of the process that asks.
    """

    filling: float
    rate: float
    wait: float
    longest: float
    processes: int
    load: float
    asking: float


def measure(seconds: float) -> Figures:
    """Take what is ready, then ask for so long."""
    from botblock.captcha import Engine  # type: ignore[import-untyped]

    started = time.monotonic()
    engine = Engine()
    try:
        while engine._fresh_captchas.qsize() < _STOCK:
            time.sleep(0.05)
        filling = time.monotonic() - started
        for _ in range(_STOCK):
            engine.get_captcha()
        children = [child.pid for child in multiprocessing.active_children() if child.pid]
        used, own, started, waits = sum(map(_used, children)), time.process_time(), time.monotonic(), []
        while time.monotonic() < started + seconds:
            asked = time.perf_counter()
            engine.get_captcha()
            waits.append(time.perf_counter() - asked)
        passed = time.monotonic() - started
        return Figures(
            filling,
            len(waits) / passed,
            statistics.median(waits),
            max(waits),
            len(children),
            (sum(map(_used, children)) - used) / passed,
            (time.process_time() - own) / passed,
        )
    finally:
        engine.shut_down()


def _used(process: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(seconds: float, gate: dict[str, Any], flooded: float) -> None:
    """Measure and print.

    :param gate: figures of a flooded server, for the same table.
    :param flooded: seconds that its flood lasted.
    """
    if importlib.util.find_spec("botblock") is None:
        print("\nBotBlock is not installed, so there is nothing to stand beside the flood.")
        return
    ask = [sys.executable, "-W", "ignore", "-m", "benchmarks.engine", str(seconds)]
    found = subprocess.run(ask, capture_output=True, check=True, text=True).stdout  # noqa: S603 - our own program
    peer = Figures(**json.loads(found.splitlines()[-1]))
    show(
        f"Beside it BotBlock's engine, asked for {seconds:g} s when its {_STOCK} pictures are gone",
        ("", "Gatepost, flooded", "BotBlock's engine"),
        [
            ("pictures a second", f"{gate['drawn'] / flooded:.1f}", f"{peer.rate:.1f}"),
            ("drawing, share of a core", f"{gate['drawing'] / flooded:.2f}", f"{peer.load:.2f}"),
            ("processes for it", "0 (a thread)", f"{peer.processes}"),
            ("a request waits, ms: median", "see above", f"{1e3 * peer.wait:.2f}"),
            ("  longest", "see above", f"{1e3 * peer.longest:.2f}"),
            ("until its stock is full, s", "begins at half of the threshold", f"{peer.filling:.1f}"),
        ],
        "Whoever asks the engine waits, and holds up an event loop; a gate past its budget sends a page without one.",
    )


if __name__ == "__main__":
    print(json.dumps(asdict(measure(float(sys.argv[1])))))
