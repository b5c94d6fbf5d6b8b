"""Fixtures that every test file may use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from twins import TWINS, Twin, make_twin

from gatepost.testing import ManualClock


@pytest.fixture(params=TWINS)
def twin_of(request: pytest.FixtureRequest) -> Callable[..., Twin]:
    """Makes a twin with settings; each test runs with both twins, and ASGI on both event loops."""
    return partial(make_twin, request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
