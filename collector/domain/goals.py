"""Goals: whether those who got a message, or were held out from it, have done since what it was for.

A goal is met where its query holds within so many days of the receipt; where it held at the receipt already it does not count, also where
that becomes known afterwards: the visitor turns out to be a customer, what had been done is reported late. So only
those are asked who got the message with the goal it has now: of who had it with another one, nobody knows. Who meets it is found among
everybody who has not met it yet, by the same SQL as every search. Where the days ended before anybody looked, what was known when they
ended decides: so it makes no difference how long nobody looked, nor that what was done in those days arrives only afterwards.
"""

import functools
from typing import NamedTuple

from collector.domain import facts, identities, people
from collector.domain.audiences import matches
from collector.domain.auto_messages import AutoMessage, AutoMessages
from collector.domain.names import Names
from collector.domain.selection import select
from collector.domain.sites import Site
from collector.storage.database import Connection, Database
from collector.values.clock import DAY, MINUTE
from collector.values.query_tree import Node, needs

STEP = 500
"""Receipts noted in one transaction."""
LATE = 3 * DAY
"""How long after its days (ms) a receipt is looked at again now and then, for what arrives late."""
WRITTEN = 10 * MINUTE
"""How often (ms) it is written down that somebody looked: after a restart it goes on from there."""
_ROW = "goals"


class Receipt(NamedTuple):
    """One delivery of a message: the identity that claimed it, its number, and when its days are over (ms)."""

    identity: int
    n: int
    until: int
    already: bool = False
    """Whether the goal held at the receipt: of the person as it is known by now, another device and what was reported late included."""


def met(
    database: Database, site: Site, names: Names, message: AutoMessage, now_ms: int, looked_at: int, retention_ms: int
) -> list[Receipt]:
    """Return the receipts whose goal is met. Of those whose days are over, the ones whose days ended since `looked_at` (ms) are asked."""
    goal = message.definition.goal
    if goal is None:
        return []
    span = goal.days * DAY
    waiting = (
        "FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity "
        "WHERE d.site = ? AND d.message = ? AND d.goal_before = 0 AND d.goal_at IS NULL AND d.claimed_at >= ? AND d.version >= ?"
    )
    with database.read() as connection:
        parameters = (site.id, message.id, looked_at - span, _first_version(connection, site, message))
        if connection.row(f"SELECT 1 {waiting} LIMIT 1", parameters) is None:
            return []
        with select(connection, site, names, goal.query, now_ms, retention_ms) as (found, _):
            # The query is asked of those who wait, not of everybody.
            among = f"SELECT p.id FROM {found.sql} AND p.id IN (SELECT i.principal_id {waiting})"
            sql = f"SELECT d.identity, d.n, d.claimed_at, i.principal_id {waiting} AND i.principal_id IN ({among}) ORDER BY 1, 2"
            rows = connection.rows(sql, (*parameters, *found.parameters, *parameters))
    receipts = [(Receipt(identity, n, claimed_at + span), principal) for identity, n, claimed_at, principal in rows]
    asked = functools.partial(_held, database, site, names, goal.query, retention_ms)
    # Only of what was done and shown is known exactly what it was then; of the rest the claim knew more.
    by_deeds = needs(goal.query).attributes <= {"page_view_count"}
    return [
        one._replace(already=by_deeds and asked(principal, one.until - span - 1))
        for one, principal in receipts
        if one.until >= now_ms or asked(principal, one.until)
    ]


def _held(database: Database, site: Site, names: Names, query: Node, retention_ms: int, principal: int, then_ms: int) -> bool:
    """Say whether a query held of a person at a time that has passed."""
    with database.snapshot() as connection:
        try:
            person = people.load(connection, site.id, principal)
        except people.NoPerson:  # became part of another since, or was deleted: the next look knows
            return False
        then = facts.load_then(connection, site, names, person, needs(query), then_ms, retention_ms)
    return matches(query, then, then_ms, site.zone)


def looked_at(connection: Connection, now_ms: int) -> int:
    """Return when somebody looked last (ms), as far as it was written down; now, where nobody ever did."""
    found: int | None = connection.value("SELECT at FROM upkeep WHERE part = ?", (_ROW,))
    return now_ms if found is None else found


def note_look(tx: Connection, now_ms: int) -> None:
    """Write down that every goal was looked for."""
    tx.insert("upkeep", ("part", "at"), [(_ROW, now_ms)], "ON CONFLICT (part) DO UPDATE SET at = larger(upkeep.at, excluded.at)")


def _first_version(connection: Connection, site: Site, message: AutoMessage) -> int:
    """Return since which version a message has the goal that it has."""
    present, number = message.as_json()["goal"], message.version
    for version in AutoMessages.versions(connection, site.id, message):
        if version.definition["goal"] != present:
            break
        number = version.number
    return number


def note(tx: Connection, site: int, message: AutoMessage, receipts: list[Receipt], now_ms: int) -> None:
    """Note when goals were met, and which do not count since they had been met before. Whoever was first stays."""
    identities.lock(tx, site, {receipt.identity for receipt in receipts})  # before their deliveries: what browsers report waits there too
    for receipt in receipts:
        noted, value = ("goal_before", 1) if receipt.already else ("goal_at", min(now_ms, receipt.until))
        tx.run(
            f"UPDATE deliveries SET {noted} = ? WHERE site = ? AND identity = ? AND message = ? AND n = ? AND goal_at IS NULL",
            (value, site, receipt.identity, message.id, receipt.n),
        )
