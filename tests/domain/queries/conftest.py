"""Questions about people, asked of every evaluator on each engine in turn."""

import pytest

from tests.support.asking import Asking
from tests.support.clock import START, FakeClock
from tests.support.world import World

NOW = START + 437
"""In the middle of a second: what is told to the second and what is told to the millisecond differ."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def asking(world: World) -> Asking:
    return Asking(world)
