"""A lead becomes part of a user. Nothing is rewritten: a pointer moves, a few totals and attributes are folded again.

The journal (`merges`) keeps who, when, why and whether the user id was verified. The first committed claim keeps the lead; a later
claim by another user is journalled as refused. A pair whose merge was undone is blocked from merging by itself.
"""

from enum import Enum

from collector.domain import attributes
from collector.domain.identities import LEAD, Identity
from collector.storage.database import Connection
from collector.values.ids import RowIds


class Claim(Enum):
    """What became of a user's claim to a lead."""

    MERGED = "merged"
    ALREADY = "already"
    """The lead is the user's already."""
    REFUSED = "refused"
    """Another user has the lead."""
    BLOCKED = "blocked"
    """The pair's merge was undone; it does not merge again by itself."""


def claim_lead(
    tx: Connection, site: int, lead: Identity, user: Identity, row_ids: RowIds, now_ms: int, *, verified: bool, by: str, reason: str
) -> Claim:
    """Merge a lead into a user's person where the rules allow it. Both identities and their principals are locked by the caller.

    `by` says who (`browser`, `rest`, an account), `reason` why (`identify`, `contacts_merge`).
    """
    if lead.principal_id == user.principal_id:
        return Claim.ALREADY
    if lead.absorbed:
        _journal(tx, site, lead, user, row_ids, now_ms, outcome="refused", verified=verified, by=by, reason="lead_claimed")
        return Claim.REFUSED
    if tx.row("SELECT 1 FROM merges WHERE site = ? AND lead = ? AND target = ? AND blocked = 1", (site, lead.id, user.principal_id)):
        return Claim.BLOCKED
    _move(tx, site, lead, user)
    _journal(tx, site, lead, user, row_ids, now_ms, outcome="merged", verified=verified, by=by, reason=reason)
    return Claim.MERGED


def _move(tx: Connection, site: int, lead: Identity, user: Identity) -> None:
    if lead.kind != LEAD:
        raise ValueError("only a lead merges into another person")
    target = user.principal_id
    tx.run("UPDATE identities SET principal_id = ? WHERE site = ? AND id = ?", (target, site, lead.id))
    tx.run(
        "UPDATE identities SET active_at = CASE WHEN active_at IS NULL OR active_at < ? THEN ? ELSE active_at END "
        "WHERE site = ? AND id = ? AND CAST(? AS BIGINT) IS NOT NULL",
        (lead.active_at, lead.active_at, site, target, lead.active_at),
    )
    tx.run(
        "INSERT INTO totals (site, name, identity, count, last, first) "
        "SELECT site, name, CAST(? AS BIGINT), count, last, first FROM totals WHERE site = ? AND identity = ? AND count IS NOT NULL "
        "ORDER BY name ON CONFLICT (site, name, identity) DO UPDATE SET count = coalesce(totals.count, 0) + excluded.count, "
        "last = larger(coalesce(totals.last, excluded.last), coalesce(excluded.last, totals.last)), "
        "first = lesser(coalesce(totals.first, excluded.first), coalesce(excluded.first, totals.first))",
        (target, site, lead.id),
    )
    tx.run("UPDATE totals SET count = NULL, last = NULL, first = NULL WHERE site = ? AND identity = ?", (site, lead.id))
    lead.principal_id = target
    attributes.absorb(tx, site, lead.id, target)


def _journal(
    tx: Connection,
    site: int,
    lead: Identity,
    user: Identity,
    row_ids: RowIds,
    now_ms: int,
    *,
    outcome: str,
    verified: bool,
    by: str,
    reason: str,
) -> None:
    tx.run(
        "INSERT INTO merges (site, id, lead, target, outcome, at, by_whom, reason, verified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (site, row_ids.mint(now_ms), lead.id, user.principal_id, outcome, now_ms, by, reason, int(verified)),
    )
