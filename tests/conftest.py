"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gatepost.testing import ManualClock
from twins import TWINS, Twin, make_twin

# What one test counts, or one run of all, is not to engage the rules of the next; processes of tests inherit it.
os.environ["GATEPOST_STORE"] = "memory://"

# How long an example takes, or is looked for, says something of the machine and nothing of the property.
settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")


@pytest.fixture(params=TWINS)
def twin_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., Twin]]:
    """Makes a twin with settings; each test runs with both twins, and ASGI on both event loops."""
    made: list[Twin] = []

    def make(**options: Any) -> Twin:
        made.append(make_twin(request.param, **options))
        return made[-1]

    yield make
    for twin in made:
        twin.clock.tick(10**7)  # or the pool's thread would wait for its traffic to get old


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where everything must be there, a skip is a failure."""
    report = yield
    skipped = isinstance(report, pytest.TestReport) and report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("GATEPOST_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and nothing may be skipped here: {report.longrepr}"
    return report
