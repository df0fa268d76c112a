"""Goals: whether those who got a message, or were held out from it, have done since what it was for.

A goal is met where its query holds within so many days of the receipt; where it held at the receipt already it does not count, also where
that becomes known afterwards: the visitor turns out to be a customer, what had been done is reported late. So only
those are asked who got the message with the goal it has now: of who had it with another one, nobody knows. Who meets it is found among
everybody who has not met it yet, by the same SQL as every search. Where the days ended before anybody looked, what was known when they
ended decides: so it makes no difference how long nobody looked, nor that what was done in those days arrives only afterwards.

Two people who were one and were parted are asked again, each as of its own deeds, however long ago their days ended (`reached_together`).
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from collector.domain import attributes, facts, identities, people, reached_together
from collector.domain.audiences import matches
from collector.domain.auto_messages import AutoMessage, AutoMessages
from collector.domain.names import Names
from collector.domain.reached_together import Parted
from collector.domain.selection import select
from collector.domain.sites import Site
from collector.storage.database import Connection, Database
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.query_tree import Node, needs

STEP = 500
"""Receipts noted in one transaction."""
LATE = 3 * DAY
"""How long after its days (ms) a receipt is looked at again now and then, for what arrives late."""
WRITTEN = 10 * MINUTE
"""How often (ms) it is written down that somebody looked: after a restart it goes on from there."""
CLOCKS = HOUR
"""What was noted so long (ms) before a merge was noted before it, whichever clocks that was by."""
_ROW = "goals"
_EVER = 2**62


class Receipt(NamedTuple):
    """One delivery of a message: the identity that claimed it, its number, and when its days are over (ms)."""

    identity: int
    n: int
    until: int
    already: bool = False
    """Whether the goal held at the receipt: of the person as it is known by now, another device and what was reported late included."""
    parted: tuple[int, int] | None = None
    """Its person, where that was parted from another and not asked since, and how often."""
    forgotten: bool = False
    """Whether what is noted of it is of two people who were one; what its own person did follows, if anything."""


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
    return [
        one._replace(already=_by_deeds(goal.query) and asked(principal, one.until - span - 1))
        for one, principal in receipts
        if one.until >= now_ms or asked(principal, one.until)
    ]


def met_alone(
    database: Database, site: Site, names: Names, message: AutoMessage, now_ms: int, parted: Mapping[int, Parted], retention_ms: int
) -> list[Receipt]:
    """Return what is to be noted of the receipts of those who were parted from others, asked as of each one's own deeds: of all of them.

    What was noted before they were one stays, and so does what nobody can tell any more: of an attribute that was set anew since, or of a
    timeline that is pruned by now.
    """
    goal = message.definition.goal
    if goal is None or not parted:
        return []
    span, found = goal.days * DAY, []
    by_deeds = _by_deeds(goal.query)
    asked = functools.partial(_told, database, site, names, goal.query, retention_ms, now_ms)
    for identity, n, claimed_at, before, goal_at, person in _received(database, site, message, parted):
        one = Receipt(identity, n, claimed_at + span, parted=(person, parted[person].times))
        # The days' end is the time of whatever was found after it: that may have been of both.
        if goal_at is not None and goal_at < parted[person].since - CLOCKS and goal_at != one.until:
            continue
        # A claim knew, maybe of another's deeds; and what it knew may have another clock's time.
        if before == 1 and goal_at is None and (not by_deeds or asked(person, claimed_at + MINUTE) is not False):
            continue
        already = asked(person, claimed_at - 1) if by_deeds else False
        stands: bool | None = False
        if before == 2:
            stands = already
        elif goal_at is not None:
            stands = None if already is None else not already and asked(person, goal_at)
        if stands is not False:
            continue  # so it is alone, or nobody can tell
        if before or goal_at is not None:
            found.append(one._replace(forgotten=True))
        if already or asked(person, min(now_ms, one.until)):
            found.append(one._replace(already=already is True))
    return found


def _received(database: Database, site: Site, message: AutoMessage, people: Collection[int]) -> list[tuple[Any, ...]]:
    """Return the deliveries of people (principals) with the goal that a message has now."""
    with database.read() as connection:
        among, parameters = connection.among(sorted(people))
        return connection.rows(
            "SELECT d.identity, d.n, d.claimed_at, d.goal_before, d.goal_at, i.principal_id FROM identities i "
            "JOIN deliveries d ON d.site = i.site AND d.identity = i.id AND d.message = ? "
            f"WHERE i.site = ? AND i.principal_id {among} AND d.goal_before IS NOT NULL AND d.version >= ? ORDER BY 1, 2",
            (message.id, site.id, *parameters, _first_version(connection, site, message)),
        )


def _by_deeds(query: Node) -> bool:
    """Say whether a query asks only for what was done and shown: so that it can be told of any time. Of the rest claims knew more."""
    return needs(query).attributes <= {"page_view_count"}


def _reach(query: Node, retention_ms: int) -> int:
    """Return how far back (ms) a query looks on the timeline, which is pruned; what totals say is known for ever."""
    spans = (retention_ms if one.within_days is None else one.within_days * DAY for one in needs(query).measures)
    return min(max(spans, default=-_EVER), retention_ms)


def _told(
    database: Database, site: Site, names: Names, query: Node, retention_ms: int, now_ms: int, principal: int, then_ms: int
) -> bool | None:
    """Say whether a query held of a person at a time that has passed; None where nobody can tell any more."""
    if then_ms < now_ms and then_ms - _reach(query, retention_ms) < now_ms - retention_ms:
        return None
    with database.read() as connection:
        if needs(query).attributes & attributes.set_since(connection, site.id, names, principal, then_ms):
            return None
    return _held(database, site, names, query, retention_ms, principal, then_ms)


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
    asked = {receipt.identity for receipt in receipts}
    identities.lock(tx, site, asked)  # before their deliveries: what browsers report waits there too
    parted = reached_together.among(tx, site, asked)
    for receipt in receipts:
        if parted.get(receipt.identity) != receipt.parted:
            continue  # its person is another one than was asked
        key = (site, receipt.identity, message.id, receipt.n)
        if receipt.forgotten:
            sql = "UPDATE deliveries SET goal_at = NULL, goal_before = 0 WHERE site = ? AND identity = ? AND message = ? AND n = ?"
            tx.run(sql, key)
            continue
        noted, value = ("goal_before", 2) if receipt.already else ("goal_at", min(now_ms, receipt.until))
        tx.run(
            f"UPDATE deliveries SET {noted} = ? "
            "WHERE site = ? AND identity = ? AND message = ? AND n = ? AND goal_before = 0 AND goal_at IS NULL",
            (value, *key),
        )
