"""A collector in the test's own process, on each engine in turn."""

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.support.world import World
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as running:
        yield running
