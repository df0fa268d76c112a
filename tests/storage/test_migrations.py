"""Migrations: from every earlier schema, with that version's rows, while that version's collectors go on writing."""

import math
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
import pytest

from collector import setup, upkeep
from collector.domain import merging
from collector.domain.doctor import examine
from collector.domain.pruning import prune
from collector.domain.secrets import Keyring
from collector.services import Services, bring_up_to_date, build
from collector.settings import Settings
from collector.storage import migrations
from collector.storage.database import Connection, Database
from collector.storage.migrations import SchemaError, migrate, pending, steps
from collector.values.clock import DAY, system_clock
from collector.values.ids import event_id_text
from tests.storage.earlier import SECRET, Happened, Site, Turn, event_id
from tests.storage.grown import Grown
from tests.storage.later import grow
from tests.storage.versions import VisitsVersion, writer_of
from tests.support.client import Client
from tests.support.envelopes import envelope, new_event
from tests.support.postgres import new_database
from tests.support.servers import Collector

STEPS = [number for number, _ in steps()]
NEWEST = STEPS[-1]
COLLECTORS = {"sqlite": 1, "postgresql": 4}
TURNS = 3
"""How many turns of each collector are waited for."""


def after(schema: int, upto: int = NEWEST) -> list[int]:
    """The steps after a schema, up to another."""
    return [number for number in STEPS if schema < number <= upto]


def lead_id(name: str, number: int) -> str:
    """The public half of a browser's lead."""
    return f"{name}-{number}".ljust(22, "_")


class Stands(NamedTuple):
    """A total as it stands: count, first, last."""

    count: int
    first: int
    last: int


