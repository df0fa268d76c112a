"""Deletion: nothing from before brings anybody back, and whatever interrupts or races it, nothing is left over."""

import contextlib
import functools
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from collector.domain import contacts, deletion, merging, people, tombstones
from collector.domain.doctor import examine
from collector.domain.identities import Key
from collector.domain.imports import Base, set_bases
from collector.domain.names import EVENT
from collector.domain.submissions import AttributeChange, Event, Submission
from collector.services import Services, build
from collector.upkeep import Report as UpkeepReport
from collector.upkeep import round_of
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.errors import Reason, Refusal
from collector.values.ids import new_uuid7, uuid7_bytes
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, lead, user
from tests.support.world import world as start

NUMBERS_ALONE = {"changes", "sqlite_stat1"}
"""SQLite's statistics hold no values. The feed of changes tells keepers of copies by row numbers whom to look at anew, the deleted too,
and is purged after a while."""


def erase(world: World, key: Key) -> bool:
    """Delete the person of an identity."""
    services, site = world.services, world.site.id
    person = world.person(key).id
    transact = functools.partial(services.writer.run, site)
    return deletion.erase(services.written, services.slices, transact, services.keyring, site, person, world.clock)


def begin_to_erase(world: World, key: Key) -> int:
    """Do the first commit of a deletion, as a process does it that is gone after that; return the events that are left to wipe."""
    services, site = world.services, world.site.id
    person = world.person(key).id
    assert services.writer.run(site, lambda tx: deletion.delete_person(tx, site, services.keyring, person, world.clock))
    return int(world.rows("SELECT count(*) FROM events e JOIN deletions d ON d.site = e.site AND d.identity = e.identity")[0][0])


def tables(world: World) -> dict[str, set[str]]:
    """Every table of the schema, with its columns."""
    if world.services.database.engine == "sqlite":
        sql = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
    else:
        sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    found: dict[str, set[str]] = {}
    for table, column in world.rows(sql):
        found.setdefault(table, set()).add(column)
    return found


def contents(world: World) -> dict[str, Counter[str]]:
    """Every row of every table."""
    return {table: Counter(map(repr, world.rows(f"SELECT * FROM {table}"))) for table in tables(world)}


def exists(world: World, key: Key) -> bool:
    with world.services.database.read() as connection:
        return people.by_key(connection, world.site.id, key) is not None


def is_sound(world: World) -> bool:
    return not list(examine(world.services.database, world.services.keyring))


def upkeep(world: World) -> UpkeepReport:
    """Do a round of upkeep, as `serve` and `prune` do it."""
    report = UpkeepReport()
    for _ in round_of(world.services, functools.partial(world.services.writer.run, 0), report, trusted=True):
        pass
    return report


def test_who_was_deleted_stays_so_however_the_ring_of_secret_keys_is_written(database_url: str, clock: FakeClock) -> None:
    keys = tuple(secrets.token_urlsafe(32) for _ in range(2))
    with start(database_url, clock, secret_key=keys[:1]) as world:
        late = world.event()
        world.send(lead(), late)
        world.send(user(), world.event(), lead=lead())
        clock.advance(HOUR)
        assert erase(world, user())
        site = world.site
    for ring in (keys, keys[::-1], (keys[1], keys[0], keys[1])):
        with start(database_url, clock, secret_key=ring) as world:
            world.site = site
            clock.advance(HOUR)
            assert world.send(lead(), late).events == world.send(user(), late, lead=lead("new")).events == [Reason.PERSON_DELETED]
            assert not exists(world, lead().key)
            world.send(lead(ring[0]), world.event())
            clock.advance(HOUR)
            assert erase(world, lead(ring[0]).key)
    with start(database_url, clock, secret_key=keys) as world:  # deleted by a ring of another order
        world.site = site
        late = world.event(at=clock() - 1)
        assert world.send(lead(keys[1]), late).events == [Reason.PERSON_DELETED]
        assert is_sound(world)


