"""A machine whose clock nobody has set yet, or that lost its time: nothing is stored by it, everybody is told to come again."""

import pytest

from collector.domain.doctor import examine
from collector.storage.slices import OVERFLOW, WEEK
from collector.upkeep import Report, round_of
from collector.values.clock import DAY, EARLIEST
from tests.support.clock import START, FakeClock
from tests.support.world import user
from tests.web.test_api_support import Rest, serving


@pytest.fixture(params=[3 * DAY, EARLIEST - 1], ids=["of 1970", "before 2020"])
def unset(request: pytest.FixtureRequest) -> int:
    """What the clock says (ms)."""
    return int(request.param)


def answers(rest: Rest) -> tuple[int, int]:
    """The status of an event that is sent, and of readiness."""
    sent = rest.post("/events", {"user_id": "u-1", "event_name": "saved", "create_contact": True})
    assert (sent.status_code == 503) is ("Retry-After" in sent.headers)
    return sent.status_code, rest.client.get("/readyz").status_code


def do_a_round(rest: Rest) -> None:
    for _ in round_of(rest.world.services, rest.world.services.written.transact, Report()):
        pass


def believed(rest: Rest) -> list[tuple[int]]:
    """By which present upkeep judges what is old, where it has believed any."""
    return rest.world.rows("SELECT upto FROM upkeep WHERE part = 'clock'")


def test_a_collector_starts_and_takes_events_once_the_time_is_set(database_url: str, unset: int) -> None:
    clock = FakeClock(unset)
    with serving(database_url, clock) as rest:
        assert answers(rest) == (503, 503)
        do_a_round(rest)
        assert believed(rest) == []
        clock.now = START
        assert answers(rest) == (202, 200)
        do_a_round(rest)
        assert believed(rest) == [(START,)]
        assert list(examine(rest.world.services.database, rest.world.services.keyring)) == []


def test_one_that_loses_the_time_while_it_serves_stores_nothing_of_then(database_url: str, unset: int) -> None:
    clock = FakeClock()
    with serving(database_url, clock) as rest:
        assert answers(rest) == (202, 200)
        clock.now = unset
        assert answers(rest) == (503, 503)
        clock.now = START + DAY
        assert answers(rest) == (202, 200)
        assert rest.world.counts(user()) == {"saved": 2}
        oldest = rest.world.rows("SELECT min(slice) FROM slices WHERE slice <> ?", OVERFLOW)
        assert oldest >= [((START - rest.world.services.settings.retention - DAY) // WEEK,)]