class Earlier:
    """A database of an earlier version, filled by it, and what was acknowledged: the events, and who merged into whom.

    Beside its site there is one that is as old as the schema, so that no table which a step goes over is empty.
    """

    def __init__(self, url: str, schema: int) -> None:
        self.database = Database(url)
        self.schema = schema
        self.secret_key = secrets.token_urlsafe(32)
        self.now = system_clock()
        self.writer = writer_of(schema)(self.secret_key, self.now)
        self.events: dict[bytes, tuple[int, str, int]] = {}
        """Identity, name and time by id."""
        self.merges: dict[int, tuple[int, int]] = {}
        """Lead and user by line of the journal."""
        self.shown = 0
        """How often a message was shown."""
        self._lock = threading.Lock()
        self._make()

    @property
    def site(self) -> Site:
        return self.writer.site

    def _make(self) -> None:
        with self.database.write() as tx:
            grow(Grown(self.secret_key, self.now), tx, self.schema)
            self.writer.install(tx, self.now)
        for days in (85, 60, 31, 8, 0):
            at = self.now - days * DAY
            for name in ("ada", "ben", "eve"):
                self.post("lead", lead_id(name, days), self.tracked(at, 3), at)
                self.post("user", name, self.tracked(at, 2), at)
            self.database.transact(lambda tx, days=days, at=at: self.writer.set_plan(tx, lead_id("ada", days), "pro", at))
        for days in (60, 1):  # clocks that lie: ids of another time than the corrected one
            at = self.now - days * DAY
            self.post("lead", lead_id("ada", 0), [Happened(event_id(at + 900 * DAY), "saved", at)], at)
            self.post("user", "ada", [Happened(event_id(at - 30 * DAY), "saved", at)], at)
        for name in ("ada", "ben"):
            for days in (85, 8):
                self.merge(lead_id(name, days), name)
        self.database.transact(lambda tx: self.writer.refuse(tx, lead_id("ada", 85), "ben", self.now))
        self.show(lead_id("ada", 8), self.now)

    @staticmethod
    def tracked(at: int, saved: int) -> list[Happened]:
        """A page view and some saved things."""
        return [Happened(event_id(at + n), "saved" if n else "page-view", at + n) for n in range(saved + 1)]

    def post(self, kind: str, value: str, events: list[Happened], now: int) -> None:
        identity = self.database.transact(lambda tx: self.writer.post(tx, kind, value, events, now))
        with self._lock:
            self.events.update((event.id, (identity, event.name, event.at)) for event in events)

    def merge(self, lead: str, user: str) -> None:
        line = self.database.transact(lambda tx: self.writer.merge(tx, lead, user, system_clock()))
        with self.database.read() as connection:
            row = connection.row("SELECT lead, target FROM merges WHERE id = ?", (line,))
        assert row is not None
        with self._lock:
            self.merges[line] = (row[0], row[1])

    def work(self, number: int, turn: int) -> None:
        """What a collector does in one turn: a new lead, a known user, and now and then a merge, a repeat, an attribute.

        Beside that whatever else its version writes, all of it within as many turns as are waited for.
        """
        now = system_clock()
        lead = lead_id(f"of-{number}", turn)
        self.post("lead", lead, self.tracked(now, turn % 4), now)
        self.post("user", "ada" if turn % 2 else "ben", self.tracked(now, 1), now)
        if turn % 3 == 0:
            self.database.transact(lambda tx: self.writer.set_plan(tx, lead, "free", now))
            self.merge(lead, ("ada", "ben", "eve")[number % 3])
            self.post("lead", lead, [Happened(event_id(now), "saved", now), Happened(event_id(now + 900 * DAY), "saved", now)], now)
            self.show(lead, now)
        for task in self.writer.tasks()[turn % TURNS :: TURNS]:
            self.database.transact(lambda tx, task=task: task(tx, Turn(number, turn, now)))  # type: ignore[misc]

    def show(self, lead: str, now: int) -> None:
        self.database.transact(lambda tx: self.writer.show(tx, lead, now))
        with self._lock:
            self.shown += 1

    def counts(self, connection: Connection) -> tuple[set[tuple[int, str, Stands]], set[tuple[int, str, Stands]]]:
        """The totals as the database has them: those of identities, and those of persons."""
        rows = connection.rows(
            "SELECT t.identity, n.text, t.count, t.first, t.last, t.own_count, t.own_first, t.own_last FROM totals t "
            "JOIN names n ON n.site = t.site AND n.id = t.name WHERE t.site = ? AND t.imported_count = 0",
            (self.site.id,),
        )
        own = {(row[0], row[1], Stands(*row[5:])) for row in rows if row[5]}
        return own, {(row[0], row[1], Stands(*row[2:5])) for row in rows if row[2]}

    def expected(self) -> tuple[set[tuple[int, str, Stands]], set[tuple[int, str, Stands]]]:
        """The same, counted from what was acknowledged."""
        into = dict(self.merges.values())
        times: tuple[dict[tuple[int, str], list[int]], dict[tuple[int, str], list[int]]] = ({}, {})
        for identity, name, at in self.events.values():
            times[0].setdefault((identity, name), []).append(at)
            times[1].setdefault((into.get(identity, identity), name), []).append(at)
        own, persons = ({(*key, Stands(len(all_), min(all_), max(all_))) for key, all_ in half.items()} for half in times)
        return own, persons

    def check(self) -> None:
        """Everything acknowledged is there once and counted, and the doctor finds nothing."""
        with self.database.read() as connection:
            assert self.counts(connection) == self.expected()
            # Who had a message from an earlier version is asked for no goal, and has answered nothing.
            had = "SELECT count(*) FROM deliveries WHERE site = ? AND seen_at IS NOT NULL AND goal_before IS NULL AND answer IS NULL"
            assert connection.value(had, (self.site.id,)) == self.shown
        assert [str(finding) for finding in examine(self.database, Keyring((self.secret_key,)))] == []

    def check_timeline(self) -> None:
        """Every acknowledged event, and no other, stands in the timeline once."""
        with self.database.read() as connection:
            rows = connection.rows("SELECT id, identity, at FROM events WHERE site = ?", (self.site.id,))
        assert sorted((bytes(one), identity, at) for one, identity, at in rows) == sorted(
            (one, identity, at) for one, (identity, _, at) in self.events.items()
        )


@contextmanager
def traffic(earlier: Earlier) -> Iterator[Callable[[], None]]:
    """Let collectors write, each in a thread of its own; the call yielded returns when each has done TURNS more.

    At the end they stop, and what any of them met is raised.
    """
    turns = [0.0] * COLLECTORS[earlier.database.engine]
    moved = threading.Condition()
    stopping = threading.Event()

    def collect(number: int) -> None:
        try:
            while not stopping.is_set():
                earlier.work(number, int(turns[number]))
                with moved:
                    turns[number] += 1
                    moved.notify_all()
        finally:
            with moved:
                turns[number] = math.inf  # nobody waits for one that has failed; its error is raised in the end
                moved.notify_all()

    def go_on() -> None:
        with moved:
            goals = [done + TURNS for done in turns]
            assert moved.wait_for(lambda: all(done >= goal for done, goal in zip(turns, goals, strict=True)), 120)

    with ThreadPoolExecutor(len(turns)) as pool:
        running = [pool.submit(collect, number) for number in range(len(turns))]
        try:
            go_on()
            yield go_on
        finally:
            stopping.set()
    for one in running:
        one.result()


