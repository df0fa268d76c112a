"""An installation that was upgraded at each step: its site from the first version on, and how the versions after that added to it.

What each of them wrote beside that stands in `later`. Nothing here is ever brought up to date: a later schema has to take it.
"""

import hashlib
import json
import secrets
from typing import Any

from collector.storage.database import Connection
from tests.storage.earlier import DAY, EMAIL, EVENT, MINUTE, TRUSTED, WEEK, FirstVersion, Happened, event_id, row_id

LINK = "https://shop.example/call"


def lead_id(name: str) -> str:
    """The public half of a browser's lead."""
    return name.ljust(22, "_")


def page(path: str) -> str:
    """A page of the shop, as events keep it."""
    return json.dumps({"url": f"https://shop.example{path}", "path": path, "title": "Shop"}, separators=(",", ":"))


class Grown(FirstVersion):
    """A site, its people, and their row ids by name.

    `kim` is a user with a `phone`, `lone` a lead of nobody, `pat` a contact that REST made and imported totals for; `uma` has two leads
    that were hers by mistake. Schema 2 deletes `gone` with `gone-phone`, schema 9 the contact `max`.
    """

    def __init__(self, secret_key: str, now_ms: int) -> None:
        super().__init__(secret_key, now_ms)
        self.now = now_ms
        self.people: dict[str, int] = {}
        self.salt = b""
        self.handover = secrets.token_urlsafe(16)
        self.messages: dict[str, str] = {}
        """Public ids by name."""

    def begin(self, tx: Connection) -> None:
        """Do what the version of schema 1 did in 17 weeks: none of its slices was ever closed."""
        now = self.now
        self.install(tx, now - 5 * WEEK)
        self.make_slices(tx, now)
        self.salt = bytes(tx.value("SELECT salt FROM sites WHERE id = ?", (self.site.id,)))
        self.messages["Hello"] = tx.value("SELECT public_id FROM auto_messages WHERE site = ? AND id = ?", (self.site.id, self.message))
        for weeks in (17, 16, 15):
            self._come(tx, (now // WEEK - weeks) * WEEK + 3 * DAY)
        for days in (60, 31, 8, 0):
            self._come(tx, now - days * DAY - 10 * MINUTE)
        for days in (31, 8):
            at = now - days * DAY
            self.people["gone-phone"] = self.post(tx, "lead", lead_id("gone-phone"), tracked("page-view", "saved", at=at), at)
            self.people["gone"] = self.post(tx, "user", "gone", tracked("saved", at=at), at)
        self.people["uma"] = self.post(tx, "user", "uma", tracked("page-view", "saved", at=now - 8 * DAY), now - 8 * DAY)
        lies = Happened(event_id(now + 900 * DAY), "saved", now - 8 * DAY)  # an id of another time than the corrected one
        self.post(tx, "lead", lead_id("lone"), [lies], now - 8 * DAY)
        self.merge(tx, lead_id("phone"), "kim", now - 60 * DAY)
        self.merge(tx, lead_id("gone-phone"), "gone", now - 8 * DAY)
        self.refuse(tx, lead_id("phone"), "uma", now - 8 * DAY)
        self.merge_by_mistake(tx, "tablet", "uma", now - 8 * DAY)
        self.set_plan(tx, lead_id("phone"), "pro", now - 60 * DAY)
        self.set_plan(tx, lead_id("lone"), "free", now - 8 * DAY)
        self.show(tx, lead_id("phone"), now - 8 * DAY)
        self.deliver(tx, "lone", self.message, now - 8 * DAY, event=event_id(now), seen_at=now - 8 * DAY, dismissed_at=now - 7 * DAY)
        self._contacts(tx)
        self._operator(tx)

    def _come(self, tx: Connection, at: int) -> None:
        self.people["phone"] = self.post(tx, "lead", lead_id("phone"), tracked("page-view", "saved", "saved", at=at), at)
        self.people["kim"] = self.post(tx, "user", "kim", tracked("saved", at=at), at)
        self.people["lone"] = self.post(tx, "lead", lead_id("lone"), tracked("page-view", at=at), at)

    def _contacts(self, tx: Connection) -> None:
        at = self.now - 31 * DAY
        for name, address in (("pat", "pat.old@example.com"), ("max", "max@example.com")):
            number = self.people[name] = row_id(at)
            tx.run(
                "INSERT INTO identities (site, id, kind, value, folded, secret_hash, public_id, principal_id, created_at, not_before) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.site.id, number, "email", address, address, None, secrets.token_hex(12), number, at, 0),
            )
            self.set_attribute(tx, EMAIL, name, address, at, TRUSTED)
        self.name(tx, "custom_attributes.seats", 1004, "attribute")
        self.set_attribute(tx, 1004, "pat", 12, at, TRUSTED)
        tx.run(
            "INSERT INTO totals (site, name, identity, count, last, first, own_count, own_last, own_first, "
            "imported_count, imported_last, imported_first) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, self.names["saved"], self.people["pat"], *(7, at, at - 400 * DAY) * 3),
        )

    def _operator(self, tx: Connection) -> None:
        account = row_id(self.now)
        tx.run(
            "INSERT INTO accounts (id, email, password_hash, operator, created_at) VALUES (?, ?, ?, ?, ?)",
            (account, "operator@shop.example", "scrypt:32768:8:1$c2FsdA$" + "0" * 128, 0, self.now),
        )
        tx.run("INSERT INTO account_sites (account, site) VALUES (?, ?) ON CONFLICT DO NOTHING", (account, self.site.id))
        tx.run(
            "INSERT INTO tokens (site, id, digest, name, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?)",
            (self.site.id, row_id(self.now), secrets.token_bytes(32), "lost", self.now - DAY, self.now),
        )

    def ended(self, number: int) -> None:
        """Note that a slice takes nothing any more."""
        self._slices.discard(number)

    def name(self, tx: Connection, text: str, number: int, kind: str = "event") -> None:
        """Allocate a name."""
        self.names[text] = number
        tx.run(
            "INSERT INTO names (site, id, kind, text, created_at, browser) VALUES (?, ?, ?, ?, ?, ?)",
            (self.site.id, number, kind, text, self.now - DAY, 0),
        )

    def set_attribute(self, tx: Connection, attr: int, who: str, value: Any, at: int, source: int) -> None:
        """Set an attribute of somebody who is one identity: their own half of the row, and the person's."""
        text, number, folded = json.dumps(value), None, value.casefold() if isinstance(value, str) else None
        if folded is None:
            number = float(value)
        tx.run(
            "INSERT INTO attributes (site, attr, identity, value, num, folded, set_at, source, own_value, own_at, own_source) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (site, attr, identity) DO UPDATE SET value = excluded.value, "
            "num = excluded.num, folded = excluded.folded, set_at = excluded.set_at, source = excluded.source, "
            "own_value = excluded.own_value, own_at = excluded.own_at, own_source = excluded.own_source",
            (self.site.id, attr, self.people[who], text, number, folded, at, source, text, at, source),
        )

    def merge_by_mistake(self, tx: Connection, lead: str, user: str, at: int, by: str | None = None) -> None:
        """Merge a lead that did nothing yet into a user, and undo it; `by` says who did, which schema 1 has no column for."""
        line = self.merge(tx, lead_id(lead), user, at)
        number = tx.value("SELECT lead FROM merges WHERE site = ? AND id = ?", (self.site.id, line))
        self.people[lead] = number
        tx.run("UPDATE merges SET undone_at = ?, blocked = 1 WHERE site = ? AND id = ?", (at + MINUTE, self.site.id, line))
        if by is not None:
            tx.run("UPDATE merges SET undone_by = ? WHERE site = ? AND id = ?", (by, self.site.id, line))
        tx.run("UPDATE identities SET principal_id = id WHERE site = ? AND id = ?", (self.site.id, number))

    def last_seen(self, tx: Connection, who: str) -> int:
        """Return when an identity's latest visit ended (ms): what happens then widens nothing."""
        return int(tx.value("SELECT max(ended_at) FROM visits WHERE site = ? AND identity = ?", (self.site.id, self.people[who])))

    def happens(
        self,
        tx: Connection,
        identity: int,
        name: str,
        at: int,
        *,
        view: str | None = None,
        told: str | None = None,
        number: bytes = b"",
    ) -> bytes:
        """Write an event of an identity that was there then, count it, and return its id."""
        event = Happened(number or event_id(at), name, at)
        kind, principal = tx.row("SELECT kind, principal_id FROM identities WHERE site = ? AND id = ?", (self.site.id, identity)) or ("", 0)
        visit = "SELECT visit FROM visits WHERE site = ? AND identity = ? AND started_at <= ? AND ended_at >= ?"
        home = self._home(event)
        columns, marks = EVENT, "?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
        row = [self.site.id, home, event.id, identity, self.names[name], at, int(kind == "user")]
        row += [tx.value(visit, (self.site.id, identity, at, at)), view, told]
        if home == 0:  # since schema 2
            columns, marks, row = f"{columns}, arrived_at", f"{marks}, ?", [*row, self.now - 2 * DAY]
        tx.run(f"INSERT INTO events_{home} ({columns}) VALUES ({marks})", row)
        self._count(tx, identity, principal, [event])
        return event.id

    def deliver(self, tx: Connection, who: str, message: int, at: int, **columns: Any) -> None:
        """Write down that somebody claimed a message; `columns` are what became of it."""
        delivery = {"site": self.site.id, "identity": self.people[who], "message": message, "n": 1, "version": 1, "arm": "shown"}
        delivery |= {"nonce": secrets.token_urlsafe(16), "claimed_at": at, "view": event_id(at), **columns}
        tx.run(f"INSERT INTO deliveries ({', '.join(delivery)}) VALUES ({', '.join('?' * len(delivery))})", list(delivery.values()))

    def create_message(self, tx: Connection, definition: dict[str, Any], at: int) -> int:
        """Write a message and return its row id."""
        number, public_id = row_id(at), secrets.token_hex(12)
        self.messages[definition["name"]] = public_id
        tx.run(
            "INSERT INTO auto_messages (site, id, public_id, version, state, name, priority, definition, created_at, "
            "updated_at, live_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.site.id, number, public_id, 1, "live", definition["name"], 0, json.dumps(definition), at, at, at),
        )
        return number

    def derived_id(self, at: int, *parts: bytes) -> bytes:
        """Return the id of an event that the collector makes itself, for a time and what makes it what it is."""
        digest = hashlib.blake2b(key=self.salt, digest_size=10)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return at.to_bytes(6, "big") + digest.digest()


def tracked(*names: str, at: int) -> list[Happened]:
    """Events one after the other, a millisecond apart."""
    return [Happened(event_id(at + place), name, at + place) for place, name in enumerate(names)]
