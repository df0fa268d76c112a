"""A lead becomes part of a user, and back. Nothing is rewritten: a pointer moves, a few totals and attributes are folded again.

The journal (`merges`) keeps who, when, why and whether the user id was verified. The first committed claim keeps the lead; a later
claim by another user is journalled as refused, as far as there is room for that. Undoing is exact at any time, because every row still
says what its identity did alone; the pair is then blocked from merging again by itself.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from enum import Enum

from collector.domain import attributes, changes, identities, reached_together, visits
from collector.domain.identities import LEAD, Identity
from collector.domain.journal import NoMerge
from collector.domain.people import NoPerson
from collector.storage.database import Connection
from collector.values.errors import Reason
from collector.values.ids import RowIds


class CannotMerge(ValueError):
    """Two contacts cannot become one; the message says why."""


class Claim(Enum):
    """What became of a user's claim to a lead."""

    MERGED = "merged"
    ALREADY = "already"
    """The lead is the user's already."""
    REFUSED = "refused"
    """Another user has the lead."""
    BLOCKED = "blocked"
    """The pair's merge was undone; it does not merge again by itself."""
    FULL = "full"
    """The user has as many leads, or visits or attributes of leads, as merge by themselves; this one may go on as a person of its own."""


MOST = 1_000
"""Leads of one person from which on no more merge by themselves, unless the user is proved. Who has more is no person but an account that
everybody uses, or somebody who wants the collector to be slow: each merge reads what all of them have. So the visits of both together, and
what leads set, are bounded as those of one person are (`visits.MOST`, `attributes.MOST`)."""

REFUSALS = 100
"""Refused claims that are journalled of one lead, and into one person, of those with a proof and without one each. The site's public key is
enough to be refused without end; so who was refused before those cannot be pushed out by it, nor who is proved kept out."""


class Folding:
    """What the merges of one transaction leave to be folded, once for each person: a fold reads what all its identities have."""

    def __init__(self) -> None:
        self._attributes: dict[int, set[int]] = {}
        self._visits: Counter[int] = Counter()

    def add(self, lead: Identity, target: int, attrs: Collection[int]) -> None:
        """Note that a lead, with values of these attributes, has become part of a person."""
        self._attributes.setdefault(target, set()).update(attrs)
        self._visits[target] += lead.visit_count or 0

    def visits(self, person: int) -> int:
        """Return how many visits leads have brought a person that are not added to its own yet."""
        return self._visits[person]

    def fold(self, tx: Connection, site: int) -> None:
        """Fold what people's identities have of attributes and visits. They are locked by the caller."""
        for person, attrs in sorted(self._attributes.items()):
            _refold(tx, site, [person], attrs)


def _refold(tx: Connection, site: int, people: Sequence[int], attrs: Collection[int]) -> None:
    """Fold these attributes and the visits of people anew."""
    members = identities.members(tx, site, people)
    made = visits.parts(tx, site, members)
    attributes.refold(tx, site, people, {*attrs, *attributes.OF_VISITS}, members, lambda _: visits.contexts(tx, site, made))
    visits.write(tx, site, made)


def claim_lead(
    tx: Connection,
    site: int,
    lead: Identity,
    user: Identity,
    row_ids: RowIds,
    now_ms: int,
    *,
    verified: bool,
    by: str,
    reason: str,
    asked: bool = False,
    folding: Folding | None = None,
) -> Claim:
    """Merge a lead into a user's person where the rules allow it. Both identities and their principals are locked by the caller, who
    folds what `folding` has noted; where there is none, it is done at once.

    `by` says who (`browser`, `rest`, `console`), `reason` why (`identify`, `contacts_merge`). `asked` by somebody who knows what
    they do, a pair merges again although it was undone before.
    """
    if lead.principal_id == user.principal_id:
        return Claim.ALREADY
    if lead.absorbed:
        _refuse(tx, site, lead, user, row_ids, now_ms, verified=verified, by=by, reason=Reason.LEAD_CLAIMED)
        return Claim.REFUSED
    if not asked and tx.row(
        "SELECT 1 FROM merges WHERE site = ? AND lead = ? AND target = ? AND blocked = 1", (site, lead.id, user.principal_id)
    ):
        return Claim.BLOCKED
    later = Folding() if folding is None else folding
    if not (asked or verified) and _is_full(tx, site, lead, user.principal_id, later):
        _refuse(tx, site, lead, user, row_ids, now_ms, verified=verified, by=by, reason=Reason.LEADS_LIMIT)
        return Claim.FULL
    _absorb(tx, site, lead, user, later)
    if folding is None:
        later.fold(tx, site)
    changes.note(tx, site, (lead.id, lead.principal_id), now_ms)
    _journal(tx, site, lead, user, row_ids, now_ms, outcome="merged", verified=verified, by=by, reason=reason)
    return Claim.MERGED


