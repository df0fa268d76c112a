"""The edges of the timeline's weeks: late, early, repeated and lying clocks, pruning interrupted, raced and not noticed."""

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest

from collector.domain import deletion, imports, people, pruning
from collector.domain.audiences import Total
from collector.domain.doctor import examine
from collector.domain.identities import Key
from collector.domain.imports import Base
from collector.domain.limits import NewPeople
from collector.domain.names import EVENT
from collector.domain.pruning import Step
from collector.domain.submissions import Event, Submission
from collector.domain.tracking import Ledger
from collector.services import Services, build
from collector.settings import Settings
from collector.storage.slices import CLOSED, DRIFT, OPEN, OVERFLOW, PRUNED, WEEK, ends
from collector.values.clock import DAY, HOUR
from collector.values.errors import Reason
from collector.values.ids import event_id_text, new_uuid7, uuid7_bytes
from tests.support.clock import FakeClock
from tests.support.world import World, user
from tests.support.world import world as start

RETENTION = 14 * DAY
YEAR = 365 * DAY


@pytest.fixture
def world(database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A collector with a timeline of two weeks that prunes in steps of two events."""
    for engine in pruning.STEP:
        monkeypatch.setitem(pruning.STEP, engine, 2)
    with start(database_url, clock, retention_days=14) as running:
        yield running


@pytest.fixture
def start_another(world: World) -> Iterator[Callable[..., Services]]:
    """Starts another process's collector on the same database; arguments are settings that it has differently."""
    started: list[Services] = []

    def another(**settings: Any) -> Services:
        present = world.services.settings
        values = {name: getattr(present, name) for name in Settings.__struct_fields__}
        started.append(build(Settings(**{**values, **settings}), world.clock))
        return started[-1]

    yield another
    for services in started:
        services.close()


@pytest.fixture
def other(start_another: Callable[..., Services]) -> Services:
    """Another process's collector on the same database."""
    return start_another()


def event(written: int, at: int, name: str = "page-view") -> Event:
    """An event whose id was made when the browser's clock said `written`, and whose corrected time is `at`."""
    number = uuid7_bytes(new_uuid7(written))
    assert number is not None
    return Event(number, name, at)


def again(first: Event, at: int) -> Event:
    """The same event, sent once more with another idea of its time."""
    return Event(first.id, first.name, at)


def record(services: Services, world: World, *events: Event, key: Key = ("user", "u-1")) -> list[bool | Reason]:
    """Record events of a user by one of the processes."""
    (outcome,) = services.writer.record(world.site.id, [Submission(owner=key, events=list(events))])
    return outcome.events


def places(world: World) -> dict[str, int]:
    """Where each event stands."""
    return {event_id_text(bytes(number)): where for number, where in world.rows("SELECT id, slice FROM events")}


def place(world: World, one: Event) -> int:
    return places(world)[event_id_text(one.id)]


def states(world: World) -> dict[int, str]:
    return dict(world.rows("SELECT slice, state FROM slices"))


def pruner(services: Services) -> Iterator[Step]:
    """Prune step by step, as upkeep does it beside a serving process."""
    transact = functools.partial(services.writer.run, 0) if services.written.engine == "sqlite" else services.written.transact
    settings = services.settings
    return pruning.prune(services.written, services.slices, transact, services.clock(), settings.retention)


def upto(steps: Iterator[Step], what: str, number: int | None = None) -> None:
    """Prune until a step of this kind is done (to this slice), and stop there."""
    next(step for step in steps if step.what == what and number in (None, step.slice))


def is_sound(world: World) -> bool:
    return not list(examine(world.services.database, world.services.keyring))


def week_edge(world: World) -> int:
    """The first ms of this week."""
    return world.clock() // WEEK * WEEK


class TestWhereAnEventStands:
    def test_the_last_ms_of_a_week_and_the_first_of_the_next(self, world: World) -> None:
        edge = week_edge(world)
        last, first = event(edge - 1, edge - 1), event(edge, edge)
        record(world.services, world, last, first)
        assert place(world, last) == edge // WEEK - 1
        assert place(world, first) == edge // WEEK

    @pytest.mark.parametrize("sign", [1, -1])
    def test_clocks_a_day_apart_are_believed_and_one_ms_more_is_not(self, world: World, sign: int) -> None:
        at = week_edge(world) - 1
        near, far = event(at + sign * DRIFT, at), event(at + sign * (DRIFT + 1), at)
        record(world.services, world, near, far)
        assert place(world, near) == (at + sign * DRIFT) // WEEK
        assert place(world, far) == OVERFLOW

    @pytest.mark.parametrize("written", [1_924_992_000_000, 0], ids=["a laptop in 2031", "a laptop in 1970"])
    def test_an_id_of_another_age_stands_in_the_overflow_and_counts_once(self, world: World, written: int) -> None:
        one = event(written, world.clock())
        assert record(world.services, world, one) == [True]
        assert record(world.services, world, again(one, world.clock() - HOUR)) == [False]
        assert place(world, one) == OVERFLOW
        assert world.counts(user()) == {"page-view": 1}

    def test_the_calendar_makes_the_weeks_whatever_ids_claim(self, world: World) -> None:
        before = states(world)
        record(world.services, world, event(world.clock() + 5 * YEAR, world.clock()), event(0, world.clock()))
        assert states(world) == before
        now = world.clock()
        assert set(before) == {OVERFLOW, *range((now - RETENTION - DRIFT) // WEEK, now // WEEK + 3)}

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_what_is_needed_later_is_made_when_nobody_holds_the_timeline(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """As an ANALYZE does, for as long as it takes."""
        monkeypatch.setattr("collector.storage.slices._LATER_SECONDS", 0)
        world.clock.advance(WEEK)
        now, before = world.clock(), set(states(world))
        with psycopg.connect(world.services.settings.database_url) as analyst:
            analyst.execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
            assert record(world.services, world, event(now, now)) == [True]
            assert set(states(world)) == before
            world.services.slices.forget()
            late = event(now, now)
            assert record(world.services, world, late) == [True]
            assert place(world, late) == now // WEEK
        assert record(world.services, world, event(now, now)) == [True]
        assert set(states(world)) - before == {now // WEEK + 2}


class TestRepeats:
    def test_many_at_once_are_recognised_wherever_their_first_copies_stand(self, world: World) -> None:
        now = world.clock()
        in_week = [event(now - n, now - n) for n in range(40)]
        in_overflow = [event(now - n, now - n - 2 * DRIFT) for n in range(40)]
        assert record(world.services, world, *in_week, *in_overflow) == [True] * 80
        fresh = [event(now - n, now - n) for n in range(40)]
        repeats = [*(again(one, one.at - 2 * DRIFT) for one in in_week), *(again(one, now) for one in in_overflow), *fresh]
        assert record(world.services, world, *repeats) == [False] * 80 + [True] * 40
        assert world.counts(user()) == {"page-view": 120}

    def test_what_is_new_between_repeats_counts(self, world: World) -> None:
        now = world.clock()
        known = [event(now - n, now - n) for n in range(300)]
        record(world.services, world, *known[::2])
        assert record(world.services, world, *known, *known) == [n % 2 == 1 for n in range(300)] + [False] * 300
        assert world.counts(user()) == {"page-view": 300}

    @pytest.mark.parametrize("apart", [(DRIFT, DRIFT + 1), (DRIFT + 1, DRIFT), (0, -DRIFT - 1), (-DRIFT - 1, 0)])
    def test_one_that_belongs_elsewhere_now_meets_its_first_copy(self, world: World, apart: tuple[int, int]) -> None:
        written = world.clock() - 3 * DAY
        one = event(written, written + apart[0])
        assert record(world.services, world, one) == [True]
        assert record(world.services, world, again(one, written + apart[1])) == [False]
        assert world.totals(user())["page-view"] == Total(1, one.at, one.at)

    def test_two_in_one_commit_count_once(self, world: World) -> None:
        one = event(world.clock() - 3 * DAY, world.clock() - 3 * DAY)
        assert sorted(map(bool, record(world.services, world, one, again(one, one.at + DRIFT + 1)))) == [False, True]
        assert world.counts(user()) == {"page-view": 1}

    def test_after_its_week_was_closed_one_is_refused_as_too_old(self, world: World) -> None:
        one = event(week_edge(world) - 1, week_edge(world) - 1)
        record(world.services, world, one)
        world.clock.now = ends(place(world, one)) + 2 * DRIFT + RETENTION
        upto(pruner(world.services), "closed", place(world, one))
        for at in (one.at, one.at + HOUR, one.at - HOUR):
            assert record(world.services, world, again(one, at)) == [Reason.TOO_OLD]
        assert world.counts(user()) == {"page-view": 1}

    def test_while_its_closed_week_stands_one_is_recognised_whatever_its_correction(self, world: World) -> None:
        one = event(world.clock(), world.clock())
        record(world.services, world, one)
        world.clock.advance(RETENTION + WEEK + 3 * DAY)
        upto(pruner(world.services), "closed", place(world, one))
        assert record(world.services, world, again(one, world.clock())) == [False]
        assert world.counts(user()) == {"page-view": 1}

    def test_none_that_is_in_time_can_belong_to_a_closed_week(self, world: World) -> None:
        one = event(week_edge(world) - 1, week_edge(world) - 1 + DRIFT)
        record(world.services, world, one)
        week = place(world, one)
        world.clock.now = ends(week) + 2 * DRIFT + RETENTION
        list(pruner(world.services))
        assert states(world)[week] == PRUNED
        # what is not older than the timeline lies at least two days behind every id of the week, its first copy at most one
        assert world.clock() - RETENTION - one.at > DRIFT

    def test_a_clock_two_years_behind_names_a_week_that_has_ended_but_its_events_are_fresh(self, world: World) -> None:
        week = world.clock() // WEEK - 2
        world.clock.advance(2 * YEAR)
        list(pruner(world.services))
        assert states(world)[week] == PRUNED
        one = event(week * WEEK + HOUR, world.clock())
        assert record(world.services, world, one) == [True]
        assert place(world, one) == OVERFLOW
        assert record(world.services, world, one) == [False]
        assert world.counts(user()) == {"page-view": 1}


class TestTheEndOfAWeek:
    def test_it_comes_two_days_after_the_timeline_has_left_the_week_behind_and_not_a_ms_sooner(self, world: World) -> None:
        week = world.clock() // WEEK
        world.clock.now = ends(week) + RETENTION + 2 * DRIFT - 1
        list(pruner(world.services))
        assert states(world)[week] == OPEN
        world.clock.advance(1)
        list(pruner(world.services))
        assert states(world)[week] == PRUNED

    def test_totals_stay_and_what_was_pruned_is_gone(self, world: World) -> None:
        first = world.clock()
        record(world.services, world, *(event(first + number, first + number) for number in range(5)))
        world.clock.advance(30 * DAY)
        record(world.services, world, event(world.clock(), world.clock()))
        list(pruner(world.services))
        assert world.totals(user()) == {"page-view": Total(6, first, world.clock())}
        assert len(places(world)) == 1
        assert is_sound(world)

    def test_the_overflow_is_pruned_by_arrival(self, world: World) -> None:
        one = event(world.clock() + 5 * YEAR, world.clock())
        record(world.services, world, one)
        world.clock.advance(RETENTION + DRIFT)
        list(pruner(world.services))
        assert place(world, one) == OVERFLOW
        world.clock.advance(1)
        list(pruner(world.services))
        assert places(world) == {}
        assert world.totals(user()) == {"page-view": Total(1, one.at, one.at)}
        assert is_sound(world)

    def test_retention_raised_later_makes_no_pruned_week_again(self, world: World, start_another: Callable[..., Services]) -> None:
        late = event(world.clock(), world.clock())
        world.clock.advance(40 * DAY)
        list(pruner(world.services))
        longer = start_another(retention_days=90)
        pruned = {week for week, state in states(world).items() if state == PRUNED}
        assert late.at // WEEK in pruned
        assert record(longer, world, late) == [Reason.TOO_OLD]
        assert {week for week, state in states(world).items() if state == PRUNED} == pruned
        assert is_sound(world)

    def test_reads_are_the_same_before_and_after(self, world: World) -> None:
        begin = world.clock()
        for number in range(60):
            world.clock.now = begin + number * DAY
            drift = (0, DRIFT, -DRIFT, 3 * YEAR, -3 * YEAR)[number % 5]
            record(world.services, world, event(world.clock() + drift, world.clock()))
            before = reads(world)
            list(pruner(world.services))
            assert reads(world) == before
            assert before[0][-1] == max(begin, world.clock() - RETENTION)
            assert before[1]["page-view"].count == len(before[2]) == len(before[0])


def reads(world: World) -> tuple[list[int], dict[str, Total], list[int]]:
    """Three ways to read one person's timeline, bounded as everywhere; whatever is given out is asked for by `test_api_pruned`."""
    oldest = world.clock() - RETENTION
    person, names, site = world.person(user()), world.services.names, world.site.id
    with world.services.database.read() as connection:
        timeline = people.timeline(connection, site, names, person.identities, oldest, limit=None)
        measured = people.measured(connection, site, names, person, oldest, ["page-view"])
        happened = people.happened(connection, site, names, person, oldest, ["page-view"])
        return [one.at for one in timeline], measured, sorted(at for _, at, _ in happened)


class TestAProcessThatHasNotNoticed:
    def test_writes_nothing_into_a_week_that_another_closed(self, world: World, other: Services) -> None:
        late = event(world.clock(), world.clock())
        world.clock.advance(30 * DAY)
        other.slices.ensure(world.clock())
        upto(pruner(world.services), "closed", late.at // WEEK)
        assert states(world)[late.at // WEEK] == CLOSED
        assert record(other, world, late) == [Reason.TOO_OLD]

    def test_writes_nothing_into_a_week_that_another_dropped(self, world: World, other: Services) -> None:
        late = event(world.clock(), world.clock())
        world.clock.advance(30 * DAY)
        other.slices.ensure(world.clock())
        list(pruner(world.services))
        fresh = event(world.clock(), world.clock())
        assert record(other, world, late, fresh) == [Reason.TOO_OLD, True]
        assert list(places(world)) == [event_id_text(fresh.id)]

    def test_looks_for_no_first_copy_in_a_week_that_another_dropped(self, world: World, other: Services) -> None:
        week = world.clock() // WEEK
        world.clock.advance(30 * DAY)
        other.slices.ensure(world.clock())
        list(pruner(world.services))
        assert record(other, world, event(week * WEEK, world.clock())) == [True]

    def test_deletes_a_person_from_the_weeks_that_are_left(self, world: World, other: Services) -> None:
        record(world.services, world, event(world.clock(), world.clock()))
        world.clock.advance(30 * DAY)
        record(other, world, event(world.clock(), world.clock()))
        list(pruner(world.services))
        assert delete(other, world, user())
        assert places(world) == {}

    def test_a_group_that_begins_before_its_process_forgets_recognises_repeats(self, world: World) -> None:
        one = event(world.clock() - 3 * DAY, world.clock() - 3 * DAY)
        record(world.services, world, one)
        services = world.services
        ledger = Ledger(services.written, services.slices, services.names, services.maker, services.clock, NewPeople(100))
        payloads = [[Submission(owner=user(), events=[again(one, one.at + DRIFT + 1)])]]
        prepared = ledger.prepare(world.site.id, payloads)
        services.slices.forget()
        ((outcome,),) = services.written.transact(lambda tx: ledger.write(tx, world.site.id, payloads, prepared))
        assert outcome.events == [False]


def delete(services: Services, world: World, key: Key) -> bool:
    person = world.person(key).id
    transact = functools.partial(services.writer.run, world.site.id)
    return deletion.erase(services.written, services.slices, transact, services.keyring, world.site.id, person, world.clock)


@pytest.fixture
def crowd(world: World) -> list[Key]:
    """Three people with three events each in the same week, which has to be pruned by now, and one of each in the overflow."""
    keys = [user(f"u-{number}") for number in range(3)]
    for key in keys:
        events = [event(world.clock() + number, world.clock() + number) for number in range(3)]
        record(world.services, world, *events, event(world.clock() + 5 * YEAR, world.clock()), key=key)
    world.clock.advance(40 * DAY)
    return keys


class TestAnInterruptedPrune:
    def test_goes_on_after_every_single_step_in_another_process_and_no_total_changes(
        self, world: World, other: Services, crowd: list[Key], engine: str
    ) -> None:
        before = [world.totals(key) for key in crowd]
        seen: list[str] = []
        for services in itertools.cycle((world.services, other)):
            steps = pruner(services)
            step = next(steps, None)
            steps.close()
            if step is None:
                break
            seen.append(step.what)
            assert [world.totals(key) for key in crowd] == before
            assert is_sound(world)
        assert set(seen) == {"closed", "moved", "dropped"} | ({"wiped"} if engine == "sqlite" else set())
        assert seen.count("moved") >= 3
        assert places(world) == {}

    def test_and_two_at_once_by_turns_move_everything_once(self, world: World, other: Services, crowd: list[Key], engine: str) -> None:
        before = [world.totals(key) for key in crowd]
        steps = list(itertools.zip_longest(pruner(world.services), pruner(other)))
        if engine == "postgresql":  # one prunes, the other leaves it alone
            assert [second for _, second in steps] == [None] * len(steps)
        assert [world.totals(key) for key in crowd] == before
        assert places(world) == {}
        assert is_sound(world)

    def test_two_pruners_at_the_same_time_move_everything_once(self, world: World, other: Services, crowd: list[Key]) -> None:
        before = [world.totals(key) for key in crowd]
        gate = Barrier(2)

        def run(services: Services) -> None:
            gate.wait(30)
            list(pruner(services))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, (world.services, other)))
        assert [world.totals(key) for key in crowd] == before
        assert places(world) == {}
        assert is_sound(world)

    def test_each_transaction_touches_one_site(self, world: World, engine: str) -> None:
        for _ in range(2):
            record(world.services, world, event(world.clock(), world.clock()))
            world.site = world.new_site()
        world.clock.advance(40 * DAY)
        steps = [(step.what, step.events) for step in pruner(world.services) if step.events]
        assert steps == [("moved", 1), ("moved", 1), *([("wiped", 1), ("wiped", 1)] if engine == "sqlite" else [])]
        assert places(world) == {}

    def test_imported_totals_set_and_taken_away_while_a_week_is_half_moved(self, world: World, crowd: list[Key]) -> None:
        before = [world.totals(key)["page-view"] for key in crowd]
        steps = pruner(world.services)
        upto(steps, "moved")
        for key in crowd:
            set_base(world, key, 7)
        steps.close()
        assert is_sound(world)
        list(pruner(world.services))
        first = world.clock() - 2 * YEAR
        assert [world.totals(key)["page-view"] for key in crowd] == [Total(one.count + 7, first, one.last_ms) for one in before]
        for key in crowd:
            set_base(world, key, 0)
        assert [world.totals(key)["page-view"] for key in crowd] == before
        assert is_sound(world)

    @pytest.mark.parametrize("what", ["closed", "moved", "dropped"])
    def test_a_person_deleted_meanwhile_is_gone_and_nobody_else_is_touched(self, world: World, crowd: list[Key], what: str) -> None:
        steps = pruner(world.services)
        upto(steps, what)
        for gone in crowd[:2]:  # the first is the first to be moved
            assert delete(world.services, world, gone)
        steps.close()
        list(pruner(world.services))
        assert places(world) == {}
        assert world.rows("SELECT count(*) FROM totals") == [(1,)]
        assert world.totals(crowd[2])["page-view"].count == 4
        assert is_sound(world)


def set_base(world: World, key: Key, count: int) -> None:
    services, site, now = world.services, world.site.id, world.clock()
    base = Base("page-view", count, now - 2 * YEAR, now - YEAR) if count else Base("page-view", 0, None, None)
    services.names.ensure(site, EVENT, {"page-view"}, now)
    services.writer.run(site, lambda tx: imports.set_bases(tx, site, services.names, services.maker, now, key, [base]))
