"""A payload in halves comes to the same as the whole, so that what cannot be written may be searched for."""

import itertools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.domain.identities import LEAD, USER, Key
from collector.domain.submissions import AttributeChange, Event, Outcome, Submission, halves, joined
from collector.values.clock import MINUTE
from collector.values.errors import Reason
from tests.laws.test_handed_over import submissions
from tests.support.clock import FakeClock
from tests.support.world import World, id_at, lead
from tests.support.world import world as start

Act = tuple[int, bool, list[int], list[tuple[str, int]]]
"""User (0: nobody), whether verified, the numbers of its events, names and times of what it sets."""

acts = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.booleans(),
        st.lists(st.integers(0, 5), max_size=4),
        st.lists(st.tuples(st.sampled_from(["plan", "colour"]), st.integers(0, 3)), max_size=3),
    ),
    min_size=1,
    max_size=3,
)
runs = itertools.count()


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock) as world:
        yield world


@given(st.lists(submissions, max_size=4))
def test_nothing_is_lost_between_them_nor_in_both(payload: list[Submission]) -> None:
    parts = halves(payload)
    if parts is None:
        assert len(payload) < 2 and sum(len(items(one)) for one in payload) < 2
        return
    assert all(parts)
    whole = [item for one in payload for item in items(one)]
    assert [item for part in parts for one in part for item in items(one)] == whole
    assert all(len(part) < len(payload) or len(items(part[0])) < len(whole) for part in parts)


def items(one: Submission) -> list[object]:
    return [*one.events, *one.changes, *one.reports]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts)
def test_written_one_after_the_other_they_come_to_the_same(world: World, given_acts: list[Act]) -> None:
    world.clock.advance(MINUTE)  # each has the room of a minute for new people
    run, now = next(runs), world.clock()
    ids, visits = ([id_at(now) for _ in range(number)] for number in (6, 3))
    # Each has a browser of its own: what a group says of one browser is put together, and means the same only in one order.
    payload = [submission(f"{run}-{place}", run, now, ids, visits, act) for place, act in enumerate(given_acts)]
    sites = [world.site.id, other_site(world)]
    whole = world.services.writer.record(sites[0], payload)
    assert [told(outcome) for outcome in in_halves(world, sites[1], payload)] == [told(outcome) for outcome in whole]
    keys = {key for one in payload for key in (one.owner, one.lead.key if one.lead else one.owner)}
    first, second = (people(world, site, keys) for site in sites)
    assert first == second


def submission(browser: str, run: int, now: int, ids: list[bytes], visits: list[bytes], act: Act) -> Submission:
    who, verified, events, changes = act
    new = lead(f"lead-{browser}")
    return Submission(
        owner=(USER, f"u-{run}-{who}") if who else new.key,
        lead=new,
        verified=verified and who > 0,
        events=[
            Event(ids[number], "came", now - number, visits[number % 3], f'{{"url":"https://shop.example/{number}"}}') for number in events
        ],
        internal=verified,
        changes=[AttributeChange({f"custom_attributes.{name}": at}, now - at) for name, at in changes],
    )


def other_site(world: World) -> int:
    found = world.rows("SELECT id FROM sites WHERE id <> ?", world.site.id)
    if found:
        return int(found[0][0])
    ours, token = world.site, world.access_token
    made = world.new_site("Other", "https://other.example").id
    world.site, world.access_token = ours, token
    return made


def in_halves(world: World, site: int, payload: list[Submission]) -> list[Outcome]:
    parts = halves(payload)
    if parts is None:
        outcomes: list[Outcome] = world.services.writer.record(site, payload)
        return outcomes
    return joined(payload, [in_halves(world, site, part) for part in parts])


def told(outcome: Outcome) -> Outcome:
    """What is told of a submission, without the names of rows."""
    return msgspec.structs.replace(outcome, person=None, contact_id=None)


def people(world: World, site: int, keys: set[Key]) -> list[tuple[object, ...]]:
    """What is kept of somebody, by any of the keys."""
    values = sorted(value for _, value in keys)
    marks = ", ".join("?" for _ in values)
    found = world.rows(
        f"SELECT i.kind, i.value, p.value, i.visit_count, i.visit_started_at, t.count, t.own_count, t.first, t.last FROM identities i "
        "JOIN identities p ON p.site = i.site AND p.id = i.principal_id "
        "LEFT JOIN totals t ON t.site = i.site AND t.identity = i.id "
        f"WHERE i.site = ? AND i.value IN ({marks}) ORDER BY 1, 2",
        site,
        *values,
    )
    set_ = world.rows(
        f"SELECT i.value, n.text, a.own_value, a.value FROM identities i "
        "JOIN attributes a ON a.site = i.site AND a.identity = i.id JOIN names n ON n.site = a.site AND n.id = a.attr "
        f"WHERE i.site = ? AND i.value IN ({marks}) ORDER BY 1, 2",
        site,
        *values,
    )
    return [*found, *set_]


def test_of_what_failed_each_item_is_told() -> None:
    now = 10
    payload = [
        Submission(
            owner=(LEAD, "x"),
            events=[Event(bytes([number]) * 16, "came", now) for number in range(2)],
            changes=[AttributeChange({"plan": "pro"}, now), AttributeChange({"plan": "free"}, now)],
        )
    ]
    (outcome,) = joined(payload, [[Outcome(contact_id="c", events=[True, False])], None])
    assert (outcome.error, outcome.contact_id, outcome.events, outcome.failed) == (None, "c", [True, False], [0, 1])
    (outcome,) = joined(payload, [None, [Outcome(contact_id="c", outdated=[1])]])
    assert (outcome.events, outcome.failed, outcome.outdated) == ([Reason.INTERNAL] * 2, [], [1])
    outcomes = joined([*payload, *payload], [None, [Outcome(contact_id="c", events=[True, True])]])
    assert [outcome.error for outcome in outcomes] == [Reason.INTERNAL, None]