def _is_full(tx: Connection, site: int, lead: Identity, person: int, folding: Folding) -> bool:
    members = "SELECT id, visit_count FROM identities WHERE site = ? AND principal_id = ? LIMIT ?"
    values, of_values = attributes.from_leads(site, person, lead.id)
    sql = f"SELECT count(*), max(CASE WHEN id = ? THEN visit_count END), ({values}) FROM ({members}) m"
    ((identities_of, number, values_of),) = tx.rows(sql, (person, *of_values, site, person, MOST + 1))
    if identities_of > MOST or values_of > attributes.MOST:
        return True
    made = (number or 0) + folding.visits(person) + (lead.visit_count or 0)
    if made * (identities_of + 1) <= visits.MOST:  # whatever parts the others have in them: so nearly always nothing is to be counted
        return False
    parts, whole = visits.count(tx, site, [lead.id, person])
    return whole > visits.MOST or parts > visits.MOST * visits.PARTS_EACH


def merge_contacts(tx: Connection, site: int, lead_id: str, user_id: str, row_ids: RowIds, now_ms: int, *, by: str) -> Claim:
    """Merge a lead into a user on request, both named by contact id.

    Raises:
        NoPerson: there is no such contact.
        CannotMerge: they are not a lead and a user, or the lead is another user's already.
    """
    found = [identities.by_public_id(tx, site, contact_id) for contact_id in (lead_id, user_id)]
    if found[0] is None or found[1] is None:
        raise NoPerson(lead_id if found[0] is None else user_id)
    numbers = [number for one in found if one is not None for number in (one.id, one.principal_id)]
    locked = identities.by_ids(tx, site, numbers, lock=True)
    lead, user = locked.get(found[0].id), locked.get(found[1].id)
    if lead is None or user is None:  # deleted while they were waited for
        raise NoPerson(lead_id if lead is None else user_id)
    if user.kind == LEAD or lead.kind != LEAD or locked.get(user.principal_id, user).kind == LEAD:
        raise CannotMerge("a lead merges into a user")
    claim = claim_lead(tx, site, lead, user, row_ids, now_ms, verified=True, by=by, reason="contacts_merge", asked=True)
    if claim is Claim.REFUSED:
        raise CannotMerge("the lead belongs to another user already")
    return claim


def undo(tx: Connection, site: int, merge_id: int, now_ms: int, *, by: str = "rest") -> bool:
    """Undo a merge exactly: both persons as if it had not happened, later events with the identity that sent them.

    `by` says who asked for it, as `claim_lead` does. Returns False where it was undone before.

    Raises:
        NoMerge: there is no such merge.
    """
    row = tx.row("SELECT lead, target, at, outcome FROM merges WHERE site = ? AND id = ?", (site, merge_id))
    if row is None or row[3] != "merged":
        raise NoMerge(merge_id)
    lead_id, target, merged_at, _ = row
    if len(identities.by_ids(tx, site, [lead_id, target], lock=True)) < 2:  # deleted meanwhile
        raise NoMerge(merge_id)
    marked = tx.run(
        "UPDATE merges SET undone_at = ?, undone_by = ?, blocked = 1 WHERE site = ? AND id = ? AND undone_at IS NULL",
        (now_ms, by, site, merge_id),
    )
    if not marked:
        return False
    detach(tx, site, lead_id, target, now_ms, merged_at)
    return True