class TestFromBefore:
    """A user and its browser were deleted a moment ago."""

    @pytest.fixture
    def first(self, world: World) -> Event:
        """An event that was counted before the deletion."""
        one = world.event()
        world.send(lead(), one)
        world.set(user(), {"name": "Ada"}, lead=lead())
        world.clock.advance(HOUR)
        assert erase(world, user())
        return one

    def test_there_is_a_tombstone_for_each_identity_and_it_names_nobody(self, world: World, first: Event) -> None:
        services, site = world.services, world.site.id
        with services.database.read() as connection:
            found = tombstones.times(connection, site, services.keyring, [user(), lead().key, user("other")])
        assert found == {user(): world.clock(), lead().key: world.clock()}
        assert {len(mac) for _, mac, _ in world.rows("SELECT site, mac, at FROM tombstones")} == {32}

    @pytest.mark.parametrize("ago", [0, 1, 2 * HOUR])
    def test_events_up_to_the_ms_of_the_deletion_are_refused_and_make_nobody(self, world: World, first: Event, ago: int) -> None:
        late = world.event(at=world.clock() - ago)
        world.clock.advance(DAY)
        for owner, browser in ((user(), None), (user(), lead("new")), (lead().key, lead())):
            outcome = world.send(owner, late, first, lead=browser)
            assert outcome.events == [Reason.PERSON_DELETED, Reason.PERSON_DELETED]
        assert world.rows("SELECT count(*) FROM identities") == [(0,)]

    def test_attributes_from_before_are_refused_and_make_nobody(self, world: World, first: Event) -> None:
        at = world.clock()
        world.clock.advance(DAY)
        assert world.set(user(), {"name": "Ada"}, at=at).outdated == [0]
        assert not exists(world, user())

    def test_the_first_event_after_it_makes_the_person_anew_without_a_history(self, world: World, first: Event) -> None:
        deleted_at = world.clock()
        world.clock.advance(DAY)
        new = world.event(at=deleted_at + 1)
        name = AttributeChange({"name": "Ada"}, deleted_at)
        outcome = world.send(user(), first, world.event(at=deleted_at), new, lead=lead("new"), changes=[name])
        assert outcome.events == [Reason.PERSON_DELETED, Reason.PERSON_DELETED, True]
        assert world.counts(user()) == {"page-view": 1}
        assert [one.at for one in world.timeline(user())] == [new.at]
        assert world.attributes(user()) == {}
        assert len(world.person(user()).identities) == 2

    def test_whoever_came_anew_refuses_what_is_older_still(self, world: World, first: Event) -> None:
        deleted_at = world.clock()
        world.clock.advance(DAY)
        world.send(lead(), world.event())
        assert world.send(lead(), first, world.event(at=deleted_at)).events == [Reason.PERSON_DELETED] * 2
        assert world.set(lead(), {"name": "Ada"}, at=deleted_at).outdated == [0]
        assert world.counts(lead().key) == {"page-view": 1}

    def test_what_another_user_did_in_that_browser_counts_without_bringing_it_back(self, world: World, first: Event) -> None:
        late = world.event("saved", at=world.clock())
        world.clock.advance(DAY)
        world.send(user("other"))
        outcome = world.send(user("other"), late, lead=lead())
        assert (outcome.events, outcome.claim) == ([True], None)
        assert world.counts(user("other")) == {"saved": 1}
        assert not exists(world, lead().key)

    def test_totals_from_before_are_not_imported_and_make_nobody(self, world: World, first: Event) -> None:
        services, site, at = world.services, world.site.id, world.clock()
        world.clock.advance(DAY)
        for base, taken in ((Base("page-view", 3, at, at + 1), False), (Base("page-view", 3, at + 1, at + 1), True)):
            services.names.ensure(site, EVENT, {base.name}, world.clock())
            with contextlib.suppress(Refusal):
                services.writer.run(
                    site,
                    lambda tx, base=base: set_bases(tx, site, services.names, services.maker, world.clock(), user(), [base]),
                )
            assert exists(world, user()) is taken
        assert world.counts(user()) == {"page-view": 3}

    def test_deleted_again_the_later_time_holds(self, world: World, first: Event) -> None:
        world.clock.advance(DAY)
        world.send(user(), world.event())
        assert erase(world, user())
        late = world.event(at=world.clock())
        world.clock.advance(1)
        assert world.send(user(), late).events == [Reason.PERSON_DELETED]


