"""How earlier versions wrote: their statements with their columns, kept as they were when the next version came.

Nothing here is ever brought up to date: a later schema has to take it, because collectors are replaced one after the other.
"""

import base64
import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from collector.storage.database import Connection

MINUTE, DAY = 60_000, 86_400_000
WEEK = 7 * DAY
RETENTION = 90 * DAY
SECRET = "s" * 22
"""The secret half of every lead."""
EMAIL, TRUSTED = 1, 2
"""The number of the standard attribute, and the source of what REST says."""
NAMES = {"page-view": 1001, "saved": 1002, "plan": 1003}
"""The names that a filled database has, with their numbers; `plan` is an attribute."""


class Happened(NamedTuple):
    """An event as the collector took it: 16 bytes of id, name, corrected time in ms."""

    id: bytes
    name: str
    at: int


class Turn(NamedTuple):
    """One turn of a collector: which collector, which of its turns, and when."""

    collector: int
    number: int
    now: int

    def called(self, what: str) -> str:
        """Return a name that is met in this turn only, as long as the public half of a lead."""
        return f"{what}-{self.collector}-{self.number}".ljust(22, "_")


class Site(NamedTuple):
    """The site of a filled database, and what was told when it was made."""

    id: int
    key: str
    token: str


def event_id(at_ms: int) -> bytes:
    """Return a new UUIDv7."""
    return (
        at_ms.to_bytes(6, "big")
        + bytes([0x70 | random.getrandbits(4), random.getrandbits(8), 0x80 | random.getrandbits(6)])
        + secrets.token_bytes(7)
    )


def row_id(now_ms: int) -> int:
    """Return a new row id."""
    return (now_ms - 1_700_000_000_000) << 20 | random.getrandbits(20)


