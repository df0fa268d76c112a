"""The versions after the first, each with what it was the first to write, or wrote otherwise than the one before.

They write like `earlier.FirstVersion`, and nothing here is brought up to date either: what the product writes next is a version more.
The newest one stands for the product as it is (`test_one_site` holds it to that), so that it is there when the next step comes.
"""

import json
import secrets
import struct
from collections.abc import Callable
from typing import Any

from collector.storage.database import Connection
from tests.storage.earlier import DAY, DEFINITION, EVENT, MINUTE, FirstVersion, Happened, Turn, event_id, row_id
from tests.storage.weeks import add_to_base, close_due, drop_week

HOUR = 3_600_000
_SEEN = {"field": "path", "operator": "is", "value": "/of-nobody"}


class PruningVersion(FirstVersion):
    """Schema 2: weeks are pruned, people deleted; it says who undid a merge, when what lies in the overflow arrived, who comes again."""

    schema = 2
    of_people: tuple[str, ...] = ("visits", "totals", "attributes", "deliveries", "delivery_links")
    """What goes with somebody who is deleted."""

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.delete, self.wipe, self.prune]

    def delete(self, tx: Connection, turn: Turn) -> None:
        """Delete somebody with a browser; the events stay for `wipe`."""
        lead, user = turn.called("left"), turn.called("leaver")
        members = {self.post(tx, "lead", lead, [Happened(event_id(turn.now), "saved", turn.now)], turn.now)}
        self.merge(tx, lead, user, turn.now)
        members.add(self._made(tx, "user", user, turn.now))
        for mac in self._macs(lead, user):
            tx.run(
                "INSERT INTO tombstones (site, mac, at) VALUES (?, ?, ?) "
                "ON CONFLICT (site, mac) DO UPDATE SET at = larger(tombstones.at, excluded.at)",
                (self.site.id, mac, turn.now),
            )
        for number in sorted(members):
            tx.run("INSERT INTO deletions (site, identity, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (self.site.id, number, turn.now))
            for table in self.of_people:
                tx.run(f"DELETE FROM {table} WHERE site = ? AND identity = ?", (self.site.id, number))
            tx.run("DELETE FROM merges WHERE site = ? AND outcome = 'merged' AND (lead = ? OR target = ?)", (self.site.id, number, number))
            tx.run("DELETE FROM identities WHERE site = ? AND id = ?", (self.site.id, number))
        self._changed(tx, members, turn.now)

    def _macs(self, lead: str, user: str) -> list[bytes]:
        return [self.mac(f"lead:{lead}"), self.mac(f"user:{user}")]

    def wipe(self, tx: Connection, turn: Turn) -> None:
        """Wipe what is left of somebody who was deleted, and was here today: no week that ended holds any of it."""
        lock = " FOR NO KEY UPDATE" if tx.engine == "postgresql" else ""
        identity = tx.value(f"SELECT identity FROM deletions WHERE site = ? ORDER BY identity LIMIT 1{lock}", (self.site.id,))
        if identity is None:
            return
        for (number,) in tx.rows("SELECT slice FROM slices WHERE state = 'open' ORDER BY slice"):
            tx.run(f"DELETE FROM events_{number} WHERE site = ? AND slice = ? AND identity = ?", (self.site.id, number, identity))
        tx.run("DELETE FROM merges WHERE site = ? AND (lead = ? OR target = ?)", (self.site.id, identity, identity))
        tx.run("DELETE FROM deletions WHERE site = ? AND identity = ?", (self.site.id, identity))

    def prune(self, tx: Connection, turn: Turn) -> None:
        """Close weeks, else move what an identity did in one, else drop one of which all was moved. One collector is enough for it."""
        if turn.collector or close_due(tx, turn.now):
            return
        lock = " FOR UPDATE" if tx.engine == "postgresql" else ""
        week = tx.value(f"SELECT slice FROM slices WHERE state = 'closed' ORDER BY slice LIMIT 1{lock}")
        for (site,) in tx.rows("SELECT id FROM sites ORDER BY id") if week is not None else ():
            tx.run("INSERT INTO slice_sites (site, slice, moved) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (site, week, -1))
            before = tx.value("SELECT moved FROM slice_sites WHERE site = ? AND slice = ?", (site, week))
            upto = tx.value(f"SELECT min(identity) FROM events_{week} WHERE site = ? AND identity > ?", (site, before))
            if upto is not None:
                add_to_base(tx, site, week, before, upto)
                tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", (upto, site, week))
                return
        if week is not None:
            drop_week(tx, week)
            tx.run("DELETE FROM slice_sites WHERE slice = ?", (week,))

    def _insert_identity(self, tx: Connection, row: tuple[Any, ...]) -> None:
        tx.run(
            "INSERT INTO identities (site, id, kind, value, folded, secret_hash, public_id, principal_id, created_at, not_before) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*row, 0),
        )

    def _insert_event(self, tx: Connection, home: int, row: tuple[Any, ...], now_ms: int) -> bool:
        if home:
            return super()._insert_event(tx, home, row, now_ms)
        sql = f"INSERT INTO events_0 ({EVENT}, arrived_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id"
        return bool(tx.rows(sql, (*row, now_ms)))

    def _mark_undone(self, tx: Connection, line: int, now_ms: int) -> None:
        sql = "UPDATE merges SET undone_at = ?, undone_by = ?, blocked = 1 WHERE site = ? AND id = ? AND undone_at IS NULL"
        tx.run(sql, (now_ms, "rest", self.site.id, line))


class VisitsVersion(PruningVersion):
    """Schema 3: what visits add up to stands on the person's row."""

    schema = 3

    def _insert_identity(self, tx: Connection, row: tuple[Any, ...]) -> None:
        tx.run(
            "INSERT INTO identities (site, id, kind, value, folded, secret_hash, public_id, principal_id, created_at, not_before, "
            "visit_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*row, 0, 0),
        )

    def _be_active(self, tx: Connection, identity: int, principal: int, at: int) -> None:
        super()._be_active(tx, identity, principal, at)
        self._fold_visits(tx, principal)

    def _fold_visits(self, tx: Connection, person: int) -> None:
        tx.run(
            "UPDATE identities SET visit_count = ?, visit_started_at = ?, visit_ended_at = ?, previous_visit_ended_at = ? "
            "WHERE site = ? AND id = ?",
            (*self._visits(tx, person), self.site.id, person),
        )

    def _visits(self, tx: Connection, person: int) -> tuple[int, int | None, int | None, int | None]:
        """Return how many visits a person made, start and end of the latest, and the end of the one before."""
        rows = tx.rows(
            "SELECT min(v.started_at), max(v.ended_at), v.visit FROM visits v "
            "JOIN identities i ON i.site = v.site AND i.id = v.identity WHERE v.site = ? AND i.principal_id = ? GROUP BY v.visit",
            (self.site.id, person),
        )
        made = sorted(((max(end // MINUTE * MINUTE, start), start, bytes(visit)) for start, end, visit in rows), reverse=True)
        if not made:
            return 0, None, None, None
        return len(made), made[0][1], made[0][0], made[1][0] if made[1:] else None


class ChangesVersion(VisitsVersion):
    """Schema 4: each commit says whose numbers it changed."""

    schema = 4

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.purge]

    def purge(self, tx: Connection, turn: Turn) -> None:
        """Purge the feed but for its newest row, as if the others were old."""
        if tx.engine == "sqlite":
            last = tx.value("SELECT max(position) FROM changes WHERE site = ?", (self.site.id,)) - 1
            tx.run("DELETE FROM changes WHERE site = ? AND position <= ?", (self.site.id, last))
            tx.run(
                "INSERT INTO changes_purged (site, position) VALUES (?, ?) ON CONFLICT (site) DO UPDATE SET position = excluded.position",
                (self.site.id, last),
            )
            return
        seen = "SELECT max(position)::text FROM changes WHERE site = ? AND position < pg_snapshot_xmin(pg_current_snapshot())"
        if (last := tx.value(seen, (self.site.id,))) is not None:
            tx.run("DELETE FROM changes WHERE site = ? AND position <= ?::xid8", (self.site.id, last))
            tx.run(
                "INSERT INTO changes_purged (site, position) VALUES (?, ?::xid8) "
                "ON CONFLICT (site) DO UPDATE SET position = larger(changes_purged.position, excluded.position)",
                (self.site.id, last),
            )

    def _changed(self, tx: Connection, people: set[int], now_ms: int) -> None:
        data = struct.pack(f"<{len(people)}q", *people)
        if tx.engine == "sqlite":
            tx.run(
                "INSERT INTO changes (site, position, at, people) "
                "VALUES (?, coalesce((SELECT max(position) FROM changes WHERE site = ?), 0) + 1, ?, ?)",
                (self.site.id, self.site.id, now_ms, data),
            )
        else:
            tx.run(
                "INSERT INTO changes (site, at, people) VALUES (?, ?, ?) "
                "ON CONFLICT (site, position) DO UPDATE SET people = changes.people || excluded.people",
                (self.site.id, now_ms, data),
            )


class SegmentsVersion(ChangesVersion):
    """Schema 5: queries have names."""

    schema = 5

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.name_query]

    def name_query(self, tx: Connection, turn: Turn) -> None:
        """Make a segment, change it and delete it."""
        number, public_id, query = row_id(turn.now), secrets.token_hex(12), json.dumps({"field": "email", "operator": "has_any_value"})
        tx.run(
            "INSERT INTO segments (site, id, public_id, name, query, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING RETURNING id",
            (self.site.id, number, public_id, turn.called("segment"), query, turn.now, turn.now),
        )
        sql = "UPDATE segments SET name = ?, query = ?, updated_at = ? WHERE site = ? AND id = ?"
        tx.run(sql, (turn.called("renamed"), query, turn.now, self.site.id, number))
        tx.run("DELETE FROM segments WHERE site = ? AND public_id = ?", (self.site.id, public_id))


class EventRulesVersion(SegmentsVersion):
    """Schema 6: rules make events of page views."""

    schema = 6

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.rule]

    def rule(self, tx: Connection, turn: Turn) -> None:
        """Make a rule about a page that nobody sees, go back over the timeline with it, and archive it."""
        number, public_id = row_id(turn.now), secrets.token_hex(12)
        tx.run(
            "INSERT INTO event_rules (site, id, public_id, event, page, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (self.site.id, number, public_id, "saved", json.dumps(_SEEN), turn.now),
        )
        sql = "UPDATE event_rules SET slice = ?, view = ?, backfilled_at = ? WHERE site = ? AND id = ?"
        tx.run(sql, (0, event_id(turn.now), None, self.site.id, number))
        tx.run(sql, (None, None, turn.now, self.site.id, number))
        sql = "UPDATE event_rules SET archived_at = coalesce(archived_at, ?) WHERE site = ? AND public_id = ?"
        tx.run(sql, (turn.now, self.site.id, public_id))


class ElementRulesVersion(EventRulesVersion):
    """Schema 8: rules make events of clicks and submits too."""

    schema = 8

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.rule_by_selector]

    def rule_by_selector(self, tx: Connection, turn: Turn) -> None:
        """Make a rule and archive it."""
        public_id, definition = secrets.token_hex(12), {"source": "click", "selector": "a.call", "page": None, "metadata": []}
        tx.run(
            "INSERT INTO element_rules (site, id, public_id, event, definition, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (self.site.id, row_id(turn.now), public_id, "saved", json.dumps(definition), turn.now),
        )
        sql = "UPDATE element_rules SET archived_at = coalesce(archived_at, ?) WHERE site = ? AND public_id = ?"
        tx.run(sql, (turn.now, self.site.id, public_id))


class FormerAddressesVersion(ElementRulesVersion):
    """Schema 9: a contact may have another address, and the one before is remembered until it is somebody else's."""

    schema = 9
    of_people = (*ElementRulesVersion.of_people, "former_addresses")

    def make_contact(self, tx: Connection, turn: Turn) -> None:
        before, address = (f"{turn.called(what)}@shop.example" for what in ("former", "contact"))
        identity, _ = self._locked(tx, "email", before, turn.now)
        mac = self.mac(f"email:{before}")
        tx.run("DELETE FROM former_addresses WHERE site = ? AND mac = ?", (self.site.id, self.mac(f"email:{address}")))
        tx.run(
            "INSERT INTO former_addresses (site, identity, mac) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (self.site.id, identity, mac),
        )
        tx.run("UPDATE identities SET value = ?, folded = ? WHERE site = ? AND id = ?", (address, address, self.site.id, identity))
        self._set_email(tx, identity, address, turn.now)
        self._changed(tx, {identity}, turn.now)


class UpkeepVersion(FormerAddressesVersion):
    """Schema 10: upkeep writes down what it did."""

    schema = 10

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.look_after]

    def look_after(self, tx: Connection, turn: Turn) -> None:
        """Note a round, the present that is believed, and a trouble that is over."""
        then = "ON CONFLICT (part) DO UPDATE SET at = excluded.at, upto = excluded.upto"
        for part, upto in (("clock", turn.now), ("round", None)):
            tx.run(f"INSERT INTO upkeep (part, at, upto) VALUES (?, ?, ?) {then}", (part, turn.now, upto))
        part = f"part {turn.called('feed')}"
        tx.run(
            "INSERT INTO upkeep (part, at, trouble) VALUES (?, ?, ?) ON CONFLICT (part) DO UPDATE SET trouble = excluded.trouble",
            (part, turn.now, "the disk was full"),
        )
        tx.run("DELETE FROM upkeep WHERE part = ?", (part,))


class GoalsVersion(UpkeepVersion):
    """Schema 11: messages have goals."""

    schema = 11

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.meet_goal]

    def meet_goal(self, tx: Connection, turn: Turn) -> None:
        """Show a message to somebody who meets its goal."""
        identity = self._made(tx, "lead", turn.called("goal"), turn.now)
        self._claim(tx, identity, turn.now, goal_before=0)
        self._report(tx, identity, turn.now, "seen_at", "clicked_at")
        tx.run(
            "UPDATE deliveries SET goal_at = ? WHERE site = ? AND identity = ? AND message = ? AND n = ? AND goal_at IS NULL",
            (turn.now, self.site.id, identity, self.message, 1),
        )

    def _claim(self, tx: Connection, identity: int, now_ms: int, **newer: Any) -> None:
        super()._claim(tx, identity, now_ms, **{"goal_before": None, **newer})