class TestSilentLeads:
    def silent(self, world: World) -> list[str]:
        """Which leads a round of upkeep deletes, a year and a day after they came."""
        before = {value for (value,) in world.rows("SELECT value FROM identities WHERE kind = 'lead'")}
        report = upkeep(world)
        gone = before - {value for (value,) in world.rows("SELECT value FROM identities WHERE kind = 'lead'")}
        assert report.leads == len(gone)
        return sorted(gone)

    def test_those_go_whom_nobody_saw_for_long_and_who_belong_to_nobody(self, world: World) -> None:
        for name in ("silent", "back", "known", "merged"):
            world.send(lead(name), world.event())
        world.send(lead("never-did-anything"))
        world.set(lead("known"), {"email": "ada@example.com"})
        world.send(user(), lead=lead("merged"))
        world.clock.advance(world.services.settings.lead_retention + DAY)
        world.send(lead("back"), world.event())
        assert self.silent(world) == ["never-did-anything", "silent"]
        assert world.counts(user()) == {"page-view": 1}
        assert is_sound(world)

    def test_not_a_day_too_soon(self, world: World) -> None:
        world.clock.now = (world.clock() // MINUTE + 1) * MINUTE  # to the minute is how exactly it is known
        world.send(lead("silent"), world.event())
        world.clock.advance(world.services.settings.lead_retention)
        assert self.silent(world) == []
        world.clock.advance(1)
        assert self.silent(world) == ["silent"]

    @pytest.mark.parametrize("meanwhile", ["came back", "gave an email", "signed up"])
    def test_one_who_is_no_silent_lead_any_more_when_its_turn_comes_stays(self, world: World, meanwhile: str) -> None:
        services, site = world.services, world.site.id
        world.send(lead("silent"), world.event())
        world.clock.advance(services.settings.lead_retention + DAY)
        before = world.clock() - services.settings.lead_retention
        (number,) = deletion.silent_leads(services.database, site, before)
        if meanwhile == "came back":
            world.send(lead("silent"), world.event())
        elif meanwhile == "gave an email":
            world.set(lead("silent"), {"email": "ada@example.com"})
        else:
            world.send(user(), lead=lead("silent"))
        assert not services.writer.run(site, lambda tx: deletion.delete_silent_lead(tx, site, number, before, world.clock()))
        assert exists(world, lead("silent").key)

    def test_one_whose_email_was_taken_away_goes(self, world: World) -> None:
        world.set(lead("silent"), {"email": "ada@example.com"})
        world.clock.advance(1)
        world.set(lead("silent"), {"email": None})
        world.clock.advance(world.services.settings.lead_retention + DAY)
        assert self.silent(world) == ["silent"]

    def test_one_who_comes_back_is_new(self, world: World) -> None:
        world.send(lead("silent"), world.event())
        world.clock.advance(world.services.settings.lead_retention + DAY)
        assert self.silent(world) == ["silent"]
        assert world.send(lead("silent"), world.event()).events == [True]
        assert world.counts(lead("silent").key) == {"page-view": 1}


class TestInterrupted:
    @pytest.fixture
    def other(self, world: World) -> Iterator[Services]:
        """Another process's collector on the same database."""
        services = build(world.services.settings, world.clock)
        yield services
        services.close()

    def test_after_its_first_commit_nothing_of_the_person_is_seen_and_another_process_wipes_the_rest(
        self, world: World, other: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deletion, "STEP", 2)
        world.send(user("stays"), world.event())
        for _ in range(3):
            world.send(user(), *(world.event() for _ in range(3)), lead=lead())
            world.clock.advance(8 * DAY)
        assert begin_to_erase(world, user()) == 9
        assert not exists(world, user())
        assert is_sound(world)

        world.clock.advance(1)
        assert world.send(user(), world.event(), lead=lead()).events == [True]  # comes anew in between
        steps = deletion.wipe(other.written, other.slices, functools.partial(other.writer.run, world.site.id), world.site.id)
        assert next(gone for gone in steps if gone) == 2
        steps.close()
        assert is_sound(world)
        assert sum(deletion.wipe(other.written, other.slices, functools.partial(other.writer.run, world.site.id), world.site.id)) == 7
        assert world.rows("SELECT count(*) FROM deletions") == [(0,)]
        assert world.rows("SELECT count(*) FROM events") == [(2,)]
        assert world.counts(user()) == {"page-view": 1}
        assert world.counts(user("stays")) == {"page-view": 1}

    @pytest.mark.parametrize("told", [0, 2 * DAY], ids=["at the time of its id", "at another time"])
    def test_what_is_still_to_be_wiped_is_known_to_nobody_and_comes_anew(self, world: World, told: int) -> None:
        late, ahead = world.event(), world.event(at=world.clock() + HOUR)
        sent = [Event(one.id, one.name, one.at - told) for one in (late, ahead)]  # where that is far off, they stand in the overflow
        assert world.send(user(), *sent, browser=False).events == [True, True]
        assert begin_to_erase(world, user()) == 2
        assert world.send(user("other"), late, browser=False).events == [True]
        assert world.send(user(), ahead, browser=False).events == [True]
        assert upkeep(world).failed == 0
        assert world.counts(user("other")) == world.counts(user()) == {"page-view": 1}
        assert world.send(lead(), late, ahead).events == [False, False]
        assert is_sound(world)

    def test_no_transaction_wipes_more_than_a_step_however_many_weeks_there_are(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deletion, "STEP", 4)
        for _ in range(3):
            world.send(user(), *(world.event() for _ in range(3)))
            world.clock.advance(8 * DAY)
        begin_to_erase(world, user())
        services, site = world.services, world.site.id
        steps = list(deletion.wipe(services.written, services.slices, functools.partial(services.writer.run, site), site))
        assert steps == [4, 4, 1, 0]

    def test_upkeep_takes_it_up(self, world: World) -> None:
        world.send(user(), world.event(), lead=lead())
        begin_to_erase(world, user())
        assert upkeep(world).wiped == 1
        assert world.rows("SELECT count(*) FROM events") == world.rows("SELECT count(*) FROM deletions") == [(0,)]


def test_a_person_is_locked_in_ascending_order_and_nobody_who_holds_a_part_waits_for_the_rest(postgres_url: str, clock: FakeClock) -> None:
    """An ingest that has the lead asks for its principal next; a deletion that had that one already would wait for it in a circle."""
    with new_database(postgres_url) as url, start(url, clock) as world:
        world.send(lead(), world.event())
        clock.advance(1)
        world.send(user(), lead=lead())
        person = world.person(user())
        (absorbed,) = person.lead_ids
        assert absorbed < person.id
        with psycopg.connect(url) as ingest, ThreadPoolExecutor(1) as pool:
            ingest.execute("SELECT id FROM identities WHERE id = %s FOR NO KEY UPDATE", (absorbed,))
            deleting = pool.submit(erase, world, user())
            wait_for_a_row(world)
            ingest.execute("SELECT id FROM identities WHERE id = %s FOR NO KEY UPDATE NOWAIT", (person.id,))
            ingest.commit()
            assert deleting.result(60)
        assert world.rows("SELECT count(*) FROM identities") == [(0,)]


def test_who_joins_while_the_deletion_waits_goes_too(postgres_url: str, clock: FakeClock) -> None:
    with new_database(postgres_url) as url, start(url, clock) as world:
        services, site = world.services, world.site.id
        world.send(lead(), world.event())
        clock.advance(1)
        world.send(user())
        ids = [world.person(key).contact_id for key in (lead().key, user())]
        with ThreadPoolExecutor(1) as pool:
            with services.database.write() as tx:
                merging.merge_contacts(tx, site, ids[0], ids[1], services.row_ids, clock(), by="rest")
                deleting = pool.submit(erase, world, user())
                wait_for_a_row(world)
            assert deleting.result(60)
        assert world.rows("SELECT count(*) FROM identities") == [(0,)]
        assert is_sound(world)


def test_who_is_made_by_rest_while_the_deletion_commits_comes_anew(postgres_url: str, clock: FakeClock) -> None:
    with new_database(postgres_url) as url, start(url, clock) as world:
        services, site = world.services, world.site.id
        old = world.event()
        world.send(user(), old)
        person, before = world.person(user()).id, clock()
        with ThreadPoolExecutor(1) as pool:
            with services.database.write() as tx:
                assert deletion.delete_person(tx, site, services.keyring, person, clock)
                making = pool.submit(known_by_rest, world, before)
                wait_for_a_row(world)
            making.result(60)
        assert world.send(user(), old).events == [Reason.PERSON_DELETED]
        assert world.rows("SELECT count(*) FROM attributes a JOIN identities i ON i.id = a.identity AND a.own_at <= i.not_before") == [(0,)]
        assert is_sound(world)


def known_by_rest(world: World, now: int) -> str:
    """Make a user with a name, and return the contact id."""
    services, site = world.services, world.site.id
    values = {"name": "Ada"}
    return services.writer.run(
        site, lambda tx: contacts.create(tx, site, services.names, services.maker, now, external_id=user()[1], values=values)
    )


def test_a_change_from_before_a_deletion_is_none_of_who_came_anew(world: World) -> None:
    services, site, clock = world.services, world.site.id, world.clock
    contact, now = known_by_rest(world, clock()), clock()
    clock.advance(1)
    erase(world, user())
    clock.advance(1)
    world.send(user(), world.event())
    with pytest.raises(people.NoPerson):
        services.writer.run(
            site,
            lambda tx: contacts.update(
                tx, site, services.names, services.maker, now, contact, external_id=None, values={"name": "from before"}
            ),
        )
    assert world.rows("SELECT own_value FROM attributes WHERE own_value LIKE ?", "%from before%") == []


def wait_for_a_row(world: World) -> None:
    """Wait until somebody waits for a row that another has locked."""
    while not world.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")[0][0]:
        threading.Event().wait(0.001)


def test_deleted_while_it_is_tracked_merged_and_undone_by_two_processes_nothing_is_left_over(world: World) -> None:
    """Time stands still, so that whatever the others write is not newer than the last deletion."""
    other = build(world.services.settings, world.clock)
    site, names = world.site.id, ("a", "b")
    old = [Event(uuid7_bytes(new_uuid7(world.clock() - number)) or b"", "page-view", world.clock() - number) for number in range(40)]
    gate = Barrier(8)

    def track(number: int) -> None:
        services = (world.services, other)[number % 2]
        gate.wait(30)
        for round_, one in enumerate(old):
            browser = lead(names[(number + round_) % 2])
            owner = user() if round_ % 3 else browser.key
            (outcome,) = services.writer.record(site, [Submission(owner=owner, lead=browser, events=[one])])
            assert outcome.error is None
            assert set(outcome.events) <= {True, False, Reason.PERSON_DELETED}

    def merge(number: int) -> None:
        services = (world.services, other)[number % 2]
        gate.wait(30)
        for _ in old:
            ids = dict(world.rows("SELECT value, public_id FROM identities WHERE site = ? AND value IN ('a', 'u-1')", site))
            row = world.rows("SELECT max(id) FROM merges WHERE site = ? AND outcome = 'merged'", site)[0][0]
            try:
                if len(ids) == 2:
                    found = (ids["a"], ids["u-1"])
                    services.writer.run(
                        site, lambda tx, found=found: merging.merge_contacts(tx, site, *found, services.row_ids, world.clock(), by="rest")
                    )
                if row is not None:
                    services.writer.run(site, lambda tx, row=row: merging.undo(tx, site, row, world.clock()))
            except (people.NoPerson, merging.NoMerge, merging.CannotMerge):  # deleted since it was looked for; another user's already
                continue

    def delete(number: int) -> None:
        services = (world.services, other)[number % 2]
        transact = functools.partial(services.writer.run, site)
        gate.wait(30)
        for _ in old:
            for (person,) in world.rows("SELECT id FROM identities WHERE site = ? AND principal_id = id", site):
                deletion.erase(services.written, services.slices, transact, services.keyring, site, person, world.clock)

    try:
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(act, number) for number, act in enumerate((track, track, track, track, merge, merge, delete, delete))]
            for job in jobs:
                job.result()
        assert is_sound(world)
        assert world.rows("SELECT count(*) FROM identities WHERE not_before > 0") == [(0,)]  # nobody came anew
        for value in [value for value in ("u-1", *names) if world.rows("SELECT 1 FROM identities WHERE value = ?", value)]:
            key = user() if value == "u-1" else lead(value).key
            if exists(world, key):
                assert erase(world, key)
        filled = {table for table, rows in contents(world).items() if rows}
        assert filled <= {"sites", "tokens", "slices", "names", "tombstones", "schema_migrations", *NUMBERS_ALONE}
    finally:
        other.close()