def detach(tx: Connection, site: int, lead_id: int, target: int, now_ms: int, merged_at: int = 0) -> None:
    """Make a lead a person of its own again, as if it had never been part of `target`. Both are locked by the caller.

    `merged_at` is when it became part (ms), where that is known. What the journal says of it is the caller's affair.
    """
    tx.run("UPDATE identities SET principal_id = id WHERE site = ? AND id = ?", (site, lead_id))
    tx.run(
        "UPDATE totals SET count = own_count, last = own_last, first = own_first WHERE site = ? AND identity = ? AND own_count > 0",
        (site, lead_id),
    )
    _refold_totals(tx, site, lead_id, target)
    touched = {row[0] for row in tx.rows("SELECT attr FROM attributes WHERE site = ? AND identity = ?", (site, lead_id))}
    for person in (lead_id, target):
        tx.run(
            "UPDATE identities SET active_at = (SELECT max(own_active_at) FROM identities WHERE site = ? AND principal_id = ?) "
            "WHERE site = ? AND id = ?",
            (site, person, site, person),
        )
    _refold(tx, site, [lead_id, target], touched)
    reached_together.ask_again(tx, site, (lead_id, target), merged_at)
    changes.note(tx, site, (lead_id, target), now_ms)


def _absorb(tx: Connection, site: int, lead: Identity, user: Identity, folding: Folding) -> None:
    if lead.kind != LEAD:
        raise ValueError("only a lead merges into another person")
    target = user.principal_id
    tx.run("UPDATE identities SET principal_id = ? WHERE site = ? AND id = ?", (target, site, lead.id))
    if lead.active_at is not None:
        tx.run(
            "UPDATE identities SET active_at = ? WHERE site = ? AND id = ? AND (active_at IS NULL OR active_at < ?)",
            (lead.active_at, site, target, lead.active_at),
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
    folding.add(lead, target, attributes.give_up(tx, site, lead.id))


def _refold_totals(tx: Connection, site: int, lead_id: int, person: int) -> None:
    """Work out a person's totals anew for the names a lead brought, from what each remaining identity did alone."""
    rows = tx.rows(
        "SELECT name, sum(own_count), max(own_last), min(own_first) FROM totals WHERE site = ? AND own_count > 0 "
        "AND identity IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?) "
        "AND name IN (SELECT name FROM totals WHERE site = ? AND identity = ?) GROUP BY name",
        (site, site, person, site, lead_id),
    )
    tx.run(
        "UPDATE totals SET count = NULL, last = NULL, first = NULL WHERE site = ? AND identity = ? "
        "AND name IN (SELECT name FROM totals WHERE site = ? AND identity = ?)",
        (site, person, site, lead_id),
    )
    tx.run_many(
        "UPDATE totals SET count = ?, last = ?, first = ? WHERE site = ? AND identity = ? AND name = ?",
        [(int(count), last, first, site, person, name) for name, count, last, first in rows],
    )


def _refuse(
    tx: Connection, site: int, lead: Identity, user: Identity, row_ids: RowIds, now_ms: int, *, verified: bool, by: str, reason: Reason
) -> None:
    """Write a refused claim down, once for each pair, where there is room; nobody else takes the last of it: both are locked."""
    of_lead, into = (site, lead.id, int(verified), REFUSALS - 1), (site, user.principal_id, int(verified), REFUSALS - 1)
    if not tx.row(_KEPT_BACK, (site, lead.id, user.principal_id, *of_lead, *into)):
        _journal(tx, site, lead, user, row_ids, now_ms, outcome="refused", verified=verified, by=by, reason=reason.value)


# In this order: most are refused again by the page after, and the pair is found at once.
_KEPT_BACK = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM merges WHERE site = ? AND lead = ? AND target = ? AND outcome = 'refused') "
    "OR EXISTS (SELECT 1 FROM merges WHERE site = ? AND lead = ? AND outcome = 'refused' AND verified = ? LIMIT 1 OFFSET ?) "
    "OR EXISTS (SELECT 1 FROM merges WHERE site = ? AND target = ? AND outcome = 'refused' AND verified = ? LIMIT 1 OFFSET ?)"
)


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
    tx.insert(
        "merges",
        ("site", "id", "lead", "target", "outcome", "at", "by_whom", "reason", "verified"),
        [(site, row_ids.mint(now_ms), lead.id, user.principal_id, outcome, now_ms, by, reason, int(verified))],
    )
