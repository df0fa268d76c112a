"""Visitors whom a server merges, parts and deletes while something goes wrong, and the account of what has come of each of them."""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from collector.domain.identities import LEAD, USER, Key
from collector.storage.database import Connection, Database
from tests.support.client import Answer
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.load import PACE_SECONDS, PATIENCE_SECONDS, stored
from tests.support.servers import Collector

NAMES = ("page-view", "saved", "old")
ACTORS = 8

Total = tuple[int, int, int]
"""How often, first and last (ms)."""


@dataclass
class Life:
    """A visitor whom only one actor touches: what was acknowledged of it, and therefore has to stand in the database.

    `past` is what its lead did before, by name; no event of that is looked for.
    """

    lead: str
    past: dict[str, Total] = field(default_factory=dict)
    user: str | None = None
    """Its own user, once somebody signed in."""
    events: dict[str, tuple[Key, str, int]] = field(default_factory=dict)
    """Owner, name and time of each, by id."""
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

    `returning` are visitors who were here before, `shared` the user ids that everybody is merged into. `unsure` counts deletions that got
    no answer and turned out to be done when they were asked for again; `wrong` describes every answer that should not have been.
    """

    def __init__(self, collector: Collector, shared: Sequence[str], returning: Sequence[Life] = ()) -> None:
        self.collector = collector
        self.shared = shared
        self.lives = list(returning)
        self.done: Counter[str] = Counter()
        self.lost = 0
        self.unsure = 0
        self.wrong: list[str] = []
        self._returning = list(returning)
        self._changed = threading.Condition()
        self._finishing = threading.Event()
        self._given_up = threading.Event()
        self._database = Database(collector.database_url)
        self._threads = [threading.Thread(target=_Actor(self).run, daemon=True) for _ in range(ACTORS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        """Wait until so many more acts are acknowledged than now."""
        with self._changed:
            wanted = self.done.total() + more
            self._wait(lambda: self.done.total() >= wanted, f"{more} more acts")

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
        return f"{dict(self.done)} done, {self.lost} without an answer, {self.unsure} deletions unsure, wrong {self.wrong[:5]}"

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

    def note_lost(self) -> None:
        """Note that a request got no answer."""
        with self._changed:
            self.lost += 1
            self._changed.notify_all()

    def note_unsure(self) -> None:
        """Note that what a deletion without an answer came to was only seen when it was asked for again."""
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
        """Look into the database."""
        with self._database.read() as connection:
            return connection.rows(sql, parameters)

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
        self._client = acts.collector.client
        self._site_key = acts.collector.site_key

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
        acts: list[Callable[[], None]] = [lambda: self.track(life)]
        for _ in range(random.randint(0, 2)):
            acts += [lambda: self.merge(life), lambda: self.track(life), lambda: self.undo(life)]
        ends: list[list[Callable[[], None]]] = [
            [],
            [lambda: self.merge(life), lambda: self.track(life)],
            [lambda: self.delete(life)],
            [lambda: self.sign_in(life)],
            [lambda: self.sign_in(life), lambda: self.undo(life)],
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
        life.events.update({one["id"]: (owner, one["name"], one["at"]) for one in events})
        self._acts.note("track")

    def sign_in(self, life: Life) -> None:
        """Let its page assert a user of its own, who takes the lead in."""
        life.user = f"user-{life.key[1]}"
        self.track(life)
        life.journal.append((life.user, False))

    def merge(self, life: Life) -> None:
        """Merge its lead into a user whom others are merged into as well."""
        user = random.choice(self._acts.shared)
        body = {"from": self._contact(life.key), "into": self._contact((USER, user))}
        self._ask("merge", lambda: self._client.api("POST", "/contacts/merge", body), 200)
        life.journal.append((user, False))
        self._acts.note("merge")

    def undo(self, life: Life) -> None:
        """Undo its merge, which stands in the journal since it was acknowledged."""
        sql = (
            "SELECT m.id FROM merges m JOIN identities i ON i.site = m.site AND i.id = m.lead "
            "WHERE i.kind = 'lead' AND i.value = ? AND m.outcome = 'merged' AND m.undone_at IS NULL"
        )
        found = self._acts.rows(sql, life.key[1])
        if len(found) != 1:
            self._wrong(f"{len(found)} merges in the journal of a lead that was merged")
        self._ask("undo", lambda: self._client.api("POST", f"/merges/{found[0][0]}/undo", {}), 200)
        life.journal[-1] = (life.journal[-1][0], True)
        self._acts.note("undo")

    def delete(self, life: Life) -> None:
        """Delete its person. Asked for again after no answer, it may be gone already."""
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
        found = self._acts.rows("SELECT public_id FROM identities WHERE kind = ? AND value = ?", *key)
        if len(found) != 1:
            self._wrong(f"{len(found)} identities of {key}")
        return str(found[0][0])

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
            again = True
            if not self._acts.rest():
                raise _GaveUp

    def _wrong(self, what: str) -> NoReturn:
        self._acts.blame(what)
        raise _GaveUp


def check_acts(connection: Connection, acts: Acts, others: dict[tuple[Key, str], Total]) -> None:
    """Make sure, once `acts.finish` returned and everything was pruned, that the database holds what was acknowledged, and nothing else.

    `others` are the totals, by identity and name, of those who are nobody's life.
    """
    alive = [life for life in acts.lives if not life.deleted]
    principals = _principals(connection)
    for life in acts.lives:
        if life.deleted:
            assert principals.keys().isdisjoint(life.members), f"deleted and there: {life}"
        else:
            assert principals.keys() >= life.members, f"gone, though nobody deleted it: {life}"
    assert {life.key: principals[life.key] for life in alive} == {life.key: life.place for life in alive}
    assert _journal(connection) == {life.key: life.journal for life in alive if life.journal}

    found = stored(connection)
    assert set(found.values()) <= {1}
    expected_events = {event for life in alive for event in life.events}
    of_deleted = {event for life in acts.lives if life.deleted for event in life.events}
    assert expected_events - found.keys() == set(), "acknowledged, and lost"
    assert found.keys() & of_deleted == set(), "of somebody who was deleted"
    assert found.keys() - expected_events == set(), "nobody sent these"

    expected = dict(others)
    for life in alive:
        expected.update({(life.key, name): total for name, total in life.past.items()})
    for life in alive:
        for owner, name, at in life.events.values():
            count, first, last = expected.get((owner, name), (0, at, at))
            expected[owner, name] = (count + 1, min(first, at), max(last, at))
    assert _totals(connection) == expected


def _principals(connection: Connection) -> dict[Key, Key]:
    sql = "SELECT i.kind, i.value, p.kind, p.value FROM identities i JOIN identities p ON p.site = i.site AND p.id = i.principal_id"
    return {(row[0], row[1]): (row[2], row[3]) for row in connection.rows(sql)}


def _journal(connection: Connection) -> dict[Key, list[tuple[str, bool]]]:
    sql = (
        "SELECT l.kind, l.value, t.value, m.undone_at FROM merges m JOIN identities l ON l.site = m.site AND l.id = m.lead "
        "JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.outcome = 'merged' ORDER BY m.at, m.id"
    )
    found: dict[Key, list[tuple[str, bool]]] = {}
    for kind, value, user, undone_at in connection.rows(sql):
        found.setdefault((kind, value), []).append((user, undone_at is not None))
    return found


def _totals(connection: Connection) -> dict[tuple[Key, str], Total]:
    sql = (
        "SELECT i.kind, i.value, n.text, t.own_count, t.own_first, t.own_last FROM totals t "
        "JOIN identities i ON i.site = t.site AND i.id = t.identity JOIN names n ON n.site = t.site AND n.id = t.name WHERE t.own_count > 0"
    )
    return {((kind, value), name): (count, first, last) for kind, value, name, count, first, last in connection.rows(sql)}
