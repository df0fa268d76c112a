"""Visitors whom a server describes, merges, parts and deletes while something goes wrong, and the account of what has come of each."""

import http.client
import json
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from collector.domain.identities import LEAD, USER, Key
from collector.storage.database import Connection, Database
from collector.storage.faults import is_unavailable
from tests.support.client import Answer, Client
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.load import PACE_SECONDS, PATIENCE_SECONDS, Sent, Total, events, own_totals, principals, reading, totals_of
from tests.support.processes import run_command
from tests.support.servers import ORIGIN, Collector

NAMES = ("page-view", "saved", "old")
SHARED = ("shared-0", "shared-1", "shared-2")
ACTORS = 8


@dataclass
class Life:
    """A visitor whom only one actor touches: what was acknowledged of it, and therefore has to stand in the database.

    `past` is what its lead did before, by name; no event of that is looked for.
    """

    lead: str
    past: dict[str, Total] = field(default_factory=dict)
    user: str | None = None
    """Its own user, once somebody signed in."""
    events: dict[str, Sent] = field(default_factory=dict)
    """What it sent, by id."""
    plans: dict[Key, str] = field(default_factory=dict)
    """The plan that a server set last of each of its identities."""
    journal: list[tuple[str, bool]] = field(default_factory=list)
    """Into which user it was merged each time, and whether that was undone."""
    deleted: bool = False

    @property
    def key(self) -> Key:
        """The identity of its lead."""
        return LEAD, self.lead.split(".")[0]

    @property
    def members(self) -> set[Key]:
        """The identities that are its own."""
        return {self.key} if self.user is None else {self.key, (USER, self.user)}

    @property
    def place(self) -> Key:
        """The identity whose person its lead is part of."""
        return (USER, self.journal[-1][0]) if self.journal and not self.journal[-1][1] else self.key


