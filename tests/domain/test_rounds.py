"""A round of upkeep: no wrong clock takes anything away, and what fails in one part keeps no other from being done."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from msgspec import structs

from collector import upkeep
from collector.app import create_app
from collector.domain import pruning, rounds
from collector.domain.doctor import examine
from collector.domain.submissions import Event
from collector.services import Services, build
from collector.storage import slices
from collector.storage.database import Connection
from collector.storage.slices import OPEN, OVERFLOW, PRUNED, WEEK
from collector.upkeep import Report, round_of
from collector.values.clock import DAY, HOUR, system_clock
from tests.support.clock import FakeClock
from tests.support.world import World, id_at, lead, user
from tests.support.world import world as start

SECRET = "secret value"


@pytest.fixture
def clock() -> FakeClock:
    """A clock in the past: that of PostgreSQL's server is the machine's."""
    return FakeClock(system_clock() - 1_000 * DAY)


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    """A collector that was visited each week for as long as its timeline is, and did a round each time."""
    with start(database_url, clock, retention_days=90, lead_retention_days=92) as running:
        for week in range(14):
            running.send(user(), running.event())
            running.send(lead(f"l-{week}"), running.event())
            do(running.services)
            clock.advance(WEEK)
        running.send(user(), running.event())
        do(running.services)
        yield running


@pytest.fixture
def ahead(world: World) -> Iterator[Callable[[int], tuple[Services, FakeClock]]]:
    """Starts another collector on the same database, whose clock is so many ms ahead."""
    started: list[Services] = []

    def make(ms: int) -> tuple[Services, FakeClock]:
        clock = FakeClock(world.clock() + ms)
        started.append(build(world.services.settings, clock))
        return started[-1], clock

    yield make
    for services in started:
        services.close()


def do(services: Services, *, trusted: bool = False, alone: bool = False) -> Report:
    report = Report()
    for _ in round_of(services, services.written.transact, report, trusted=trusted, alone=alone):
        pass
    return report


def troubles(world: World) -> dict[str, str]:
    """What the doctor says of upkeep, by part."""
    found = [one for one in examine(world.services.database, world.services.keyring) if one.check == "upkeep"]
    return {one.expected.removesuffix(" done each night"): one.found for one in found}


def pruned(world: World) -> int:
    return int(world.rows("SELECT count(*) FROM slices WHERE state = ?", PRUNED)[0][0])


def leads(world: World) -> set[str]:
    return {row[0] for row in world.rows("SELECT value FROM identities WHERE kind = 'lead'")}


class TestClocks:
    def test_in_order_each_week_goes_when_it_is_due(self, world: World) -> None:
        for _ in range(16):
            world.clock.advance(WEEK)
            world.send(user(), world.event())
            before = pruned(world)
            assert do(world.services).failed == 0
            assert pruned(world) == before + 1
        assert troubles(world) == {}
        assert leads(world) == set()

    def test_one_that_is_far_ahead_takes_nothing_away_before_the_nights_since_make_it_due(
        self, world: World, ahead: Callable[[int], tuple[Services, FakeClock]]
    ) -> None:
        late = world.event(at=world.clock() - 80 * DAY)
        before, known = pruned(world), leads(world)
        wrong, clock = ahead(500 * DAY)
        for _ in range(3):
            for _ in range(3):  # it is started again and again
                assert do(wrong).failed == 1
                clock.advance(HOUR)
            clock.advance(DAY)
        assert pruned(world) <= before + 1
        assert len(known - leads(world)) <= 1
        assert world.send(user(), late).events == [True]
        assert "since the newest event is 502 days old by it" in troubles(world)["clock"]
        assert "prune --force" in troubles(world)["clock"]
        assert do(world.services).failed == 0
        assert troubles(world) == {}

    def test_where_nobody_comes_everything_still_goes_at_its_age(self, world: World) -> None:
        """Night by night, as a serving process does it, also where one is missed or two."""
        begun, seen = world.clock(), {row[0]: row[1] for row in world.rows("SELECT value, active_at FROM identities WHERE kind = 'lead'")}
        assert seen
        for night in range(120):
            world.clock.advance(DAY + (HOUR if night % 2 else -HOUR))
            if night % 20 == 0:
                world.clock.advance(DAY)
                continue
            report = do(world.services)
            assert report.failed == 0 or night % 20 < 10, troubles(world)
            for name in leads(world):
                assert seen[name] > world.clock() - 92 * DAY - 4 * DAY
        assert leads(world) == set()
        assert world.rows("SELECT id FROM events") == []
        assert world.clock() - begun < 130 * DAY
        assert troubles(world) == {}
        assert world.counts(user()) == {"page-view": 15}

    @pytest.mark.parametrize(("hours", "doubted"), [(23, False), (48, True)])
    def test_the_servers_is_asked_where_there_is_one(self, database_url: str, hours: int, doubted: bool) -> None:
        with start(database_url, FakeClock(system_clock() + hours * HOUR)) as world:
            world.send(user(), world.event())
            has_one = world.services.database.engine == "postgresql"
            assert do(world.services).failed == (doubted and has_one)
            assert ("ahead of the database server's" in troubles(world).get("clock", "")) is (doubted and has_one)

    def test_a_leap_that_nothing_contradicts_is_followed_by_a_week_a_night(
        self, world: World, ahead: Callable[[int], tuple[Services, FakeClock]]
    ) -> None:
        wrong, clock = ahead(60 * DAY)
        before, known = pruned(world), leads(world)
        for night in range(1, 5):
            for _ in range(3):  # it is started again and again
                assert do(wrong).failed == 1
                clock.advance(HOUR)
            assert pruned(world) <= before + night
            assert len(known - leads(world)) <= night
            clock.advance(DAY)
        assert "weeks wait" in troubles(world)["clock"]

    def test_after_a_long_rest_it_is_caught_up_with(self, world: World) -> None:
        world.clock.advance(60 * DAY)
        world.send(user(), world.event())
        nights = 0
        while do(world.services).failed:
            nights += 1
            assert nights < 20
            world.clock.advance(DAY)
            world.send(user(), world.event())
        assert nights > 3
        oldest = world.rows("SELECT min(slice) FROM slices WHERE state = ? AND slice <> ?", OPEN, OVERFLOW)[0][0]
        assert (oldest + 1) * WEEK > world.clock() - 92 * DAY
        assert troubles(world) == {}

    def test_a_wrong_one_that_was_believed_does_not_keep_the_right_one_from_being(
        self, world: World, ahead: Callable[[int], tuple[Services, FakeClock]]
    ) -> None:
        do(ahead(60 * DAY)[0])
        for _ in range(10):
            world.clock.advance(DAY)
            world.send(user(), world.event())
            assert do(world.services).failed == 0

    def test_what_rest_says_of_the_hour_to_come_puts_no_clock_behind(self, database_url: str, clock: FakeClock) -> None:
        with start(database_url, clock) as new:
            said = Event(id_at(clock() + DAY + HOUR), "renewed", clock() + HOUR)  # its id a day off, as browsers' may be in a week
            assert new.send(user(), said, browser=False).events == [True]
            assert do(new.services).failed == 0
            assert troubles(new) == {}

    def test_one_that_is_behind_takes_nothing_away_and_leaves_the_present_where_it_is(self, world: World) -> None:
        before, known = world.rows("SELECT upto FROM upkeep WHERE part = 'clock'"), leads(world)
        right = world.clock()
        event = world.event()
        world.clock.now = right - 600 * DAY
        world.send(user("of a minute"), structs.replace(event, at=world.clock()))
        assert do(world.services).failed == 1
        assert "days behind what was believed" in troubles(world)["clock"]
        assert world.rows("SELECT upto FROM upkeep WHERE part = 'clock'") == before
        world.clock.now = right
        assert do(world.services).failed == 0
        assert known <= leads(world)
        assert world.rows("SELECT count(*) FROM events WHERE slice = ?", OVERFLOW) == [(1,)]
        world.clock.advance(93 * DAY)
        do(world.services, trusted=True)
        assert world.rows("SELECT count(*) FROM events WHERE slice = ?", OVERFLOW) == [(0,)]
        assert world.counts(user("of a minute")) == {"page-view": 1}

    def test_what_came_by_one_that_was_behind_stays_though_the_present_lags_after_a_rest(self, world: World) -> None:
        world.clock.advance(120 * DAY)
        event, right = world.event(), world.clock()
        world.clock.now = right - 600 * DAY
        world.send(user(), structs.replace(event, at=world.clock()))
        world.clock.now = right
        do(world.services)
        assert world.rows("SELECT count(*) FROM events WHERE slice = ?", OVERFLOW) == [(1,)]

    def test_an_operator_is_believed(self, world: World) -> None:
        world.clock.advance(500 * DAY)
        report = do(world.services, trusted=True)
        assert (report.closed > 10, report.failed) == (True, 0)
        assert leads(world) == set()
        assert do(world.services).failed == 0


class TestSettingsThatDiffer:
    @pytest.fixture
    def shorter(self, world: World) -> Iterator[Services]:
        """Another collector on the same database, set to shorter times; both have the same clock."""
        services = build(structs.replace(world.services.settings, retention_days=30, lead_retention_days=32), world.clock)
        yield services
        services.close()

    def test_the_longest_holds_and_the_doctor_tells(self, world: World, shorter: Services, caplog: pytest.LogCaptureFixture) -> None:
        before, known = pruned(world), leads(world)
        for _ in range(3):
            report = do(shorter)
            assert (report.closed, report.leads, report.failed) == (0, 0, 1)
            assert do(world.services).failed == 1
        assert (pruned(world), leads(world)) == (before, known)
        assert "lead_retention_days is 32 and 92, retention_days is 30 and 90" in troubles(world)["settings"]
        assert "the longest holds until they agree" in caplog.text

    def test_one_that_was_not_heard_for_days_does_not_count_any_more(self, world: World, shorter: Services) -> None:
        nights = 0
        while do(shorter).failed:
            nights += 1
            assert nights < 5
            world.clock.advance(DAY)
            world.send(user(), world.event())
        assert nights > 2
        assert pruned(world) > 8
        assert troubles(world) == {}

    def test_nor_where_an_operator_says_so(self, world: World, shorter: Services) -> None:
        assert do(shorter).failed == 1
        report = do(shorter, alone=True)
        assert (report.failed, report.closed > 7) == (0, True)
        assert do(shorter).failed == 0

    def test_a_collector_that_is_ahead_makes_nobody_forgotten(self, world: World, shorter: Services) -> None:
        before, wrong = pruned(world), FakeClock(world.clock() + 1_000 * DAY)
        other = build(shorter.settings, wrong)
        try:
            upkeep.tell_settings(other, other.written.transact)
            do(other)
            do(shorter)
        finally:
            other.close()
        assert pruned(world) == before

    def test_that_the_clock_is_right_says_nothing_about_them(self, world: World, shorter: Services) -> None:
        before = pruned(world)
        assert do(shorter, trusted=True).failed == 1
        assert pruned(world) == before

    def test_a_longer_time_holds_from_its_first_word(self, world: World, shorter: Services) -> None:
        do(shorter, alone=True)
        upkeep.tell_settings(world.services, world.services.written.transact)
        before = pruned(world)
        world.clock.advance(2 * DAY)
        world.send(user(), world.event())
        do(shorter)
        assert pruned(world) == before


def break_totals_and_feed(world: World, site: int) -> None:
    """Let the database refuse every change of a site's totals, and every row less of its feed."""

    def work(tx: Connection) -> None:
        for table, doing, row in (("totals", "UPDATE", "NEW"), ("totals", "DELETE", "OLD"), ("changes", "DELETE", "OLD")):
            when = f"CREATE TRIGGER broken_{table}_{doing} BEFORE {doing} ON {table}"
            if tx.engine == "sqlite":
                tx.run(f"{when} WHEN {row}.site = {site} BEGIN SELECT RAISE(ABORT, '{SECRET}'); END")
                continue
            body = f"BEGIN RAISE EXCEPTION ''{SECRET}''; END"
            tx.run(f"CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
            tx.run(f"{when} FOR EACH ROW WHEN ({row}.site = {site}) EXECUTE FUNCTION broken()")

    world.services.database.transact(work)


def mend_totals_and_feed(world: World) -> None:
    def work(tx: Connection) -> None:
        for table, doing in (("totals", "UPDATE"), ("totals", "DELETE"), ("changes", "DELETE")):
            tx.run(f"DROP TRIGGER broken_{table}_{doing}{f' ON {table}' if tx.engine == 'postgresql' else ''}")

    world.services.database.transact(work)


class TestParts:
    def test_a_row_that_makes_no_sense_keeps_nothing_else_from_being_done(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.set(lead("campaign"), {"utm_source": "spring"})
        spoil = "UPDATE attributes SET own_value = ?, value = ? WHERE site = ?"
        spoiled = f"{{{SECRET}"
        assert world.services.database.transact(lambda tx: tx.run(spoil, (spoiled, spoiled, world.site.id))) > 0
        world.services.database.transact(lambda tx: tx.run("UPDATE schema_migrations SET applied_at = ?", (world.clock(),)))
        world.clock.advance(WEEK)
        world.send(user(), world.event())
        report = do(world.services)
        assert (report.closed, report.dropped, report.leads, report.failed) == (1, 1, 1, 1)
        assert f"mending of site {world.site.id} failed: JSONDecodeError" in caplog.text
        assert "in mend" in caplog.text
        assert SECRET not in caplog.text
        (finding,) = [one for one in examine(world.services.database) if one.check == "upkeep"]
        assert f"JSONDecodeError at site {world.site.id} ({world.site.key})" in finding.found
        assert finding.expected == "mending done each night"

    def test_what_fails_for_one_site_is_done_for_the_others(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        ours = world.site.id
        world.site = world.new_site("Other", "https://other.example")
        for name in ("theirs", "theirs too"):
            world.send(lead(name), world.event())
        before = leads(world)
        break_totals_and_feed(world, ours)
        for _ in range(14):
            world.clock.advance(WEEK)
            world.send(user("them"), world.event())
            report = do(world.services)
        assert before - leads(world) == {"theirs", "theirs too"}
        assert report.failed == 3
        assert troubles(world).keys() == {"feed", "leads", "weeks"}
        assert f"leads of site {ours} failed" in caplog.text
        assert SECRET not in caplog.text
        kept = pruned(world)
        mend_totals_and_feed(world)
        assert do(world.services).failed == 0
        assert pruned(world) > kept + 10
        assert troubles(world) == {}

    def test_why_the_feed_is_not_purged_is_logged_once(
        self, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upkeep, "_FEED_SECONDS", 0.001)
        tried, purge = threading.Semaphore(0), upkeep.purge_feed

        def counted(*arguments: Any) -> None:
            purge(*arguments)
            tried.release()

        monkeypatch.setattr(upkeep, "purge_feed", counted)
        break_totals_and_feed(world, world.site.id)
        world.clock.advance(30 * DAY)
        with caplog.at_level(logging.ERROR):
            running = upkeep.Upkeep(world.services)
            try:
                for _ in range(3):
                    assert tried.acquire(timeout=30)
            finally:
                running.stop()
        assert caplog.text.count(f"feed of site {world.site.id} failed") == 1
        assert "in purge" in caplog.text
        assert SECRET not in caplog.text


@pytest.mark.parametrize("engine", ["postgresql"])
class TestManyCollectors:
    @pytest.fixture
    def other(self, world: World) -> Iterator[Services]:
        """Another process's collector on the same database."""
        services = build(world.services.settings, world.clock)
        yield services
        services.close()

    def test_who_leaves_the_weeks_to_another_says_nothing_of_them(self, world: World, other: Services) -> None:
        services = world.services
        assert services.written.transact(lambda tx: rounds.note(tx, world.clock(), [pruning.PART], {pruning.PART: "it hangs"}))
        with services.database.read() as connection:
            before = rounds.last_whole(connection)
        world.clock.advance(DAY)
        with services.written.alone(pruning._LOCK) as alone:
            assert alone
            assert do(other).failed == 0
        assert "it hangs" in troubles(world)[pruning.PART]
        with services.database.read() as connection:
            assert rounds.last_whole(connection) == before
        assert do(other).failed == 0
        assert troubles(world) == {}
        with services.database.read() as connection:
            assert rounds.last_whole(connection) == world.clock()

    def test_a_transaction_that_nobody_ends_keeps_up_one_week_and_for_so_long_only(
        self, world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slices, "DETACH_SECONDS", 1)
        world.clock.advance(WEEK)
        world.send(user(), world.event())
        before = pruned(world)
        with psycopg.connect(database_url) as forgotten:
            forgotten.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            forgotten.execute("LOCK TABLE ONLY events IN ACCESS SHARE MODE")
            forgotten.execute("SELECT count(*) FROM sites")
            for _ in range(2):  # begun, then not finished
                report = do(world.services)
                assert (report.dropped, report.failed) == (0, 1)
                assert "LockNotAvailable" in troubles(world)[pruning.PART]
                assert world.rows("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(1,)]
        assert do(world.services).dropped == 1
        assert pruned(world) == before + 1
        assert troubles(world) == {}


def test_readiness_tells_when_no_round_was_whole_for_two_days_and_stays_ready(world: World) -> None:
    client = create_app(world.services).test_client()

    def told() -> Any:
        answer = client.get("/readyz")
        assert answer.status_code == 200
        return answer.get_json()["upkeep"]

    assert do(world.services).failed == 0
    done = world.clock()
    assert told() == {"last_round_at": done // 1_000, "late": False}
    world.clock.advance(rounds.LATE)
    assert not told()["late"]
    world.clock.advance(1)
    assert told() == {"last_round_at": done // 1_000, "late": True}