class MessageVersionsVersion(GoalsVersion):
    """Schema 12: what a message was before it was edited is kept."""

    schema = 12

    def _replace(self, tx: Connection, message: int, now_ms: int) -> None:
        tx.run(
            "INSERT INTO auto_message_versions (site, message, version, definition, until) VALUES (?, ?, ?, ?, ?)",
            (self.site.id, message, 1, DEFINITION, now_ms),
        )
        super()._replace(tx, message, now_ms)

    def _delete_message(self, tx: Connection, message: int) -> None:
        tx.run("UPDATE auto_messages SET updated_at = updated_at WHERE site = ? AND id = ?", (self.site.id, message))
        tx.run("DELETE FROM auto_message_versions WHERE site = ? AND message = ?", (self.site.id, message))
        super()._delete_message(tx, message)


class AnswersVersion(MessageVersionsVersion):
    """Schema 13: messages ask."""

    schema = 13

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.answer]

    def answer(self, tx: Connection, turn: Turn) -> None:
        """Show a message to somebody who answers."""
        identity = self._made(tx, "lead", turn.called("asked"), turn.now)
        self._claim(tx, identity, turn.now)
        sql = "UPDATE deliveries SET answer = ? WHERE site = ? AND identity = ? AND message = ? AND n = ?"
        tx.run(sql, ('"yes"', self.site.id, identity, self.message, 1))
        self._report(tx, identity, turn.now, "answered_at", "clicked_at", "seen_at", "dismissed_at")

    def _claim(self, tx: Connection, identity: int, now_ms: int, **newer: Any) -> None:
        super()._claim(tx, identity, now_ms, **{"answer": None, **newer})


