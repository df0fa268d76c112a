"""A browser speaking to a collector in the test's own process, on each engine and through each entry in turn."""

from collections.abc import Callable, Iterator

import pytest
from werkzeug.test import Client

from collector.web.browser import Responder
from tests.support.browserless import ENTRIES, Tracker
from tests.support.clock import FakeClock
from tests.support.world import World
from tests.support.world import world as start


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock, message_budget_ms=60_000) as running:  # time limits measure the machine
        yield running


@pytest.fixture(params=ENTRIES)
def new_tracker(request: pytest.FixtureRequest, world: World) -> Callable[[], Tracker]:
    """Makes one more browser."""
    client = Client(ENTRIES[request.param](Responder(world.services)))
    return lambda: Tracker(world, client)


@pytest.fixture
def tracker(new_tracker: Callable[[], Tracker]) -> Tracker:
    return new_tracker()