class Acts:
    """Actors that act until `finish`; what is put off, or gets no answer, is asked for again, until it is acknowledged.

    They are people of one site (what `init` printed of it), which has users with the ids `SHARED`, into whom everybody is merged;
    `returning` are visitors who were here before. `put_off` counts the answers 503, `lost` requests without an answer, `unsure` deletions
    that were put off, or got no answer, and turned out to be done when they were asked for again; `wrong` describes every answer that
    should not have been.
    """

    def __init__(self, collector: Collector, site: Mapping[str, str], returning: Sequence[Life] = ()) -> None:
        self.site_key = site["site_key"]
        self.client = Client(collector.url, site["access_token"])
        self.lives = list(returning)
        self.done: Counter[str] = Counter()
        self.put_off: Counter[str] = Counter()
        self.lost = 0
        self.unsure = 0
        self.wrong: list[str] = []
        self.contacts: dict[Key, str] = {}
        """The contact ids that were looked up."""
        self._returning = list(returning)
        self._changed = threading.Condition()
        self._finishing = threading.Event()
        self._given_up = threading.Event()
        self._database = Database(collector.database_url)
        self._threads = [threading.Thread(target=_Actor(self).run, daemon=True) for _ in range(ACTORS)]
        for thread in self._threads:
            thread.start()

    @classmethod
    def beside(cls, collector: Collector) -> "Acts":
        """Begin at a site of their own, beside whatever else is sent to the collector."""
        site = collector.init("Beside", [ORIGIN])
        client = Client(collector.url, site["access_token"])
        for user in SHARED:
            made = client.api("POST", "/contacts", {"external_id": user})
            assert made.status == 200, made.text
        return cls(collector, site)

    def wait_for(self, more: int) -> None:
        """Wait until so many more acts are acknowledged than now."""
        with self._changed:
            wanted = self.done.total() + more
            self._wait(lambda: self.done.total() >= wanted, f"{more} more acts")

    def wait_for_put_off(self) -> None:
        """Wait until one more answer is 503 than now."""
        with self._changed:
            wanted = self.put_off.total() + 1
            self._wait(lambda: self.put_off.total() >= wanted, "an answer 503")

    def wait_for_lost(self) -> None:
        """Wait until one more request has got no answer than now."""
        with self._changed:
            wanted = self.lost + 1
            self._wait(lambda: self.lost >= wanted, "a request without an answer")

    def finish(self) -> None:
        """Begin nothing new, and return when all that was begun is acknowledged."""
        self._finishing.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        alive = any(thread.is_alive() for thread in self._threads)
        self._given_up.set()
        self._database.close()
        assert not alive, f"not everything could be done: {self.summary()}"
        assert not self.wrong, self.summary()

    def summary(self) -> str:
        """Say in one line what happened."""
        return (
            f"{dict(self.done)} done, {dict(self.put_off)} put off, {self.lost} without an answer, {self.unsure} deletions unsure, "
            f"wrong {self.wrong[:5]}"
        )

    def begin(self) -> Life:
        """Return a visitor to go on with: one who was here before, as long as there is any, else a new one."""
        with self._changed:
            if self._returning:
                return self._returning.pop()
            self.lives.append(Life(new_lead()))
            return self.lives[-1]

    def is_over(self) -> bool:
        """Say whether nothing new is to begin."""
        return self._finishing.is_set()

    def note(self, what: str) -> None:
        """Note that an act was acknowledged."""
        with self._changed:
            self.done[what] += 1
            self._changed.notify_all()

    def note_put_off(self, what: str) -> None:
        """Note that an act was answered 503."""
        with self._changed:
            self.put_off[what] += 1
            self._changed.notify_all()

    def note_lost(self) -> None:
        """Note that a request got no answer."""
        with self._changed:
            self.lost += 1
            self._changed.notify_all()

    def note_unsure(self) -> None:
        """Note that what a deletion came to that was not acknowledged was only seen when it was asked for again."""
        with self._changed:
            self.unsure += 1

    def blame(self, what: str) -> None:
        """Note what should not have been."""
        with self._changed:
            self.wrong.append(what)
            self._changed.notify_all()

    def rest(self) -> bool:
        """Wait a moment before asking again; return whether that is still wanted."""
        return not self._given_up.wait(PACE_SECONDS)

    def rows(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Look into the database, as soon as it is there."""
        while True:
            try:
                with self._database.read() as connection:
                    return connection.rows(sql, parameters)
            except Exception as error:  # each driver has its own for an outage
                if not is_unavailable(error):
                    raise
            if not self.rest():
                raise _GaveUp

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        reached = self._changed.wait_for(lambda: condition() or bool(self.wrong), PATIENCE_SECONDS)
        assert not self.wrong, f"while waiting for {what}: {self.summary()}"
        assert reached, f"waited in vain for {what}: {self.summary()}"


class _GaveUp(Exception):
    """Nothing more is to be done, since something is wrong or time is up."""


class _Actor:
    """Browsers and a customer's server that go through one visitor's life after the other."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._client = acts.client
        self._site_key = acts.site_key

    def run(self) -> None:
        """Go on until there is to be nothing new."""
        with suppress(_GaveUp):
            while not self._acts.is_over():
                life = self._acts.begin()
                for act in self._course(life):
                    act()
                    if self._acts.is_over():
                        break

    def _course(self, life: Life) -> list[Callable[[], None]]:
        """Return what is to happen to a visitor, in order."""
        acts: list[Callable[[], None]] = [lambda: self.track(life), lambda: self.describe(life)]
        for _ in range(random.randint(0, 2)):
            acts += [lambda: self.merge(life), lambda: self.track(life), lambda: self.undo(life)]
        ends: list[list[Callable[[], None]]] = [
            [],
            [lambda: self.merge(life), lambda: self.track(life)],
            [lambda: self.delete(life)],
            [lambda: self.sign_in(life)],
            [lambda: self.sign_in(life), lambda: self.describe(life), lambda: self.undo(life)],
            [lambda: self.sign_in(life), lambda: self.delete(life)],
        ]
        return acts + random.choice(ends)

    def track(self, life: Life) -> None:
        """Let its browser send a few events."""
        events = [new_event(random.choice(NAMES)) for _ in range(random.randint(1, 3))]
        fields = {} if life.user is None else {"user": {"id": life.user}}
        sent = envelope(self._site_key, life.lead, *events, offset=0, **fields)
        answer, _ = self._ask("track", lambda: self._client.post_json("/collect", sent), 202)
        if answer.json["refused"]:
            self._wrong(f"refused: {answer.text}")
        owner = life.key if life.user is None else (USER, life.user)
        life.events.update({one["id"]: Sent(self._site_key, owner, one["name"], one["at"]) for one in events})
        self._acts.note("track")

    def describe(self, life: Life) -> None:
        """Set an attribute of its person, who is nobody's but its own."""
        contact, plan = self._contact(life.place), secrets.token_hex(4)
        body = {"custom_attributes": {"plan": plan}}
        self._ask("describe", lambda: self._client.api("PUT", f"/contacts/{contact}", body), 200)
        life.plans[life.place] = plan
        self._acts.note("describe")

    def sign_in(self, life: Life) -> None:
        """Let its page assert a user of its own, who takes the lead in."""
        life.user = f"user-{life.key[1]}"
        self.track(life)
        life.journal.append((life.user, False))

    def merge(self, life: Life) -> None:
        """Merge its lead into a user whom others are merged into as well."""
        user = random.choice(SHARED)
        body = {"from": self._contact(life.key), "into": self._contact((USER, user))}
        self._ask("merge", lambda: self._client.api("POST", "/contacts/merge", body), 200)
        life.journal.append((user, False))
        self._acts.note("merge")

    def undo(self, life: Life) -> None:
        """Undo its merge, which stands in the journal since it was acknowledged."""
        sql = (
            "SELECT m.id FROM merges m JOIN sites s ON s.id = m.site JOIN identities i ON i.site = m.site AND i.id = m.lead "
            "WHERE s.site_key = ? AND i.kind = 'lead' AND i.value = ? AND m.outcome = 'merged' AND m.undone_at IS NULL"
        )
        found = self._acts.rows(sql, self._site_key, life.key[1])
        if len(found) != 1:
            self._wrong(f"{len(found)} merges in the journal of a lead that was merged")
        self._ask("undo", lambda: self._client.api("POST", f"/merges/{found[0][0]}/undo", {}), 200)
        life.journal[-1] = (life.journal[-1][0], True)
        self._acts.note("undo")

    def delete(self, life: Life) -> None:
        """Delete its person. Asked for again, it may be gone already."""
        contact = self._contact(life.place)
        answer, again = self._ask("delete", lambda: self._client.api("DELETE", f"/contacts/{contact}"), 200, 404)
        if answer.status == 404:
            if not again:
                self._wrong(f"a contact that nobody deleted is unknown: {answer.text}")
            self._acts.note_unsure()
        life.deleted = True
        self._acts.note("delete")
        self._ask("show", lambda: self._client.api("GET", f"/contacts/{contact}"), 404)

    def _contact(self, key: Key) -> str:
        if key not in self._acts.contacts:
            sql = "SELECT i.public_id FROM identities i JOIN sites s ON s.id = i.site WHERE s.site_key = ? AND i.kind = ? AND i.value = ?"
            found = self._acts.rows(sql, self._site_key, *key)
            if len(found) != 1:
                self._wrong(f"{len(found)} identities of {key}")
            self._acts.contacts[key] = str(found[0][0])
        return self._acts.contacts[key]

    def _ask(self, what: str, send: Callable[[], Answer], *wanted: int) -> tuple[Answer, bool]:
        """Ask until there is an answer other than 503; return it, and whether it is not the first time that this was asked."""
        again = False
        while True:
            try:
                answer = send()
            except (OSError, http.client.HTTPException):
                self._acts.note_lost()
            else:
                if answer.status in wanted:
                    return answer, again
                if answer.status != 503:
                    self._wrong(f"{what}: {answer.status} {answer.text}")
                self._acts.note_put_off(what)
            again = True
            if not self._acts.rest():
                raise _GaveUp

    def _wrong(self, what: str) -> NoReturn:
        self._acts.blame(what)
        raise _GaveUp


def check_acts(collector: Collector, acts: Acts, others: Mapping[tuple[Key, str], Total] | None = None) -> None:
    """Make sure, once `acts.finish` returned, that the database holds of their site what was acknowledged, and nothing else.

    `others` are the totals, by identity and name, of those who are nobody's life. What lies before the timeline is to be pruned by then.
    """
    if acts.unsure:  # what was interrupted is wiped later; whoever prunes begins with that
        pruned = run_command(["collector", "prune"], collector.folder, collector.environ)
        assert pruned.returncode == 0, pruned.stdout + pruned.stderr
    with reading(collector.database_url) as connection:
        _check_people(connection, acts)
        _check_events(connection, acts, others or {})


def _check_people(connection: Connection, acts: Acts) -> None:
    alive = [life for life in acts.lives if not life.deleted]
    there = {key: person for (site, key), person in principals(connection).items() if site == acts.site_key}
    for life in acts.lives:
        if life.deleted:
            assert there.keys().isdisjoint(life.members), f"deleted and there: {life}"
        else:
            assert there.keys() >= life.members, f"gone, though nobody deleted it: {life}"
    assert {life.key: there[life.key] for life in alive} == {life.key: life.place for life in alive}
    assert _journal(connection, acts.site_key) == {life.key: life.journal for life in alive if life.journal}
    assert _plans(connection, acts.site_key) == {key: plan for life in alive for key, plan in life.plans.items()}


def _check_events(connection: Connection, acts: Acts, others: Mapping[tuple[Key, str], Total]) -> None:
    alive = [life for life in acts.lives if not life.deleted]
    found = [(event, one) for event, one in events(connection) if one.site == acts.site_key]
    assert len(dict(found)) == len(found), "stored twice"
    expected_events = {event: one for life in alive for event, one in life.events.items()}
    of_deleted = {event for life in acts.lives if life.deleted for event in life.events}
    assert expected_events.items() - dict(found).items() == set(), "acknowledged, and lost, or not stored as it was sent"
    assert dict(found).keys() & of_deleted == set(), "of somebody who was deleted"
    assert dict(found).keys() - expected_events.keys() == set(), "nobody sent these"

    expected = {(acts.site_key, *whose): total for whose, total in others.items()}
    expected.update({(acts.site_key, life.key, name): total for life in alive for name, total in life.past.items()})
    for whose, (more, began, ended) in totals_of(expected_events.values()).items():
        count, first, last = expected.get(whose, (0, began, ended))
        expected[whose] = (count + more, min(first, began), max(last, ended))
    assert {whose: total for whose, total in own_totals(connection).items() if whose[0] == acts.site_key} == expected


def _journal(connection: Connection, site_key: str) -> dict[Key, list[tuple[str, bool]]]:
    sql = (
        "SELECT l.kind, l.value, t.value, m.undone_at FROM merges m JOIN sites s ON s.id = m.site "
        "JOIN identities l ON l.site = m.site AND l.id = m.lead JOIN identities t ON t.site = m.site AND t.id = m.target "
        "WHERE s.site_key = ? AND m.outcome = 'merged' ORDER BY m.at, m.id"
    )
    found: dict[Key, list[tuple[str, bool]]] = {}
    for kind, value, user, undone_at in connection.rows(sql, (site_key,)):
        found.setdefault((kind, value), []).append((user, undone_at is not None))
    return found


def _plans(connection: Connection, site_key: str) -> dict[Key, str]:
    sql = (
        "SELECT i.kind, i.value, a.own_value FROM attributes a JOIN sites s ON s.id = a.site "
        "JOIN identities i ON i.site = a.site AND i.id = a.identity JOIN names n ON n.site = a.site AND n.id = a.attr "
        "WHERE s.site_key = ? AND n.text = 'custom_attributes.plan' AND a.own_value IS NOT NULL"
    )
    return {(kind, value): json.loads(plan) for kind, value, plan in connection.rows(sql, (site_key,))}