class DecisionsVersion(AnswersVersion):
    """Schema 14: what was decided is noted by the hour."""

    schema = 14
    of_people = (*AnswersVersion.of_people, "decisions")

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.decide]

    def decide(self, tx: Connection, turn: Turn) -> None:
        """Note twice what held a message back, and drop what is old."""
        identity = self._made(tx, "lead", turn.called("asked"), turn.now)
        for hour in (0, turn.now // HOUR, turn.now // HOUR):
            tx.run(
                "INSERT INTO decisions (site, identity, message, outcome, hour, times, last_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (site, identity, message, outcome, hour) DO UPDATE SET "
                "times = decisions.times + excluded.times, last_at = larger(decisions.last_at, excluded.last_at)",
                (self.site.id, identity, self.message, "caps", hour, 1, hour * HOUR),
            )
        tx.run(
            "DELETE FROM decisions WHERE site = ? AND (identity, message, outcome, hour) IN "
            "(SELECT identity, message, outcome, hour FROM decisions WHERE site = ? AND hour < ? LIMIT ?)",
            (self.site.id, self.site.id, (turn.now - 30 * DAY) // HOUR, 1_000),
        )


class HandoversVersion(DecisionsVersion):
    """Schema 15: leads are handed over to other domains."""

    schema = 15
    of_people = (*DecisionsVersion.of_people, "handovers")

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.hand_over]

    def hand_over(self, tx: Connection, turn: Turn) -> None:
        """Hand a lead over three times: one is taken, one too old, one waits."""
        lead = turn.called("asked")
        identity, _ = self._locked(tx, "lead", lead, turn.now)
        nonces = [secrets.token_bytes(32) for _ in range(3)]
        for nonce, expires_at in zip(nonces, (turn.now + 2 * MINUTE, turn.now - MINUTE, turn.now + 2 * MINUTE), strict=True):
            tx.run(
                "INSERT INTO handovers (site, nonce, identity, lead, expires_at) VALUES (?, ?, ?, ?, ?)",
                (self.site.id, nonce, identity, self.encrypted(lead), expires_at),
            )
        tx.rows("DELETE FROM handovers WHERE site = ? AND nonce = ? RETURNING identity, lead", (self.site.id, nonces[0]))
        tx.run("DELETE FROM handovers WHERE site = ? AND expires_at <= ?", (self.site.id, turn.now))


class SimulationsVersion(HandoversVersion):
    """Schema 16: messages are simulated, and collectors say what they are set to."""

    schema = 16

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.simulate, self.tell_settings]

    def simulate(self, tx: Connection, turn: Turn) -> None:
        """Begin a simulation, hear of it, end it, and drop the one of the turn before."""
        tx.run(
            "UPDATE simulations SET state = ?, reason = ?, ended_at = ? WHERE site = ? AND state = 'running' AND beat_at < ?",
            ("failed", "Nothing was heard of it.", turn.now, self.site.id, turn.now - MINUTE),
        )
        run = secrets.token_hex(12)
        tx.rows(
            "INSERT INTO simulations (site, id, message, version, days, state, progress, started_at, beat_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (self.site.id, run, self.message, 1, 7, "running", 0, turn.now, turn.now),
        )
        sql = "UPDATE simulations SET progress = ?, beat_at = ? WHERE site = ? AND id = ? AND state = 'running'"
        tx.run(sql, (50, turn.now, self.site.id, run))
        tx.run(
            "UPDATE simulations SET state = ?, reason = ?, result = ?, ended_at = ?, "
            "progress = CASE WHEN ? = 'done' THEN 100 ELSE progress END WHERE site = ? AND id = ? AND state = 'running'",
            ("failed", "The collector was stopped.", None, turn.now, "failed", self.site.id, run),
        )
        for (old,) in tx.rows("SELECT id FROM simulations WHERE site = ? AND started_at < ?", (self.site.id, turn.now)):
            tx.run("DELETE FROM simulations WHERE site = ? AND id = ?", (self.site.id, old))

    def tell_settings(self, tx: Connection, turn: Turn) -> None:
        """Say what this collector is set to."""
        tx.run(
            "INSERT INTO upkeep (part, at, upto) VALUES (?, ?, ?) ON CONFLICT (part) DO UPDATE SET at = larger(upkeep.at, excluded.at)",
            ("setting retention_days 90", turn.now, 90),
        )

    def _delete_message(self, tx: Connection, message: int) -> None:
        tx.run("DELETE FROM simulations WHERE site = ? AND message = ?", (self.site.id, message))
        super()._delete_message(tx, message)