class FirstVersion:
    """The version of schema 1: it closes no slice, deletes nobody, and says of no event when it arrived."""

    schema = 1

    def __init__(self, secret_key: str, now_ms: int) -> None:
        self.secret_key = secret_key
        self.names = dict(NAMES)
        self.site = Site(row_id(now_ms), secrets.token_hex(8), "ll_" + secrets.token_urlsafe(32))
        self.message = row_id(now_ms)
        self._slices: set[int] = set()

    def install(self, tx: Connection, now_ms: int) -> None:
        """Make the slices of the calendar, a site, its names and a message."""
        self.make_slices(tx, now_ms)
        tx.run(
            "INSERT INTO sites (id, site_key, name, origins, time_zone, verification, salt, identity_secrets, settings, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.site.id, self.site.key, "Shop", '["https://shop.example"]', "Europe/Berlin", "optional", secrets.token_bytes(16)),
                *(json.dumps([self.encrypted("an identity secret")]), _SITE_SETTINGS, now_ms),
            ),
        )
        tx.run(
            "INSERT INTO tokens (site, id, digest, name, created_at) VALUES (?, ?, ?, ?, ?)",
            (self.site.id, row_id(now_ms), hashlib.sha256(self.site.token.encode()).digest(), "init", now_ms),
        )
        for text, number in self.names.items():
            tx.run(
                "INSERT INTO names (site, id, kind, text, created_at, browser) VALUES (?, ?, ?, ?, ?, ?)",
                (self.site.id, number, "attribute" if text == "plan" else "event", text, now_ms, 1),
            )
        tx.run(
            "INSERT INTO auto_messages (site, id, public_id, version, state, name, priority, definition, created_at, "
            "updated_at, live_since) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, self.message, "5f" * 12, 1, "live", "Hello", 0, DEFINITION, now_ms, now_ms, now_ms),
        )

    def make_slices(self, tx: Connection, now_ms: int) -> None:
        """Make the weekly tables that the calendar asks for and that are not there."""
        if tx.engine == "postgresql":
            tx.rows("SELECT pg_advisory_xact_lock(?)", (7_305_808_869_229_539,))
        wanted = {0, *range((now_ms - RETENTION) // WEEK, now_ms // WEEK + 3)}
        existing = {row[0] for row in tx.rows("SELECT slice FROM slices WHERE state = 'open'")}
        for number in sorted(wanted - existing):
            if tx.engine == "postgresql":
                tx.run(f"CREATE TABLE events_{number} PARTITION OF events FOR VALUES IN ({number})")
            else:
                tx.run(_SQLITE_SLICE.format(number))
                tx.run(f"CREATE INDEX events_{number}_identity ON events_{number} (site, identity, at)")
            tx.run("INSERT INTO slices (slice, state) VALUES (?, 'open')", (number,))
        if tx.engine == "sqlite" and wanted - existing:
            make_view(tx)
        self._slices = existing | wanted

    def post(self, tx: Connection, kind: str, value: str, events: list[Happened], now_ms: int) -> int:
        """Write what a browser sent for a lead or an unverified user, and return the row id of the identity."""
        identity, principal = self._locked(tx, kind, value, now_ms)
        latest = max(event.at for event in events)
        visit = hashlib.sha256(f"{kind}{value}{latest // DAY}".encode()).digest()[:16]
        tx.run(
            "INSERT INTO visits (site, identity, visit, started_at, ended_at, context) VALUES (?, ?, ?, ?, ?, ?) " + _WIDEN_VISIT,
            (self.site.id, identity, visit, min(event.at for event in events), latest, _PAGE),
        )
        self._be_active(tx, identity, principal, latest // MINUTE * MINUTE)
        counted = []
        for event in sorted(events, key=self._home):
            home = self._home(event)
            other = int.from_bytes(event.id[:6], "big") // WEEK if home == 0 else 0
            if other in self._slices and other != home:
                sql = f"SELECT id FROM events_{other} WHERE site = ? AND slice = ? AND id IN (?)"
                if tx.rows(sql, (self.site.id, other, event.id)):
                    continue
            name = self.names[event.name]
            row = (self.site.id, home, event.id, identity, name, event.at, int(kind == "user"), visit, _PAGE, '{"plan":"pro"}')
            if self._insert_event(tx, home, row, now_ms):
                counted.append(event)
        self._count(tx, identity, principal, counted)
        self._changed(tx, {principal}, now_ms)
        return identity

    def merge(self, tx: Connection, lead: str, user: str, now_ms: int) -> int:
        """Merge a lead into a user and return the row id of the journal's line."""
        keys = {(kind, value): self._made(tx, kind, value, now_ms) for kind, value in (("lead", lead), ("user", user))}
        source, target = keys[("lead", lead)], keys[("user", user)]
        self._lock(tx, {source, target})
        active = tx.value("SELECT active_at FROM identities WHERE site = ? AND id = ?", (self.site.id, source))
        tx.run("UPDATE identities SET principal_id = ? WHERE site = ? AND id = ?", (target, self.site.id, source))
        tx.run(
            "UPDATE identities SET active_at = ? WHERE site = ? AND id = ? AND (active_at IS NULL OR active_at < ?)",
            (active, self.site.id, target, active),
        )
        tx.run(_ABSORB, (target, self.site.id, source))
        tx.run("UPDATE totals SET count = NULL, last = NULL, first = NULL WHERE site = ? AND identity = ?", (self.site.id, source))
        tx.run(
            "UPDATE attributes SET value = NULL, num = NULL, folded = NULL, set_at = NULL, source = NULL WHERE site = ? AND identity = ?",
            (self.site.id, source),
        )
        self._refold(tx, target)
        self._fold_visits(tx, target)
        line = row_id(now_ms)
        tx.run(
            "INSERT INTO merges (site, id, lead, target, outcome, at, by_whom, reason, verified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, line, source, target, "merged", now_ms, "browser", "identify", 0),
        )
        self._changed(tx, {source, target}, now_ms)
        return line

    def refuse(self, tx: Connection, lead: str, user: str, now_ms: int) -> None:
        """Write down that a user claimed a lead that another one has."""
        source, target = (self._made(tx, kind, value, now_ms) for kind, value in (("lead", lead), ("user", user)))
        tx.run(
            "INSERT INTO merges (site, id, lead, target, outcome, at, by_whom, reason, verified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (self.site.id, row_id(now_ms), source, target, "refused", now_ms, "browser", "lead_claimed", 0),
        )

    def set_plan(self, tx: Connection, lead: str, plan: str, at_ms: int) -> None:
        """Set a lead's attribute from its browser."""
        identity, principal = self._locked(tx, "lead", lead, at_ms)
        tx.run(_SET_OWN, (self.site.id, self.names["plan"], identity, json.dumps(plan), at_ms, 1))
        self._refold(tx, principal)
        self._changed(tx, {principal}, at_ms)

    def show(self, tx: Connection, lead: str, now_ms: int) -> None:
        """Write down that the message was shown to a lead, seen and clicked."""
        identity = self._made(tx, "lead", lead, now_ms)
        self._claim(tx, identity, now_ms)
        self._report(tx, identity, now_ms, "seen_at", "clicked_at")
        tx.run(
            "INSERT INTO delivery_links (site, identity, message, n, link, clicked_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self.site.id, identity, self.message, 1, "https://shop.example/call", now_ms),
        )

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        """Return what a collector does beside in each of its turns, each in a transaction: whatever else this version writes."""
        return [self.allocate, self.import_totals, self.change_settings, self.make_contact, self.prove, self.part, self.edit]

    def allocate(self, tx: Connection, turn: Turn) -> None:
        """Give a new name a number."""
        tx.run(
            "INSERT INTO names (site, id, kind, text, created_at, browser) VALUES (?, ?, ?, ?, ?, ?)",
            (self.site.id, row_id(turn.now), "event", turn.called("name"), turn.now, 1),
        )

    def import_totals(self, tx: Connection, turn: Turn) -> None:
        """Write what REST says that somebody did elsewhere."""
        identity, principal = self._locked(tx, "user", turn.called("imported"), turn.now)
        key = (self.site.id, self.names["saved"])
        tx.run(
            "INSERT INTO totals (site, name, identity, own_count, own_first, own_last, imported_count, imported_first, imported_last) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) " + _IMPORT,
            (*key, identity, *(7, turn.now - DAY, turn.now) * 2),
        )
        tx.run(
            "INSERT INTO totals (site, name, identity, count, first, last) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (site, name, identity) "
            "DO UPDATE SET count = excluded.count, first = excluded.first, last = excluded.last",
            (*key, principal, 7, turn.now - DAY, turn.now),
        )
        self._changed(tx, {principal}, turn.now)

    def change_settings(self, tx: Connection, turn: Turn) -> None:
        """Lock the site and change it."""
        tx.run("UPDATE sites SET settings = settings WHERE id = ?", (self.site.id,))
        tx.run("UPDATE sites SET settings = ? WHERE id = ?", (_SITE_SETTINGS, self.site.id))

    def make_contact(self, tx: Connection, turn: Turn) -> None:
        """Make a contact whom REST knows by an address."""
        address = f"{turn.called('contact')}@shop.example"
        identity, _ = self._locked(tx, "email", address, turn.now)
        self._set_email(tx, identity, address, turn.now)
        self._changed(tx, {identity}, turn.now)

    def prove(self, tx: Connection, turn: Turn) -> None:
        """Note that a user's id was proved."""
        identity, _ = self._locked(tx, "user", "eve", turn.now)
        tx.run("UPDATE identities SET verified = 1 WHERE site = ? AND id = ?", (self.site.id, identity))

    def part(self, tx: Connection, turn: Turn) -> None:
        """Undo a merge."""
        self.undo(tx, self.merge(tx, turn.called("parted"), turn.called("alone"), turn.now), turn.now)

    def undo(self, tx: Connection, line: int, now_ms: int) -> None:
        """Undo the merge of a lead that did nothing."""
        source, target = tx.row("SELECT lead, target FROM merges WHERE site = ? AND id = ?", (self.site.id, line)) or (0, 0)
        self._lock(tx, {source, target})
        self._mark_undone(tx, line, now_ms)
        tx.run("UPDATE identities SET principal_id = id WHERE site = ? AND id = ?", (self.site.id, source))
        for person in (source, target):
            tx.run(
                "UPDATE identities SET active_at = (SELECT max(own_active_at) FROM identities WHERE site = ? AND principal_id = ?) "
                "WHERE site = ? AND id = ?",
                (self.site.id, person, self.site.id, person),
            )
            self._fold_visits(tx, person)
        self._changed(tx, {source, target}, now_ms)

    def _mark_undone(self, tx: Connection, line: int, now_ms: int) -> None:
        tx.run("UPDATE merges SET undone_at = ?, blocked = 1 WHERE site = ? AND id = ?", (now_ms, self.site.id, line))

    def edit(self, tx: Connection, turn: Turn) -> None:
        """Make a message, change it and delete it."""
        message = row_id(turn.now)
        tx.run(
            "INSERT INTO auto_messages (site, id, public_id, version, state, name, priority, definition, created_at, updated_at, "
            "live_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, message, secrets.token_hex(12), 1, "draft", "Draft", 0, DEFINITION, turn.now, turn.now, None),
        )
        self._replace(tx, message, turn.now)
        self._delete_message(tx, message)

    def _replace(self, tx: Connection, message: int, now_ms: int) -> None:
        tx.run(
            "UPDATE auto_messages SET version = ?, state = ?, name = ?, priority = ?, definition = ?, updated_at = ?, live_since = ? "
            "WHERE site = ? AND id = ?",
            (2, "draft", "Draft", 0, DEFINITION, now_ms, None, self.site.id, message),
        )

    def _delete_message(self, tx: Connection, message: int) -> None:
        tx.run("DELETE FROM auto_messages WHERE site = ? AND id = ?", (self.site.id, message))

    def _claim(self, tx: Connection, identity: int, now_ms: int, **newer: Any) -> None:
        """Grant a message; `newer` are columns of later versions."""
        row = {"site": self.site.id, "identity": identity, "message": self.message, "n": 1, "version": 1, "arm": "shown"}
        row |= {"nonce": secrets.token_urlsafe(16), "claimed_at": now_ms, "event": None, "view": event_id(now_ms), "seen_at": None}
        row |= {"clicked_at": None, "answered_at": None, "dismissed_at": None, "goal_at": None, **newer}
        tx.run(f"INSERT INTO deliveries ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))

    def _report(self, tx: Connection, identity: int, at: int, *columns: str) -> None:
        for column in columns:
            tx.run(
                f"UPDATE deliveries SET {column} = ? WHERE site = ? AND identity = ? AND message = ? AND n = ? "
                f"AND ({column} IS NULL OR {column} > ?)",
                (at, self.site.id, identity, self.message, 1, at),
            )

    def _set_email(self, tx: Connection, identity: int, address: str, at: int) -> None:
        tx.run(_SET_OWN, (self.site.id, EMAIL, identity, json.dumps(address), at, TRUSTED))
        tx.run(_SET_PERSONS, (self.site.id, EMAIL, identity, json.dumps(address), None, address, at, TRUSTED))

    def encrypted(self, text: str) -> str:
        """Return a text as it is kept where it has to be read again."""
        key = base64.urlsafe_b64encode(hashlib.sha256(b"leadlight.encrypt:" + self.secret_key.encode()).digest())
        return Fernet(key).encrypt(text.encode()).decode()

    def mac(self, text: str) -> bytes:
        """Return the digest that a tombstone keeps: of `KIND:VALUE`, or of what marks an address."""
        return hmac.new(self.secret_key.encode(), f"leadlight.tombstone:{self.site.id}:{text}".encode(), hashlib.sha256).digest()

    def _home(self, event: Happened) -> int:
        at = int.from_bytes(event.id[:6], "big")
        return at // WEEK if abs(at - event.at) <= DAY and at // WEEK in self._slices else 0

    def _made(self, tx: Connection, kind: str, value: str, now_ms: int) -> int:
        find = "SELECT id FROM identities WHERE site = ? AND kind = ? AND value IN (?)"
        known: int | None = tx.value(find, (self.site.id, kind, value))
        if known is None:
            number = row_id(now_ms)
            secret = hashlib.sha256(SECRET.encode()).digest() if kind == "lead" else None
            self._insert_identity(tx, (self.site.id, number, kind, value, value, secret, secrets.token_hex(12), number, now_ms))
            known = int(tx.value(find, (self.site.id, kind, value)))
            if kind == "user":
                tx.run("UPDATE identities SET unverified_at = ? WHERE site = ? AND id = ?", (now_ms, self.site.id, known))
        return known

    def _insert_identity(self, tx: Connection, row: tuple[Any, ...]) -> None:
        tx.run(
            "INSERT INTO identities (site, id, kind, value, folded, secret_hash, public_id, principal_id, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row,
        )

    def _be_active(self, tx: Connection, identity: int, principal: int, at: int) -> None:
        for column, number in (("own_active_at", identity), ("active_at", principal)):
            sql = f"UPDATE identities SET {column} = ? WHERE site = ? AND id = ? AND ({column} IS NULL OR {column} < ?)"
            tx.run(sql, (at, self.site.id, number, at))

    def _fold_visits(self, tx: Connection, person: int) -> None:
        """What a person's visits add up to is not kept yet."""

    def _insert_event(self, tx: Connection, home: int, row: tuple[Any, ...], now_ms: int) -> bool:
        sql = f"INSERT INTO events_{home} ({EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id"
        return bool(tx.rows(sql, row))

    def _changed(self, tx: Connection, people: set[int], now_ms: int) -> None:
        """Nobody is told yet whose numbers a transaction changed."""

    def _lock(self, tx: Connection, numbers: set[int]) -> None:
        marks = ", ".join("?" * len(numbers))
        tx.rows(
            "SELECT id, principal_id FROM identities WHERE site = ? "
            f"AND id IN ({marks}) ORDER BY id{' FOR NO KEY UPDATE' if tx.engine == 'postgresql' else ''}",
            (self.site.id, *sorted(numbers)),
        )

    def _locked(self, tx: Connection, kind: str, value: str, now_ms: int) -> tuple[int, int]:
        identity = self._made(tx, kind, value, now_ms)
        principal_of = "SELECT principal_id FROM identities WHERE site = ? AND id = ?"
        principal = tx.value(principal_of, (self.site.id, identity))
        while True:
            self._lock(tx, {identity, principal})
            present = tx.value(principal_of, (self.site.id, identity))
            if present == principal:
                return identity, principal
            principal = present

    def _count(self, tx: Connection, identity: int, principal: int, events: list[Happened]) -> None:
        rows: dict[tuple[int, int], list[Any]] = {}
        for event in events:
            for number, columns in ((identity, (3, 4, 5)), (principal, (0, 1, 2))):
                row = rows.setdefault((self.names[event.name], number), [None, None, None, 0, None, None])
                count, last, first = columns
                row[count] = (row[count] or 0) + 1
                row[last] = event.at if row[last] is None else max(row[last], event.at)
                row[first] = event.at if row[first] is None else min(row[first], event.at)
        for (name, number), row in sorted(rows.items()):
            tx.run(
                "INSERT INTO totals (site, name, identity, count, last, first, own_count, own_last, own_first) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) " + _COUNT,
                (self.site.id, name, number, *row),
            )

    def _refold(self, tx: Connection, principal: int) -> None:
        """Work out the person's plan; here only leads have one of their own."""
        rows = tx.rows(
            "SELECT a.own_source, a.own_at, a.own_value FROM attributes a JOIN identities i ON i.site = a.site AND i.id = a.identity "
            "WHERE a.site = ? AND a.attr IN (?) AND i.principal_id = ? AND a.own_value IS NOT NULL",
            (self.site.id, self.names["plan"], principal),
        )
        if rows:
            source, at, value = max(rows)
            tx.run(_SET_PERSONS, (self.site.id, self.names["plan"], principal, value, None, json.loads(value), at, source))


def make_view(tx: Connection) -> None:
    """Make SQLite's view of the timeline anew, over the weeks that have a table."""
    tx.run("DROP VIEW IF EXISTS events")
    numbers = [row[0] for row in tx.rows("SELECT slice FROM slices WHERE state IN ('open', 'closed') ORDER BY slice")]
    tx.run("CREATE VIEW events AS " + " UNION ALL ".join(f"SELECT {EVENT} FROM events_{number}" for number in numbers))


EVENT = "site, slice, id, identity, name, at, unverified, visit, page, metadata"
_SQLITE_SLICE = """CREATE TABLE events_{} (
    site BIGINT NOT NULL, slice BIGINT NOT NULL, id BLOB NOT NULL, identity BIGINT NOT NULL, name BIGINT NOT NULL,
    at BIGINT NOT NULL, unverified SMALLINT NOT NULL, visit BLOB, page TEXT, metadata TEXT,
    PRIMARY KEY (site, slice, id)) WITHOUT ROWID"""
_PAGE = '{"url":"https://shop.example/","path":"/","title":"Shop"}'
_SITE_SETTINGS = '{"unknown_origins":"refuse","create_contacts":false,"message_gap":600000,"messages_per_day":3,"messages_paused":false}'
DEFINITION = json.dumps(
    {
        "name": "Hello",
        "type": "popup",
        "state": "live",
        "content": {"body": "Hello", "buttons": [{"label": "Call", "action": "url", "url": "https://shop.example/call"}]},
        "audience": {"event": "saved", "field": "count", "operator": ">", "value": 2},
        "frequency": {"type": "once"},
    }
)
_SET_OWN = """INSERT INTO attributes (site, attr, identity, own_value, own_at, own_source) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (site, attr, identity) DO UPDATE SET own_value = excluded.own_value, own_at = excluded.own_at,
own_source = excluded.own_source"""
_SET_PERSONS = """INSERT INTO attributes (site, attr, identity, value, num, folded, set_at, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (site, attr, identity) DO UPDATE SET value = excluded.value, num = excluded.num, folded = excluded.folded,
set_at = excluded.set_at, source = excluded.source"""
_IMPORT = """ON CONFLICT (site, name, identity) DO UPDATE SET own_count = totals.own_count - totals.imported_count + excluded.own_count,
own_first = excluded.own_first, own_last = excluded.own_last, imported_count = excluded.imported_count,
imported_first = excluded.imported_first, imported_last = excluded.imported_last"""
_WIDEN_VISIT = """ON CONFLICT (site, identity, visit) DO UPDATE SET
context = CASE WHEN excluded.started_at < visits.started_at THEN excluded.context ELSE visits.context END,
started_at = lesser(visits.started_at, excluded.started_at), ended_at = larger(visits.ended_at, excluded.ended_at)"""
_COUNT = """ON CONFLICT (site, name, identity) DO UPDATE SET
count = CASE WHEN excluded.count IS NULL THEN totals.count ELSE coalesce(totals.count, 0) + excluded.count END,
last = larger(coalesce(totals.last, excluded.last), coalesce(excluded.last, totals.last)),
first = lesser(coalesce(totals.first, excluded.first), coalesce(excluded.first, totals.first)),
own_count = totals.own_count + excluded.own_count,
own_last = larger(coalesce(totals.own_last, excluded.own_last), coalesce(excluded.own_last, totals.own_last)),
own_first = lesser(coalesce(totals.own_first, excluded.own_first), coalesce(excluded.own_first, totals.own_first))"""
_ABSORB = """INSERT INTO totals (site, name, identity, count, last, first)
SELECT site, name, CAST(? AS BIGINT), count, last, first FROM totals WHERE site = ? AND identity = ? AND count IS NOT NULL
ORDER BY name ON CONFLICT (site, name, identity) DO UPDATE SET count = coalesce(totals.count, 0) + excluded.count,
last = larger(coalesce(totals.last, excluded.last), coalesce(excluded.last, totals.last)),
first = lesser(coalesce(totals.first, excluded.first), coalesce(excluded.first, totals.first))"""
