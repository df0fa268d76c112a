"""A machine whose clock nobody has set yet, or that lost its time: nothing is stored by it, everybody is told to come again."""

import pytest

from collector.domain.doctor import examine
from collector.storage.slices import OVERFLOW, WEEK
from collector.upkeep import Report, round_of
from collector.values.clock import DAY, EARLIEST
from tests.support.clock import START, FakeClock
from tests.support.envelopes import envelope, new_event, new_lead
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


def test_meanwhile_nothing_is_changed_by_anybody(database_url: str, unset: int) -> None:
    clock = FakeClock()
    with serving(database_url, clock) as rest:
        assert answers(rest)[0] == 202
        (person,) = rest.get("/contacts").json["data"]
        clock.now = unset
        body = envelope(rest.world.site.key, new_lead(), new_event())
        asked = [
            rest.post("/contacts", {"role": "lead"}),
            rest.put(f"/contacts/{person['id']}", {"name": "Ada"}),
            rest.send("DELETE", f"/contacts/{person['id']}"),
            rest.client.post("/collect", json=body),
            rest.client.post("/claim", json={}),
        ]
        assert [one.status_code for one in asked] == [503] * 5
        assert {one.headers["Retry-After"] for one in asked} == {"5"}
        clock.now = START + DAY
        assert rest.get("/contacts").json["data"] == [person]