class RoomVersion(SimulationsVersion):
    """Schema 17: a person's row is written once for a post."""

    schema = 17

    def _be_active(self, tx: Connection, identity: int, principal: int, at: int) -> None:
        for number in sorted({identity, principal}):
            own, person = at if number == identity else None, at if number == principal else None
            sums = self._visits(tx, principal) if number == principal else (None,) * 4
            tx.run(
                "UPDATE identities SET own_active_at = larger(coalesce(own_active_at, ?), coalesce(?, own_active_at)), "
                "active_at = larger(coalesce(active_at, ?), coalesce(?, active_at)), visit_count = coalesce(?, visit_count), "
                "visit_started_at = coalesce(?, visit_started_at), visit_ended_at = coalesce(?, visit_ended_at), "
                "previous_visit_ended_at = coalesce(?, previous_visit_ended_at) WHERE site = ? AND id = ?",
                (own, own, person, person, *sums, self.site.id, number),
            )


class PartedGoalsVersion(RoomVersion):
    """Schema 17 still: what two people reached together is asked again once they are parted."""

    def tasks(self) -> list[Callable[[Connection, Turn], None]]:
        return [*super().tasks(), self.ask_again]

    def ask_again(self, tx: Connection, turn: Turn) -> None:
        """Find that a goal was met before, note that its person is to be asked again, forget it and note that this was done."""
        identity = self._made(tx, "lead", turn.called("again"), turn.now)
        self._claim(tx, identity, turn.now, goal_before=0)
        key = (self.site.id, identity, self.message, 1)
        tx.run(
            "UPDATE deliveries SET goal_before = ? WHERE site = ? AND identity = ? AND message = ? AND n = ? AND goal_before = 0 "
            "AND goal_at IS NULL",
            (2, *key),
        )
        part = f"goals of {self.site.id} {identity}"
        tx.run(
            "INSERT INTO upkeep (part, at, upto) VALUES (?, ?, ?) ON CONFLICT (part) DO UPDATE SET "
            "at = lesser(upkeep.at, excluded.at), upto = upkeep.upto + excluded.upto",
            (part, turn.now, 1),
        )
        tx.run("UPDATE deliveries SET goal_at = NULL, goal_before = 0 WHERE site = ? AND identity = ? AND message = ? AND n = ?", key)
        tx.run("DELETE FROM upkeep WHERE part = ? AND upto = ?", (part, 1))


NEWEST = PartedGoalsVersion
VERSIONS = tuple(version for version in reversed(NEWEST.__mro__) if issubclass(version, FirstVersion))
"""Each is made of the one before."""


def writer_of(schema: int) -> type[FirstVersion]:
    """Return the version that ran on a schema: a step of which no version writes otherwise has that of the step before."""
    return max((version for version in VERSIONS if version.schema <= schema), key=lambda version: version.schema)
