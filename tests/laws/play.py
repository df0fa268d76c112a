"""Histories played to two collectors on one database, and to the model beside them; what they answer and come to is compared."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from collector import operating
from collector.domain import attributes, contacts, deletion, imports, merging, people, pruning
from collector.domain.checks.findings import Finding
from collector.domain.doctor import examine
from collector.domain.identities import EMAIL, LEAD, USER, Key
from collector.domain.imports import Base
from collector.domain.merging import Claim
from collector.domain.names import ATTRIBUTE, EVENT
from collector.domain.submissions import AttributeChange, Event, Submission
from collector.services import Services, build
from collector.storage.database import Connection
from collector.storage.slices import CLOSED, PRUNED, WEEK, numbers_in
from collector.upkeep import Report, round_of
from collector.values.clock import HOUR
from collector.values.errors import Refusal
from collector.values.ids import event_id_time, new_uuid7, uuid7_bytes
from tests.laws import acts
from tests.support.model import Model, Seen
from tests.support.postgres import alone
from tests.support.world import World, lead

VISITS = ("01a2104a-324e-7080-a9b1-02515962ad5b", "01a2104a-324e-7080-a9b1-02515962ad5c")
EMAIL_USER = "u-1"
ADDRESS = acts.ADDRESSES[0]
OF_PEOPLE = ("identities", "totals", "attributes", "visits", "merges")


@dataclass(frozen=True)
class Message:
    """A submission as it was first sent."""

    owner: Key
    lead: str | None
    browser: bool = True
    verified: bool = False
    events: tuple[Event, ...] = ()
    changes: tuple[AttributeChange, ...] = ()

    @property
    def oldest(self) -> int | None:
        """When the first of its things happened."""
        return min([one.at for one in self.events] + [one.at for one in self.changes], default=None)


@dataclass
class Answer:
    """Whether somebody has the address already."""

    taken: bool = False


def named(who: str) -> Key:
    """The key of a lead, a user id or an address."""
    return (LEAD if who in acts.LEADS else EMAIL if who in acts.ADDRESSES else USER, who)


class Play:
    """One site of two collectors; the second user of the histories was first known by an email."""

    def __init__(self, world: World, processes: list[Services], backup: Path) -> None:
        self.world = world
        self.clock = world.clock
        self.processes = processes
        settings = world.services.settings
        self.model = Model(settings.retention, settings.lead_retention)
        self.backup = backup
        self.saved: Model | None = None
        self.sent: list[Message] = []
        self._know_by_email()

    def _know_by_email(self) -> None:
        services, site, now = self.processes[0], self.world.site.id, self.clock()

        def work(tx):
            made = contacts.create(tx, site, services.names, services.maker, now, external_id=None, values={"email": ADDRESS})
            contacts.update(tx, site, services.names, services.maker, now, made, external_id=EMAIL_USER, values={})

        services.writer.run(site, work)
        self.model.send((EMAIL, ADDRESS), None, [], [AttributeChange({"email": ADDRESS}, now)], now, browser=False)
        self.model.send((USER, EMAIL_USER), None, [], [], now, browser=False)
        self.model.known[(USER, EMAIL_USER)].person = (EMAIL, ADDRESS)

    def act(self, act: acts.Act) -> None:
        """Let one thing happen to both; whatever can change who belongs to whom, or what is stored where, is looked at at once."""
        match act:
            case acts.Send():
                self.send(act.process, [message for said in act.said if self.is_somebody(message := self.message(said))])
            case acts.Again():
                self.send_again(act)
            case acts.Late():
                self.send_late(act)
            case acts.Merge():
                self.merge(act)
            case acts.Undo():
                self.undo(act)
            case acts.Import():
                self.set_bases(act)
            case acts.Know():
                self.know(act)
            case acts.Rename():
                self.rename(act)
            case acts.Put():
                self.put(act)
            case acts.BackUp():
                self.back_up()
            case acts.Restore():
                self.restore()
            case acts.Erase():
                self.erase(act)
            case acts.Wipe():
                self.wipe(act.process, act.steps)
            case acts.Prune():
                self.prune(act.process, act.steps, closings=act.closings)
            case acts.Upkeep():
                self.do_a_round(act.process, act.steps)
            case acts.Turn():
                self.clock.advance(act.ms)
        if isinstance(act, acts.Undo | acts.Rename | acts.Restore | acts.Erase | acts.Prune | acts.Upkeep):
            self.check()

    def message(self, said: acts.Said) -> Message:
        """Put something said into ids and times of now; what is older than the timeline is not let in."""
        owner = (LEAD, said.lead) if said.user is None else named(said.user)
        browser = said.lead is not None
        events = (self.event(one, browser=browser) for one in said.events)
        changes = (AttributeChange({one.name: one.value}, min(self.clock() - one.ago, self.latest(browser))) for one in said.changes)
        return Message(owner, said.lead, browser, said.verified, tuple(events), tuple(changes))

    def latest(self, browser: bool) -> int:
        """Return how late something may have happened: a browser's time is corrected, REST's may lie an hour ahead."""
        return self.clock() if browser else self.clock() + HOUR

    def is_somebody(self, message: Message) -> bool:
        """Say whether REST finds whom it speaks of: a lead by its contact id, which it has once a browser was there."""
        return message.browser or message.owner[0] != LEAD or message.owner in self.model.known

    def event(self, drawn: acts.Event, *, browser: bool) -> Event:
        now, latest = self.clock(), self.latest(browser)
        at = min(now - drawn.ago, latest)
        if drawn.edge is not None:
            at = min(max(at // WEEK * WEEK + drawn.edge, now - self.model.retention), latest)
        number = uuid7_bytes(new_uuid7(max(at + drawn.drift, 0)))
        assert number is not None
        visit = None if drawn.visit is None else uuid7_bytes(VISITS[drawn.visit])
        return Event(number, drawn.name, at, visit, metadata=drawn.metadata, repeat=drawn.repeat)

    def send(self, process: int, messages: Sequence[Message]) -> None:
        """Send messages, in one commit."""
        services, now = self.processes[process], self.clock()
        self.sent += messages
        submissions = [
            Submission(
                owner=one.owner,
                lead=None if one.lead is None else lead(one.lead),
                browser=one.browser,
                verified=one.verified,
                create=one.browser or one.owner[0] != LEAD,
                events=list(one.events),
                changes=list(one.changes),
            )
            for one in messages
        ]
        outcomes = services.writer.record(self.world.site.id, submissions)
        for one, outcome in zip(messages, outcomes, strict=True):
            its_lead = None if one.lead is None else (LEAD, one.lead)
            told = self.model.send(one.owner, its_lead, one.events, one.changes, now, browser=one.browser, verified=one.verified)
            assert outcome.error is None
            assert (outcome.claim, outcome.events) == (told.claim, told.events)

    def send_again(self, act: acts.Again) -> None:
        if not self.sent:
            return
        first = self.sent[act.which % len(self.sent)]
        by = first if act.by is None else replace(self.message(act.by), changes=first.changes)
        if not self.is_somebody(by):
            return
        oldest, latest = self.clock() - self.model.retention, self.latest(by.browser)
        times = [min(one.at + act.shift, latest) for one in first.events]
        events = [
            msgspec.structs.replace(one, at=at, metadata='{"again":true}')
            for one, at in zip(first.events, times, strict=True)
            if at >= oldest
        ]
        self.send(act.process, [replace(by, events=tuple(events))])
        self.sent.pop()

    def send_late(self, act: acts.Late) -> None:
        at = self.clock() - self.model.retention - act.ago
        event = self.event(acts.Event("page-view", 0, None, at - self.clock(), None), browser=False)
        event = Event(event.id, event.name, at)
        if self.model.place(event) != 0:
            self.send(act.process, [Message((USER, act.user), None, browser=False, events=(event,))])
            self.sent.pop()

    def merge(self, act: acts.Merge) -> None:
        one, user = (LEAD, act.lead), (USER, act.user)
        services, site, now = self.processes[act.process], self.world.site.id, self.clock()
        if one not in self.model.known or user not in self.model.known:
            return
        ids = [self.public_id(key) for key in (one, user)]
        try:
            claim = services.writer.run(site, lambda tx: merging.merge_contacts(tx, site, *ids, services.row_ids, now, by="rest"))
        except ValueError:
            claim = Claim.REFUSED
        assert claim is self.model.merge(one, user)

    def undo(self, act: acts.Undo) -> None:
        services, site, now = self.processes[act.process], self.world.site.id, self.clock()
        merge = self.last_merge(act.lead)
        if merge is not None:
            assert services.writer.run(site, lambda tx: merging.undo(tx, site, merge, now)) is self.model.undo((LEAD, act.lead))

    def undo_again(self, process: int, merge: int) -> None:
        """Ask once more for the undo of a merge that is undone, whatever its lead became since."""
        services, site, now = self.processes[process], self.world.site.id, self.clock()
        assert services.writer.run(site, lambda tx: merging.undo(tx, site, merge, now)) is False

    def last_merge(self, one: str) -> int | None:
        """Return the id of a lead's merge that stands, else of its last one."""
        rows = self.world.rows(
            "SELECT m.id FROM merges m JOIN identities i ON i.site = m.site AND i.id = m.lead "
            "WHERE m.site = ? AND i.kind = 'lead' AND i.value = ? AND m.outcome = 'merged' "
            "ORDER BY m.undone_at IS NULL DESC, m.id DESC LIMIT 1",  # two processes' ids of one ms have no order
            self.world.site.id,
            one,
        )
        return rows[0][0] if rows else None

    def set_bases(self, act: acts.Import) -> None:
        key = named(act.who)
        if key[0] == LEAD and key not in self.model.known:
            return
        services, site, now = self.processes[act.process], self.world.site.id, self.clock()
        last = now - act.ago
        bases = [Base(act.name, act.count, last - act.span, last) if act.count else Base(act.name, 0, None, None)]
        services.names.ensure(site, EVENT, {act.name}, now)
        with services.database.read() as connection:
            seen = imports.look(connection, site, services.names, key, bases)
        try:
            services.writer.run(site, lambda tx: imports.set_bases(tx, site, services.names, services.maker, now, key, bases, seen))
            taken = True
        except Refusal:
            taken = False
        assert taken is self.model.import_bases(key, bases, now)

    def know(self, act: acts.Know) -> None:
        services, site, now = self.processes[act.process], self.world.site.id, self.clock()
        values = {"email": act.address}
        with self.refused_where_taken() as answer:
            services.writer.run(
                site, lambda tx: contacts.create(tx, site, services.names, services.maker, now, external_id=None, values=values)
            )
        assert answer.taken is not self.model.know(act.address, now)

    def rename(self, act: acts.Rename) -> None:
        key = (EMAIL, act.address)
        if key not in self.model.known:
            return
        services, site, now = self.processes[act.process], self.world.site.id, self.clock.advance(1)
        contact, values = self.world.person(key).contact_id, {"email": act.other}
        with self.refused_where_taken() as answer:
            services.writer.run(
                site, lambda tx: contacts.update(tx, site, services.names, services.maker, now, contact, external_id=None, values=values)
            )
        assert answer.taken is not self.model.rename(act.address, act.other, now)

    def put(self, act: acts.Put) -> None:
        key = named(act.who)
        if key not in self.model.known:
            return
        services, site, now = self.processes[act.process], self.world.site.id, self.clock() - act.behind
        contact, values = self.world.person(key).contact_id, {acts.ATTRIBUTES[1]: act.value}
        services.names.ensure(site, ATTRIBUTE, values, self.clock())
        services.writer.run(
            site, lambda tx: contacts.update(tx, site, services.names, services.maker, now, contact, external_id=None, values=values)
        )
        self.model.put(key, acts.ATTRIBUTES[1], act.value, now)
        assert self.world.attributes(key).get(acts.ATTRIBUTES[1]) == act.value

    @staticmethod
    @contextmanager
    def refused_where_taken() -> Iterator["Answer"]:
        answer = Answer()
        try:
            yield answer
        except contacts.ContactExists:
            answer.taken = True

    def back_up(self) -> None:
        operating.backup(self.processes[0].settings, self.backup, overwrite=True)
        self.saved = deepcopy(self.model)
        self.clock.advance(1)

    def restore(self) -> None:
        """Stop both collectors, put the last backup back and start them again."""
        assert self.saved is not None
        settings = self.processes[0].settings
        for services in self.processes:
            services.close()
        alone(settings.database_url)
        try:
            operating.restore(settings, self.backup, replace=True)
        finally:
            self.processes[:] = [build(settings, self.clock) for _ in self.processes]
            self.world.services = self.processes[0]
        self.model = self.model.restored(self.saved, self.clock())

    def erase(self, act: acts.Erase) -> None:
        key = named(act.who)
        if key not in self.model.known:
            return
        services, site, now = self.processes[act.process], self.world.site.id, self.clock()
        person = self.world.person(key).id
        transact = self.transact(services)
        if act.steps is None:
            assert deletion.erase(services.written, services.slices, transact, services.keyring, site, person, lambda: now)
        else:
            assert transact(lambda tx: len(deletion.delete_person(tx, site, services.keyring, person, lambda: now)))
            self.wipe(act.process, act.steps)
        self.model.erase(key, now)

    def wipe(self, process: int, steps: int | None) -> None:
        services = self.processes[process]
        for _ in itertools.islice(deletion.wipe(services.written, services.slices, self.transact(services), self.world.site.id), steps):
            pass

    def prune(self, process: int, steps: int | None, *, closings: bool = True) -> None:
        """Prune, and where it came to its end look whether everything is ended that has to be."""
        services, due, done = self.processes[process], self.model.due(self.clock()), 0
        running = pruning.prune(services.written, services.slices, self.transact(services), self.clock(), self.model.retention)
        while done != steps and (step := next(running, None)) is not None:
            if step.what == "closed":
                assert step.slice in due
                self.model.end(step.slice)
            done += closings or step.what != "closed"
        running.close()
        if steps is None:
            assert due <= self.model.ended
            with services.database.read() as connection:
                assert not numbers_in(connection, CLOSED)

    def do_a_round(self, process: int, steps: int | None) -> None:
        """Let a process do a round of upkeep: what is old by the present that is believed goes, all of it where it came to its end."""
        services, now, report = self.processes[process], self.clock(), Report()
        newest = self.world.rows("SELECT id FROM events WHERE slice > 0 ORDER BY id DESC LIMIT 1")
        present = self.model.believe(now, event_id_time(bytes(newest[0][0])) if newest else None)
        silent, due = self.model.silent(present), self.model.due(present)
        waiting = self.model.due(now) - due
        running = round_of(services, self.transact(services), report)
        done = sum(1 for _ in itertools.islice(running, steps))
        running.close()
        gone = silent.difference(self.world.rows("SELECT kind, value FROM identities WHERE site = ?", self.world.site.id))
        for one in gone:
            self.model.fall_silent(one)
        with services.database.read() as connection:
            ended = set(numbers_in(connection, CLOSED, PRUNED)) - self.model.ended
            unfinished = numbers_in(connection, CLOSED)
        assert ended <= due
        for week in ended:
            self.model.end(week)
        assert (report.leads, report.mended) == (len(gone), 0)
        assert self.world.rows("SELECT at, upto FROM upkeep WHERE part = 'clock'") == [self.model.believed]
        if steps is None or done < steps:
            assert (gone, ended, unfinished) == (silent, due, [])
            assert self.world.rows("SELECT part FROM upkeep WHERE trouble IS NOT NULL") == ([("part clock",)] if waiting else [])

    def finish(self) -> None:
        """Let the second process take up whatever was interrupted; nothing changes by it."""
        self.check()
        self.wipe(1, None)
        self.prune(1, None)
        self.check()

    def findings(self) -> list[Finding]:
        """Ask the doctor, but for what a round had to leave, which is looked at after each."""
        found = examine(self.processes[0].database, self.processes[0].keyring)
        return [one for one in found if one.check != "upkeep"]

    def meet(self, *keys: Key) -> None:
        """Let identities come without doing anything, where they are not there."""
        for key in keys:
            if key not in self.model.known:
                self.send(0, [Message(key, key[1] if key[0] == LEAD else None, browser=key[0] == LEAD)])
                self.sent.pop()

    def check(self) -> None:
        """Compare everybody with the model."""
        site = self.world.site.id
        assert set(self.world.rows("SELECT kind, value FROM identities WHERE site = ?", site)) == set(self.model.known)
        expected = {one.members: one for one in self.model.people(self.clock())}
        assert self.everybody() == expected
        open_merges = self.world.rows(
            "SELECT l.value, t.id FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead "
            "JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.site = ? AND m.outcome = 'merged' AND m.undone_at IS NULL",
            site,
        )
        pointers = self.world.rows(
            "SELECT value, principal_id FROM identities WHERE site = ? AND kind = 'lead' AND principal_id <> id", site
        )
        assert sorted(open_merges) == sorted(pointers)

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """Demand that not one value changes of what is stored of people and their merges.

        A claim to a lead that is another's by now may be journalled as refused; the database itself refuses a second line of that.
        """
        before = self.stored()
        yield
        after = self.stored()
        assert after == before, [(table, before[table] - after[table], after[table] - before[table]) for table in OF_PEOPLE]

    def stored(self) -> dict[str, Counter[tuple[Any, ...]]]:
        """Read the rows of people and their merges as they stand in the database."""
        site = self.world.site.id
        merged = " AND outcome = 'merged'"
        return {
            table: Counter(self.world.rows(f"SELECT * FROM {table} WHERE site = ?{merged if table == 'merges' else ''}", site))
            for table in OF_PEOPLE
        }

    def journal(self) -> Counter[tuple[Any, ...]]:
        """Read the merges that came about: of which lead, into whom, by whom and why, and whether they were undone."""
        return Counter(
            self.world.rows(
                "SELECT l.value, t.kind, t.value, m.by_whom, m.reason, m.verified, m.blocked, m.undone_at IS NULL, m.undone_by "
                "FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead "
                "JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.site = ? AND m.outcome = 'merged'",
                self.world.site.id,
            )
        )

    def everybody(self) -> dict[frozenset[Key], Seen]:
        """Read everybody as the collector has them."""
        with self.processes[0].database.read() as connection:
            found = [self.seen(connection, key) for key in self.model.known]
        return {one.members: one for one in found}

    def seen(self, connection: Connection, key: Key) -> Seen:
        """Read the person of an identity."""
        site, names = self.world.site.id, self.processes[0].names
        person = people.by_key(connection, site, key)
        assert person is not None
        one = person.identities[0]
        timeline = people.timeline(connection, site, names, person.identities, self.clock() - self.model.retention, limit=None)
        senders = {each.public_id: (each.kind, each.value) for each in person.identities}
        return Seen(
            members=frozenset(senders.values()),
            totals=people.totals(connection, site, names, person.id),
            attributes=attributes.of_person(connection, site, names, person.id),
            timeline=[
                (UUID(each.id).bytes, each.name, each.at, senders[each.contact_id], each.metadata, each.unverified) for each in timeline
            ],
            visits=(one.visit_count or 0, one.visit_started_at, one.visit_ended_at, one.previous_visit_ended_at),
            active_at=person.active_at,
            marks=(person.verified, person.unverified),
        )

    def public_id(self, key: Key) -> str:
        (row,) = self.world.rows("SELECT public_id FROM identities WHERE site = ? AND kind = ? AND value = ?", self.world.site.id, *key)
        return str(row[0])

    @staticmethod
    def transact(services: Services) -> deletion.Transact:
        """Return how upkeep writes beside a serving process."""
        if services.written.engine == "sqlite":
            return lambda work: services.writer.run(0, work)
        return services.written.transact
