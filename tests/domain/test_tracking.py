"""What is counted, what is not, and where it is kept."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from collector.domain.audiences import Total
from collector.domain.limits import NewPeople
from collector.domain.submissions import Submission
from collector.domain.tracking import Ledger
from collector.storage.slices import OVERFLOW, WEEK
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.errors import Reason
from collector.values.ids import new_uuid7
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, user
from tests.support.world import world as start


def test_an_event_sent_again_is_a_duplicate_and_not_counted(world: World) -> None:
    event = world.event("created-report")
    assert world.send(lead(), event).events == [True]
    assert world.send(lead(), event).events == [False]
    assert world.counts(lead().key) == {"created-report": 1}


def test_an_event_twice_in_one_batch_counts_once(world: World) -> None:
    event = world.event("created-report")
    assert world.send(lead(), event, event).events == [True, False]


def test_a_repeat_with_another_idea_of_the_time_is_still_a_duplicate(world: World) -> None:
    event = world.event("created-report")
    far = type(event)(event.id, event.name, event.at - 3 * DAY)
    assert world.send(lead(), event).events == [True]
    assert world.send(lead(), far).events == [False]
    other = world.event("exported-report")
    far = type(other)(other.id, other.name, other.at - 3 * DAY)
    assert world.send(lead(), far).events == [True]
    assert world.send(lead(), other).events == [False]
    assert world.counts(lead().key) == {"created-report": 1, "exported-report": 1}


def test_an_event_that_two_transactions_bring_at_once_is_stored_once(postgres_url: str, clock: FakeClock) -> None:
    """By different senders, who do not wait for each other's lock: it is not there yet when the second one looks."""
    with new_database(postgres_url) as url, start(url, clock) as world:
        services, site, event = world.services, world.site.id, world.event("created-report")
        other = world.event("exported-report")
        first, second = Submission(owner=lead().key, lead=lead(), events=[event]), lead("lead-2")
        ledger = Ledger(services.database, services.slices, services.names, services.maker, clock, NewPeople(100))
        with ThreadPoolExecutor(1) as pool:
            prepared = ledger.prepare(site, [[first]])
            with services.database.write() as tx:
                assert ledger.write(tx, site, [[first]], prepared)[0][0].events == [True]
                sending = pool.submit(world.send, second, event, other)
                wait_for_another(world)
            assert sending.result(60).events == [False, True]
        assert world.counts(lead().key) == {"created-report": 1}
        assert world.counts(second.key) == {"exported-report": 1}


def wait_for_another(world: World) -> None:
    """Wait until somebody waits for a transaction that is under way."""
    while not world.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")[0][0]:
        threading.Event().wait(0.001)


def test_totals_hold_first_last_and_count_whatever_the_order(world: World) -> None:
    now = world.clock()
    for age in (2 * HOUR, 5 * HOUR, HOUR):
        world.send(lead(), world.event("visited", at=now - age))
    assert world.totals(lead().key) == {"visited": Total(3, now - 5 * HOUR, now - HOUR)}


def test_an_events_slice_is_the_week_inside_its_id(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    assert world.rows("SELECT slice FROM events") == [(world.clock() // WEEK,)]


def test_an_id_whose_time_cannot_be_believed_goes_to_the_overflow(world: World) -> None:
    lying = world.event("page-view", at=world.clock() + 5 * 365 * DAY)
    world.send(lead(), type(lying)(lying.id, lying.name, world.clock()))
    assert world.rows("SELECT slice FROM events") == [(OVERFLOW,)]
    assert len(world.timeline(lead().key)) == 1


def test_the_timeline_ends_at_the_retention_though_totals_stay(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    world.clock.advance(90 * DAY + 1)
    assert world.timeline(lead().key) == []
    assert world.counts(lead().key) == {"page-view": 1}


def test_slices_follow_the_calendar_while_serving(world: World) -> None:
    world.send(lead(), world.event("page-view"))
    world.clock.advance(10 * WEEK)
    world.send(lead(), world.event("page-view"))
    assert len(world.timeline(lead().key)) == 2
    assert OVERFLOW not in {row[0] for row in world.rows("SELECT slice FROM events")}


def test_visits_count_once_and_grow_in_both_directions(world: World) -> None:
    now, visit = world.clock(), new_uuid7(world.clock())
    for at in (now - MINUTE, now - 9 * MINUTE, now - 4 * MINUTE):
        world.send(lead(), world.event("page-view", at=at, visit=visit))
    assert world.rows("SELECT started_at, ended_at FROM visits") == [(now - 9 * MINUTE, (now - MINUTE) // MINUTE * MINUTE)]


def test_rest_events_touch_no_visit_and_no_activity(world: World) -> None:
    world.send(user(), world.event("invoice-paid"), browser=False)
    assert world.rows("SELECT count(*) FROM visits") == [(0,)]
    assert world.person(user()).active_at is None


def test_a_person_that_is_not_to_be_created_is_unknown(world: World) -> None:
    outcome = world.send(user("nobody"), world.event("x"), browser=False, create=False)
    assert outcome.error is Reason.PERSON_UNKNOWN
    assert world.rows("SELECT count(*) FROM identities") == [(0,)]


def test_browsers_bring_only_so_many_new_names_a_day(world: World) -> None:
    names = [f"name-{number}" for number in range(world.services.settings.new_names_per_day + 1)]
    outcome = world.send(lead(), *[world.event(name) for name in names])
    assert outcome.events.count(Reason.NAME_LIMIT) == 1
    assert world.send(user(), world.event("from-rest"), browser=False).events == [True]
    world.clock.advance(DAY + 1)
    assert world.send(lead(), world.event("the-next-day")).events == [True]


def test_many_senders_in_one_commit_are_counted_as_if_alone(world: World) -> None:
    payload = [Submission(owner=lead(f"l-{n}").key, lead=lead(f"l-{n}"), events=[world.event("page-view")] * 2) for n in range(50)]
    outcomes = world.services.writer.record(world.site.id, payload)
    assert all(outcome.events == [True, False] for outcome in outcomes)
    assert world.rows("SELECT count(*), sum(count) FROM totals") == [(50, 50)]


def test_metadata_is_kept_as_it_was_cleaned(world: World) -> None:
    metadata = {"plan": "pro", "price": {"amount": 4900, "currency": "eur"}, "seats": 3}
    world.send(lead(), world.event("upgraded", metadata=json.dumps(metadata)))
    assert world.timeline(lead().key)[0].metadata == metadata


def test_activity_is_the_same_whatever_the_order_of_arrival(world: World) -> None:
    now = world.clock()
    for name, order in (("a", (0, 30_000)), ("b", (30_000, 0))):
        for age in order:
            world.send(lead(name), world.event("page-view", at=now - age))
    assert world.person(lead("a").key).active_at == world.person(lead("b").key).active_at


def test_refused_events_open_no_visit(world: World) -> None:
    names = [f"name-{number}" for number in range(world.services.settings.new_names_per_day)]
    world.send(lead(), *[world.event(name) for name in names])
    outcome = world.send(lead("other"), world.event("one-more", visit=new_uuid7(world.clock())))
    assert outcome.events == [Reason.NAME_LIMIT]
    assert world.rows("SELECT count(*) FROM visits") == [(0,)]
