"""What the version that came with each step of the schema wrote first, into the tables and columns which that step had brought.

Each function stands for one version and knows no later one; what is there already stays as it is. Nothing here is ever brought up to date.
"""

import hashlib
import json
import secrets
import struct
from collections.abc import Callable, Iterator
from typing import Any

from collector.storage.database import Connection
from collector.storage.migrations import run_steps, steps
from tests.storage.earlier import DAY, EMAIL, MINUTE, RETENTION, SECRET, TRUSTED, WEEK, event_id, row_id
from tests.storage.grown import Grown, lead_id, page
from tests.storage.versions import HOUR
from tests.storage.weeks import add_to_base, close_due, drop_week

HALF_MOVED, UNTOUCHED = 16, 15
"""How many weeks ago those were that pruning, interrupted, has closed and not dropped yet: one half moved, of the other nothing."""
KEEN = {"event": "saved", "field": "count", "operator": ">", "value": 2}
UPGRADED = {"event": "upgraded", "field": "count", "operator": ">", "value": 0}


def pruning(site: Grown, tx: Connection) -> None:
    """Schema 2: pruning and a deletion, both interrupted; who undid a merge; when an event of the overflow arrived."""
    due = close_due(tx, site.now)
    half = site.now // WEEK - HALF_MOVED
    for number in due:
        site.ended(number)
    for number in due:
        if number < half:
            add_to_base(tx, site.site.id, number, -1, 2**63 - 1)
            drop_week(tx, number)
    cursor = tx.value(f"SELECT min(identity) FROM events_{half} WHERE site = ?", (site.site.id,))
    add_to_base(tx, site.site.id, half, -1, cursor)
    tx.run("INSERT INTO slice_sites (site, slice, moved) VALUES (?, ?, ?)", (site.site.id, half, cursor))
    _delete_gone(site, tx)
    site.merge_by_mistake(tx, "watch", "uma", site.now - 2 * DAY, by="rest")
    site.happens(tx, site.people["lone"], "saved", site.now - 2 * DAY, number=event_id(site.now + 900 * DAY))


