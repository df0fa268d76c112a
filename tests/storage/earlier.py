"""How earlier versions wrote: their statements with their columns, kept as they were when the next version came.

Nothing here is ever brought up to date: a later schema has to take it, because collectors are replaced one after the other.
"""

import base64
import hashlib
import json
import random
import secrets
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from collector.storage.database import Connection

MINUTE, DAY = 60_000, 86_400_000
WEEK = 7 * DAY
RETENTION = 90 * DAY
SECRET = "s" * 22
"""The secret half of every lead."""
NAMES = {"page-view": 1001, "saved": 1002, "plan": 1003}
"""The names that a filled database has, with their numbers; `plan` is an attribute."""


class Happened(NamedTuple):
    """An event as the collector took it: 16 bytes of id, name, corrected time in ms."""

    id: bytes
    name: str
    at: int


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
        key = base64.urlsafe_b64encode(hashlib.sha256(b"leadlight.encrypt:" + self.secret_key.encode()).digest())
        tx.run(
            "INSERT INTO sites (id, site_key, name, origins, time_zone, verification, salt, identity_secrets, settings, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.site.id, self.site.key, "Shop", '["https://shop.example"]', "Europe/Berlin", "optional", secrets.token_bytes(16)),
                *(json.dumps([Fernet(key).encrypt(b"an identity secret").decode()]), _SITE_SETTINGS, now_ms),
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
            (self.site.id, self.message, "5f" * 12, 1, "live", "Hello", 0, _DEFINITION, now_ms, now_ms, now_ms),
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
            tx.run("DROP VIEW IF EXISTS events")
            parts = [f"SELECT {EVENT} FROM events_{number}" for number in sorted(existing | wanted)]
            tx.run("CREATE VIEW events AS " + " UNION ALL ".join(parts))
        self._slices = existing | wanted

    def post(self, tx: Connection, kind: str, value: str, events: list[Happened], now_ms: int) -> int:
        """Write what a browser sent for a lead or an unverified user, and return the row id of the identity."""
        identity, principal = self._locked(tx, kind, value, now_ms)
        latest = max(event.at for event in events)
        for column, number in (("own_active_at", identity), ("active_at", principal)):
            at = latest // MINUTE * MINUTE
            sql = f"UPDATE identities SET {column} = ? WHERE site = ? AND id = ? AND ({column} IS NULL OR {column} < ?)"
            tx.run(sql, (at, self.site.id, number, at))
        visit = hashlib.sha256(f"{kind}{value}{latest // DAY}".encode()).digest()[:16]
        tx.run(
            "INSERT INTO visits (site, identity, visit, started_at, ended_at, context) VALUES (?, ?, ?, ?, ?, ?) " + _WIDEN_VISIT,
            (self.site.id, identity, visit, min(event.at for event in events), latest, _PAGE),
        )
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
            sql = f"INSERT INTO events_{home} ({EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id"
            if tx.rows(sql, row):
                counted.append(event)
        self._count(tx, identity, principal, counted)
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
        line = row_id(now_ms)
        tx.run(
            "INSERT INTO merges (site, id, lead, target, outcome, at, by_whom, reason, verified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, line, source, target, "merged", now_ms, "browser", "identify", 0),
        )
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
        tx.run(
            "INSERT INTO attributes (site, attr, identity, own_value, own_at, own_source) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (site, attr, identity) DO UPDATE SET own_value = excluded.own_value, own_at = excluded.own_at, "
            "own_source = excluded.own_source",
            (self.site.id, self.names["plan"], identity, json.dumps(plan), at_ms, 1),
        )
        self._refold(tx, principal)

    def show(self, tx: Connection, lead: str, now_ms: int) -> None:
        """Write down that the message was shown to a lead, seen and clicked."""
        identity = self._made(tx, "lead", lead, now_ms)
        tx.run(
            "INSERT INTO deliveries (site, identity, message, n, version, arm, nonce, claimed_at, event, view, seen_at, clicked_at, "
            "answered_at, dismissed_at, goal_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.site.id, identity, self.message, 1, 1, "shown", secrets.token_urlsafe(16), now_ms, None, event_id(now_ms)),
                *(now_ms, now_ms, None, None, None),
            ),
        )
        tx.run(
            "INSERT INTO delivery_links (site, identity, message, n, link, clicked_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self.site.id, identity, self.message, 1, "https://shop.example/call", now_ms),
        )

    def _home(self, event: Happened) -> int:
        at = int.from_bytes(event.id[:6], "big")
        return at // WEEK if abs(at - event.at) <= DAY and at // WEEK in self._slices else 0

    def _made(self, tx: Connection, kind: str, value: str, now_ms: int) -> int:
        find = "SELECT id FROM identities WHERE site = ? AND kind = ? AND value IN (?)"
        known: int | None = tx.value(find, (self.site.id, kind, value))
        if known is None:
            number = row_id(now_ms)
            secret = hashlib.sha256(SECRET.encode()).digest() if kind == "lead" else None
            tx.run(
                "INSERT INTO identities (site, id, kind, value, folded, secret_hash, public_id, principal_id, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (self.site.id, number, kind, value, value, secret, secrets.token_hex(12), number, now_ms),
            )
            known = int(tx.value(find, (self.site.id, kind, value)))
            if kind == "user":
                tx.run("UPDATE identities SET unverified_at = ? WHERE site = ? AND id = ?", (now_ms, self.site.id, known))
        return known

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
            tx.run(
                "INSERT INTO attributes (site, attr, identity, value, num, folded, set_at, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (site, attr, identity) DO UPDATE SET value = excluded.value, num = excluded.num, folded = excluded.folded, "
                "set_at = excluded.set_at, source = excluded.source",
                (self.site.id, self.names["plan"], principal, value, None, json.loads(value), at, source),
            )


VERSIONS = (FirstVersion,)


def writer_of(schema: int) -> type[FirstVersion]:
    """Return the version that ran on a schema; of several steps that came with one version, the first ones had that before it."""
    return max((version for version in VERSIONS if version.schema <= schema), key=lambda version: version.schema)


EVENT = "site, slice, id, identity, name, at, unverified, visit, page, metadata"
_SQLITE_SLICE = """CREATE TABLE events_{} (
    site BIGINT NOT NULL, slice BIGINT NOT NULL, id BLOB NOT NULL, identity BIGINT NOT NULL, name BIGINT NOT NULL,
    at BIGINT NOT NULL, unverified SMALLINT NOT NULL, visit BLOB, page TEXT, metadata TEXT,
    PRIMARY KEY (site, slice, id)) WITHOUT ROWID"""
_PAGE = '{"url":"https://shop.example/","path":"/","title":"Shop"}'
_SITE_SETTINGS = '{"unknown_origins":"refuse","create_contacts":false,"message_gap":600000,"messages_per_day":3,"messages_paused":false}'
_DEFINITION = json.dumps(
    {
        "name": "Hello",
        "type": "popup",
        "state": "live",
        "content": {"body": "Hello", "buttons": [{"label": "Call", "action": "url", "url": "https://shop.example/call"}]},
        "audience": {"event": "saved", "field": "count", "operator": ">", "value": 2},
        "frequency": {"type": "once"},
    }
)
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