STARTED_FROM = (STEPS[0], STEPS[len(STEPS) // 2], STEPS[-2])
"""From where a whole program is started, which takes seconds: the first, one between and the last. Elsewhere all are gone through."""


@pytest.fixture(params=STEPS[:-1], ids=lambda schema: f"from-{schema}")
def earlier(request: pytest.FixtureRequest, database_url: str) -> Iterator[Earlier]:
    """A filled database of each earlier schema in turn, on each engine."""
    made = Earlier(database_url, request.param)
    yield made
    made.database.close()


@pytest.fixture
def migrated(earlier: Earlier) -> Earlier:
    bring_up_to_date(earlier.database, earlier.now)
    return earlier


def bring_up(url: str) -> list[int]:
    """Migrate as another process would, with connections of its own."""
    database = Database(url)
    try:
        return migrate(database, system_clock())
    finally:
        database.close()


@contextmanager
def present(earlier: Earlier) -> Iterator[Services]:
    """The present collector's parts, on the database."""
    services = build(Settings(database_url=earlier.database.url, secret_key=(earlier.secret_key,)))
    try:
        yield services
    finally:
        services.close()


def mend(earlier: Earlier) -> None:
    """Let the present collector see to what those of the version before could not know."""
    with present(earlier) as services:
        for _ in upkeep.round_of(services, services.database.transact, upkeep.Report()):
            pass


def test_three_migrate_at_once_and_collectors_of_the_version_before_write_on(earlier: Earlier) -> None:
    with traffic(earlier) as go_on:
        with ThreadPoolExecutor(3) as pool:
            ran = [one.result() for one in [pool.submit(bring_up, earlier.database.url) for _ in range(3)]]
        go_on()
    mend(earlier)
    assert sorted(ran) == [[], [], after(earlier.schema)]
    earlier.check()
    earlier.check_timeline()


@pytest.mark.parametrize("earlier", STARTED_FROM, ids=lambda schema: f"from-{schema}", indirect=True)
def test_the_present_collector_starts_beside_those_of_the_version_before(
    earlier: Earlier, start_collector: Callable[..., Collector]
) -> None:
    known = [event_id_text(one) for one in earlier.events][-5:]
    with traffic(earlier) as go_on:
        collector = start_collector(database_url=earlier.database.url, settings={"SECRET_KEY": earlier.secret_key})
        go_on()
        earlier.database.transact(lambda tx: earlier.writer.make_slices(tx, earlier.now + 7 * DAY))  # their calendar goes on too
        lead = f"{lead_id('ada', 0)}.{SECRET}"
        again = [{**new_event("saved"), "id": one} for one in known]
        sent = [new_event("saved"), new_event("saved"), *again]
        answer = collector.client.post_json("/collect", envelope(earlier.site.key, lead, *sent))
        go_on()
    assert (answer.status, answer.json["accepted"], answer.json["duplicates"]) == (202, 2, 5)
    client = Client(collector.url, earlier.site.token)
    summary = client.api("GET", "/events?type=user&user_id=ada&summary=true").json
    with earlier.database.read() as connection:
        ada = connection.value("SELECT id FROM identities WHERE value = 'ada'")
        whose = "SELECT count(DISTINCT i.principal_id) FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity"
        clicked = connection.value(f"{whose} WHERE d.site = ?", (earlier.site.id,))
    told = {(ada, event["name"], event["count"]) for event in summary["events"]}
    assert told == {(person, name, total.count) for person, name, total in earlier.expected()[1] if person == ada}
    message = client.api("GET", "/auto_messages").json["data"][0]["id"]
    assert client.api("GET", f"/auto_messages/{message}/stats").json["clicked"] == clicked > 0
    assert collector.stop() == 0
    mend(earlier)
    assert [str(finding) for finding in examine(earlier.database, Keyring((earlier.secret_key,)))] == []


@pytest.mark.parametrize("earlier", [VisitsVersion.schema - 1], ids=lambda schema: f"from-{schema}", indirect=True)
def test_an_upgrade_that_was_interrupted_is_finished_by_the_next(earlier: Earlier) -> None:
    settings = Settings(database_url=earlier.database.url, secret_key=(earlier.secret_key,))
    migrate(earlier.database, system_clock())
    earlier.work(0, 0)  # by who knows of no sums of visits; and then the upgrade was ended, before it mended anything
    assert list(examine(earlier.database)) != []
    assert setup.upgrade(settings, check=False, tell=print) == 0
    earlier.check()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_who_waits_for_another_that_migrates_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_TELL_SECONDS", 1)
    said = queue.Queue[str]()
    monkeypatch.setattr(migrations.log, "warning", said.put)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (migrations._LOCK,))
        waiting = pool.submit(bring_up, database_url)
        assert "another process is bringing the schema up to date" in said.get(timeout=60)
        assert not waiting.done()
        other.rollback()
        assert waiting.result(60) == STEPS


def test_merges_of_an_earlier_version_can_be_undone(migrated: Earlier) -> None:
    for line in list(migrated.merges):
        assert migrated.database.transact(lambda tx, line=line: merging.undo(tx, migrated.site.id, line, migrated.now))
        del migrated.merges[line]
        migrated.check()


def test_slices_of_an_earlier_version_are_pruned_and_no_count_changes(migrated: Earlier) -> None:
    with present(migrated) as services:
        later = migrated.now + 60 * DAY
        done = list(prune(services.database, services.slices, services.database.transact, later, services.settings.retention))
    assert sum(step.events for step in done if step.what == "moved" and step.slice == 0) == 2, (
        "overflow events of unknown arrival, by their time"
    )
    assert [step.slice for step in done if step.what == "dropped"] == sorted({step.slice for step in done} - {0})
    assert len({step.slice for step in done}) > 5
    migrated.check()
    with migrated.database.read() as connection:
        kept = {bytes(row[0]) for row in connection.rows("SELECT id FROM events")}
    recent = {one for one, (_, _, at) in migrated.events.items() if at >= later - 90 * DAY}
    old = {one for one, (_, _, at) in migrated.events.items() if at < later - 101 * DAY}
    assert recent <= kept
    assert not old & kept


def test_three_at_once_make_an_empty_database(database_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = [one.result() for one in [pool.submit(bring_up, database_url) for _ in range(3)]]
    assert sorted(made) == [[], [], STEPS]


def test_a_schema_of_a_newer_version_is_refused(database_url: str) -> None:
    database = Database(database_url)
    migrate(database, 1)
    with database.write() as tx:
        tx.run("INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)", (NEWEST + 1, 1))
    with pytest.raises(SchemaError, match=f"newer version of Leadlight .schema {NEWEST + 1}; this version knows {NEWEST}"):
        migrate(database, 1)
    database.close()


class Reader(NamedTuple):
    """Somebody who reads and does not come to an end, in a database of schema 1."""

    earlier: Earlier
    session: "psycopg.Connection[tuple[int]]"


@pytest.fixture(params=["events", "events_0"])
def reader(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Reader]:
    """One of the whole timeline, and one of a single slice, which is met after all the others are locked already."""
    with new_database(postgres_url) as url, psycopg.connect(url) as session:
        earlier = Earlier(url, 1)
        session.execute(f"SELECT count(*) FROM {request.param}".encode())
        yield Reader(earlier, session)
        session.rollback()
        earlier.database.close()


def wait_for_lock(database: Database) -> None:
    """Wait until somebody waits for a table that he wants for himself."""
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND mode = 'AccessExclusiveLock'"
    while True:
        with database.read() as connection:
            if connection.value(sql):
                return
        threading.Event().wait(0.001)


def test_a_long_reader_does_not_make_everybody_wait_behind_the_migration(reader: Reader) -> None:
    earlier = reader.earlier
    with ThreadPoolExecutor(2) as pool:
        try:
            migration: Future[list[int]] = pool.submit(migrate, earlier.database, earlier.now)
            wait_for_lock(earlier.database)
            for turn in range(5):
                pool.submit(earlier.work, 0, turn).result(60)
            earlier.check_timeline()
            assert not migration.done()
        finally:
            reader.session.rollback()
        assert migration.result(60) == after(1)
    mend(earlier)
    earlier.check()


def test_a_migration_that_cannot_have_its_tables_says_so_and_changes_nothing(reader: Reader) -> None:
    earlier = reader.earlier
    with pytest.raises(SchemaError, match="a long-running statement holds its tables"):
        migrate(earlier.database, earlier.now, tries=2)
    with earlier.database.read() as connection:
        assert pending(connection) == after(1)
        assert connection.value("SELECT count(*) FROM pg_attribute WHERE attname = 'arrived_at' AND attrelid = 'events'::regclass") == 0