def _delete_gone(site: Grown, tx: Connection) -> None:
    """Delete `gone`, whose process ended when the events of one of the two identities were wiped."""
    at = site.now - DAY
    members = sorted(site.people[name] for name in ("gone", "gone-phone"))
    for key in ("user:gone", f"lead:{lead_id('gone-phone')}"):
        tx.run("INSERT INTO tombstones (site, mac, at) VALUES (?, ?, ?)", (site.site.id, site.mac(key), at))
    for number in members:
        tx.run("INSERT INTO deletions (site, identity, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (site.site.id, number, at))
        _remove(site, tx, number)
    wiped = (site.site.id, members[0])
    for (number,) in tx.rows("SELECT slice FROM slices WHERE state IN ('open', 'closed')"):
        tx.run(f"DELETE FROM events_{number} WHERE site = ? AND identity = ?", wiped)
    tx.run("DELETE FROM deletions WHERE site = ? AND identity = ?", wiped)


def _remove(site: Grown, tx: Connection, number: int) -> None:
    for table in ("visits", "totals", "attributes", "deliveries", "delivery_links"):
        tx.run(f"DELETE FROM {table} WHERE site = ? AND identity = ?", (site.site.id, number))
    tx.run("DELETE FROM merges WHERE site = ? AND (lead = ? OR target = ?)", (site.site.id, number, number))
    tx.run("DELETE FROM identities WHERE site = ? AND id = ?", (site.site.id, number))


def visits(site: Grown, tx: Connection) -> None:
    """Schema 3: what visits add up to, on the rows of those who made them."""
    rows = tx.rows(
        "SELECT i.principal_id, v.visit, min(v.started_at), max(v.ended_at) FROM visits v "
        "JOIN identities i ON i.site = v.site AND i.id = v.identity WHERE v.site = ? GROUP BY i.principal_id, v.visit",
        (site.site.id,),
    )
    spans: dict[int, list[tuple[int, int, bytes]]] = {}
    for person, visit, started, ended in rows:
        spans.setdefault(person, []).append((max(ended // MINUTE * MINUTE, started), started, bytes(visit)))
    for person, made in spans.items():
        latest, *before = sorted(made, reverse=True)
        tx.run(
            "UPDATE identities SET visit_count = ?, visit_started_at = ?, visit_ended_at = ?, previous_visit_ended_at = ? "
            "WHERE site = ? AND id = ?",
            (len(made), latest[1], latest[0], before[0][0] if before else None, site.site.id, person),
        )


def changes(site: Grown, tx: Connection) -> None:
    """Schema 4: the feed, whose older rows were purged."""
    for people in (("kim",), ("lone", "uma")):
        data = struct.pack(f"<{len(people)}q", *(site.people[one] for one in people))
        if tx.engine == "sqlite":
            sql = (
                "INSERT INTO changes (site, position, at, people) "
                "VALUES (?, coalesce((SELECT max(position) FROM changes WHERE site = ?), 40) + 1, ?, ?)"
            )
            tx.run(sql, (site.site.id, site.site.id, site.now, data))
        else:
            sql = (
                "INSERT INTO changes (site, at, people) VALUES (?, ?, ?) "
                "ON CONFLICT (site, position) DO UPDATE SET people = changes.people || excluded.people"
            )
            tx.run(sql, (site.site.id, site.now, data))
    if tx.engine == "sqlite":
        tx.run("INSERT INTO changes_purged (site, position) VALUES (?, ?)", (site.site.id, 40))
    else:
        before = int(tx.value("SELECT pg_current_xact_id()::text")) - 1
        tx.run("INSERT INTO changes_purged (site, position) VALUES (?, ?::xid8)", (site.site.id, str(before)))


def segments(site: Grown, tx: Connection) -> None:
    """Schema 5: a query with a name."""
    tx.run(
        "INSERT INTO segments (site, id, public_id, name, query, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (site.site.id, row_id(site.now), secrets.token_hex(12), "Keen", json.dumps(KEEN), site.now, site.now),
    )


def event_rules(site: Grown, tx: Connection) -> None:
    """Schema 6: a rule that was applied to all there was, one that was archived, one that is being applied and came to a view."""
    site.name(tx, "ordered", 1011)
    site.name(tx, "came-home", 1012)
    lone, at = site.people["lone"], site.last_seen(tx, "lone")
    view = site.happens(tx, lone, "page-view", at, view=page("/thanks"))
    ordered = _rule(site, tx, "ordered", "/thanks", backfilled_at=site.now)
    _derive(site, tx, "ordered", ordered, (view, lone, at, page("/thanks")))
    _rule(site, tx, "ordered", "/paid", archived_at=site.now)
    views = tx.rows(
        "SELECT e.slice, e.id, e.identity, e.at, e.page FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity "
        "WHERE e.site = ? AND e.name = ? AND e.at >= ? ORDER BY e.slice, e.id",
        (site.site.id, site.names["page-view"], site.now - RETENTION),
    )
    number, last = views[1][0], bytes(views[1][1])
    rule = _rule(site, tx, "came-home", "/", slice=number, view=last)
    since = [view for view in views if view[3] >= site.now - HOUR and view[4] == views[0][4]]
    for _, view_id, *rest in (*views[:2], *since):  # those that came after the rule were counted when they arrived
        _derive(site, tx, "came-home", rule, (bytes(view_id), *rest))


def _rule(site: Grown, tx: Connection, event: str, path: str, **columns: Any) -> int:
    number = row_id(site.now - HOUR)
    rule = {"site": site.site.id, "id": number, "public_id": secrets.token_hex(12), "event": event}
    rule |= {"page": json.dumps({"field": "path", "operator": "is", "value": path}), "created_at": site.now - HOUR, **columns}
    tx.run(f"INSERT INTO event_rules ({', '.join(rule)}) VALUES ({', '.join('?' * len(rule))})", list(rule.values()))
    return number


def _derive(site: Grown, tx: Connection, event: str, rule: int, view: tuple[bytes, int, int, str]) -> None:
    """Make the event of a view; until schema 11 its id was derived from the rule's."""
    view_id, identity, at, where = view
    number = site.derived_id(int.from_bytes(view_id[:6], "big"), b"event-rule", rule.to_bytes(8, "big"), view_id)
    site.happens(tx, identity, event, at, view=where, number=number)


def element_rules(site: Grown, tx: Connection) -> None:
    """Schema 8: a rule by selector, and one that was archived."""
    site.name(tx, "called", 1013)
    for selector, archived_at in (("button.call", None), ("a.call", site.now)):
        definition = {"source": "click", "selector": selector, "page": None, "metadata": [{"key": "label", "from": "text"}]}
        tx.run(
            "INSERT INTO element_rules (site, id, public_id, event, definition, created_at, archived_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (site.site.id, row_id(site.now), secrets.token_hex(12), "called", json.dumps(definition), site.now - DAY, archived_at),
        )


def former_addresses(site: Grown, tx: Connection) -> None:
    """Schema 9: `pat` is known by another address, and `max` is deleted, whose address may be another's by now."""
    pat, address = site.people["pat"], "pat@example.com"
    old = (site.site.id, pat, site.mac("email:pat.old@example.com"))
    tx.run("INSERT INTO former_addresses (site, identity, mac) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", old)
    tx.run("UPDATE identities SET value = ?, folded = ? WHERE site = ? AND id = ?", (address, address, site.site.id, pat))
    site.set_attribute(tx, EMAIL, "pat", address, site.now - 3 * DAY, TRUSTED)
    number = site.people["max"]
    contact = tx.value("SELECT public_id FROM identities WHERE site = ? AND id = ?", (site.site.id, number))
    had = site.mac("email:max@example.com")
    for mac in (site.mac(f"contact:{contact}"), had, site.mac(f"told by contact:{had.hex()}")):
        tx.run("INSERT INTO tombstones (site, mac, at) VALUES (?, ?, ?)", (site.site.id, mac, site.now - 2 * DAY))
    _remove(site, tx, number)


def upkeep(site: Grown, tx: Connection) -> None:
    """Schema 10: a whole round last night, and the present it believed."""
    at = site.now - 12 * HOUR
    for part, upto in (("round", None), ("clock", at)):
        tx.run("INSERT INTO upkeep (part, at, upto) VALUES (?, ?, ?)", (part, at, upto))


def goals(site: Grown, tx: Connection) -> None:
    """Schema 11: a message with a goal and a holdout: one met it, one had met it before, one is waited for, one is held out."""
    site.name(tx, "upgraded", 1014)
    message = site.create_message(tx, _definition("Upgrade", goal={"query": UPGRADED, "days": 7}, holdout_percent=20), site.now - 3 * DAY)
    claimed, met = site.now - DAY, site.now - 12 * HOUR
    site.happens(tx, site.people["kim"], "upgraded", met)
    site.deliver(tx, "phone", message, claimed, seen_at=claimed, goal_before=0, goal_at=met)
    site.deliver(tx, "pat", message, claimed, goal_before=1)
    site.deliver(tx, "lone", message, claimed, seen_at=claimed, goal_before=0)
    site.deliver(tx, "uma", message, claimed, arm="held_out", goal_before=0)


def message_versions(site: Grown, tx: Connection) -> None:
    """Schema 12: a message that was edited after it had been live."""
    key = (site.site.id, site.message)
    before = tx.value("SELECT definition FROM auto_messages WHERE site = ? AND id = ?", key)
    tx.run(
        "INSERT INTO auto_message_versions (site, message, version, definition, until) VALUES (?, ?, ?, ?, ?)",
        (*key, 1, before, site.now - 6 * HOUR),
    )
    after = json.loads(before)
    after["content"]["body"] = "Hello again"
    sql = "UPDATE auto_messages SET version = 2, definition = ?, updated_at = ? WHERE site = ? AND id = ?"
    tx.run(sql, (json.dumps(after), site.now - 6 * HOUR, *key))


def answers(site: Grown, tx: Connection) -> None:
    """Schema 13: a question, and an answer with its event and its attribute."""
    site.name(tx, "message-answered", 1015)
    site.name(tx, "custom_attributes.team", 1016, "attribute")
    asked = _definition("Team")
    asked["content"] |= {"title": "How large is your team?", "body": ""}
    asked["content"]["question"] = {"kind": "choice", "attribute": "team", "choices": ["small", "large"], "scale": None}
    message, at, nonce = site.create_message(tx, asked, site.now - 3 * DAY), site.last_seen(tx, "lone"), secrets.token_urlsafe(16)
    site.deliver(tx, "lone", message, at, nonce=nonce, seen_at=at, answered_at=at, answer='"small"')
    public_id = site.messages["Team"]
    number = site.derived_id(at, b"message-answered", public_id.encode(), nonce.encode())
    told = json.dumps({"message": public_id, "answer": "small"})
    site.happens(tx, site.people["lone"], "message-answered", at, told=told, number=number)
    site.set_attribute(tx, 1016, "lone", "small", at, 1)


def decisions(site: Grown, tx: Connection) -> None:
    """Schema 14: which rule held a message back."""
    for who, outcome, times in (("lone", "caps", 3), ("phone", "frequency", 1)):
        at = site.now - 2 * HOUR
        tx.run(
            "INSERT INTO decisions (site, identity, message, outcome, hour, times, last_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (site.site.id, site.people[who], site.message, outcome, at // HOUR, times, at),
        )


def handovers(site: Grown, tx: Connection) -> None:
    """Schema 15: a link to another domain that was pointed at a moment ago."""
    value = f"{lead_id('lone')}.{SECRET}"
    tx.run(
        "INSERT INTO handovers (site, nonce, identity, lead, expires_at) VALUES (?, ?, ?, ?, ?)",
        (
            *(site.site.id, hashlib.sha256(site.handover.encode()).digest(), site.people["lone"]),
            *(site.encrypted(value), site.now + 2 * MINUTE),
        ),
    )


def simulations(site: Grown, tx: Connection) -> None:
    """Schema 16: simulations done, failed, and under way when their process was killed; upkeep notes what collectors were set to."""
    found = {"looked_at": 2, "people": 1, "times": 1, "held_out": 0, "per_day": [], "assumptions": ["Nobody is left out."]}
    for state, started, columns in (
        ("done", 3 * HOUR, {"progress": 100, "ended_at": site.now - HOUR, "result": json.dumps(found)}),
        ("failed", 2 * HOUR, {"progress": 40, "ended_at": site.now - HOUR, "reason": "The collector was stopped."}),
        ("running", HOUR, {"progress": 60}),
    ):
        at = site.now - started
        run = {"site": site.site.id, "id": secrets.token_hex(12), "message": site.message, "version": 1, "days": 30, "state": state}
        run |= {"started_at": at, "beat_at": at + MINUTE, **columns}
        tx.run(f"INSERT INTO simulations ({', '.join(run)}) VALUES ({', '.join('?' * len(run))})", list(run.values()))
    for part, upto in (("setting retention_days 90", 90), ("setting lead_retention_days 395", 395), ("goals", None)):
        tx.run("INSERT INTO upkeep (part, at, upto) VALUES (?, ?, ?)", (part, site.now - 5 * MINUTE, upto))


def _definition(name: str, **fields: Any) -> dict[str, Any]:
    """A message's definition as it was kept since goals came: with every default."""
    content = {"title": None, "body": name, "image_url": None, "buttons": [], "question": None, "position": "corner", "sender": None}
    definition = {"name": name, "type": "popup", "state": "live", "content": content, "audience": None, "page": None}
    definition |= {"trigger": {"type": "page", "seconds": None, "percent": None, "event": None, "where": []}}
    definition |= {"frequency": {"type": "once", "max": None, "every_days": None}, "priority": 0, "ignore_caps": False}
    definition |= {"schedule": {"starts_at": None, "ends_at": None, "hours": None}, "goal": None, "holdout_percent": 0}
    return {**definition, **fields}


WROTE: dict[int, Callable[[Grown, Connection], None]] = {
    1: Grown.begin,
    2: pruning,
    3: visits,
    4: changes,
    5: segments,
    6: event_rules,
    8: element_rules,
    9: former_addresses,
    10: upkeep,
    11: goals,
    12: message_versions,
    13: answers,
    14: decisions,
    15: handovers,
    16: simulations,
}
"""By the step that brought what is written; a step that brings neither tables nor columns has none."""


def growing(site: Grown, tx: Connection) -> Iterator[int]:
    """Make the newest schema in an empty database, step by step, each used by its version before the next comes; yields their numbers."""
    tx.run("CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)")
    for number, _ in steps():
        run_steps(tx, [number], site.now)
        if number in WROTE:
            WROTE[number](site, tx)
        yield number


def grow(site: Grown, tx: Connection, schema: int) -> None:
    """Do so up to a schema."""
    for number in growing(site, tx):
        if number == schema:
            return
