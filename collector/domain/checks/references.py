"""Who points where: persons and their identities, the journal, and rows that belong to nobody."""

from collections.abc import Iterator

from collector.domain import tombstones
from collector.domain.checks.findings import Finding, Part
from collector.domain.identities import EMAIL, LEAD
from collector.domain.secrets import Keyring
from collector.domain.tombstones import CONTACT

_CHUNK = 500


def pointers(part: Part) -> Iterator[Finding]:
    """A principal points to itself, everybody else to a principal; only users take in."""
    for identity, kind, principal, its_principal, its_kind in part.rows(_POINTERS):
        if its_principal is None:
            yield part.finding("pointer", "a person", f"{principal}, which is not there", identity)
        elif its_principal != principal:
            yield part.finding("pointer", "a principal", f"{principal}, which points to {its_principal}", identity)
        else:
            yield part.finding("pointer", "a lead of a user, or a user of an email", f"{kind} of {its_kind}", identity)


_POINTERS = f"""SELECT i.id, i.kind, i.principal_id, p.principal_id, p.kind
FROM identities i LEFT JOIN identities p ON p.site = i.site AND p.id = i.principal_id
WHERE i.site = ? AND i.id > ? AND i.id <= ? AND i.principal_id <> i.id
AND (p.id IS NULL OR p.principal_id <> p.id OR i.kind = '{EMAIL}' OR p.kind = '{LEAD}' OR (i.kind <> '{LEAD}' AND p.kind <> '{EMAIL}'))"""


def journal(part: Part) -> Iterator[Finding]:
    """A lead that a user has taken in has one line of the journal that says so, into that user; nobody else has any."""
    for identity, principal, lines, target in part.rows(_LINES):
        found = f"into {target}" if lines == 1 else f"{lines} lines"
        yield part.finding("journal", f"one line of a merge into {principal}", found, identity)
    for identity, target in part.rows(_STRAY_LINES):
        yield part.finding("journal", "no line of a merge in force", f"a line into {target}", identity)


_LINES = f"""SELECT i.id, i.principal_id, count(m.id), max(m.target) FROM identities i
LEFT JOIN merges m ON m.site = i.site AND m.lead = i.id AND m.outcome = 'merged' AND m.undone_at IS NULL
WHERE i.site = ? AND i.id > ? AND i.id <= ? AND i.kind = '{LEAD}' AND i.principal_id <> i.id
GROUP BY i.id, i.principal_id HAVING count(m.id) <> 1 OR max(m.target) <> i.principal_id"""
_STRAY_LINES = f"""SELECT m.lead, m.target FROM merges m JOIN identities i ON i.site = m.site AND i.id = m.lead
WHERE m.site = ? AND m.lead > ? AND m.lead <= ? AND m.outcome = 'merged' AND m.undone_at IS NULL
AND (i.kind <> '{LEAD}' OR i.principal_id = i.id)"""


def orphans(part: Part) -> Iterator[Finding]:
    """Whatever belongs to an identity goes with it."""
    for table in ("totals", "attributes", "visits", "deliveries", "delivery_links", "decisions", "former_addresses", "handovers"):
        for (identity,) in part.rows(_ORPHANS.format(table)):
            yield part.finding("row_without_identity", "an identity", f"none for a row of {table}", identity)
    for (identity,) in part.rows(_LINKS):
        yield part.finding("link_without_delivery", "a delivery", "none for a row of delivery_links", identity)
    for (identity,) in part.rows(_HALF_DELETED):
        yield part.finding("deletion", "no identity any more", "an identity whose events are being wiped", identity)


_ORPHANS = """SELECT DISTINCT t.identity FROM {} t LEFT JOIN identities i ON i.site = t.site AND i.id = t.identity
WHERE t.site = ? AND t.identity > ? AND t.identity <= ? AND i.id IS NULL"""
_LINKS = """SELECT DISTINCT l.identity FROM delivery_links l
LEFT JOIN deliveries d ON d.site = l.site AND d.identity = l.identity AND d.message = l.message AND d.n = l.n
WHERE l.site = ? AND l.identity > ? AND l.identity <= ? AND d.n IS NULL"""
_HALF_DELETED = """SELECT d.identity FROM deletions d JOIN identities i ON i.site = d.site AND i.id = d.identity
WHERE d.site = ? AND d.identity > ? AND d.identity <= ?"""


def deleted(part: Part, keyring: Keyring) -> Iterator[Finding]:
    """Whoever was deleted and came anew knows since when, so that nothing older counts again, and has another contact id."""
    if part.connection.row("SELECT 1 FROM tombstones WHERE site = ? LIMIT 1", (part.site,)) is None:
        return
    sql = "SELECT id, kind, value, not_before, public_id FROM identities WHERE site = ? AND id > ? AND id <= ?"
    for chunk in part.connection.chunks(sql, part.bounds, _CHUNK):
        contacts = {(CONTACT, public_id): number for number, kind, _, _, public_id in chunk if kind == EMAIL}
        for key in tombstones.times(part.connection, part.site, keyring, contacts):
            yield part.finding("tombstone", "no contact who was deleted", "one", contacts[key])
        known = {(kind, value): (number, not_before) for number, kind, value, not_before, _ in chunk}
        for key, at in tombstones.times(part.connection, part.site, keyring, known).items():
            number, not_before = known[key]
            if not_before < at:
                yield part.finding("tombstone", f"nothing before the deletion at {at}", f"everything since {not_before}", number)


def of_site(whole: Part) -> Iterator[Finding]:
    """What a site refers to: journal, messages and names."""
    for lead, target, has_lead, has_target in whole.rows(_MERGES, (whole.site,)):
        for identity, present in ((lead, has_lead), (target, has_target)):
            if present is None:
                yield whole.finding("row_without_identity", "an identity", "none for a row of merges", identity)
    for (message,) in whole.rows(_MESSAGES, (whole.site,)):
        yield whole.finding("delivery_without_message", "a message", f"none with row id {message}")
    for table, column, kind, standard in (("totals", "name", "event", 0), ("attributes", "attr", "attribute", 999)):
        for number in distinct(whole, table, column, standard):
            present = whole.connection.value("SELECT kind FROM names WHERE site = ? AND id = ?", (whole.site, number))
            if present != kind:
                yield whole.finding("name", f"a name of kind {kind}", present or f"none for rows of {table}", name=number)


_MERGES = """SELECT m.lead, m.target, l.id, t.id FROM merges m LEFT JOIN identities l ON l.site = m.site AND l.id = m.lead
LEFT JOIN identities t ON t.site = m.site AND t.id = m.target WHERE m.site = ? AND (l.id IS NULL OR t.id IS NULL)
AND NOT EXISTS (SELECT 1 FROM deletions d WHERE d.site = m.site AND d.identity IN (m.lead, m.target))"""
_MESSAGES = """SELECT DISTINCT d.message FROM deliveries d LEFT JOIN auto_messages m ON m.site = d.site AND m.id = d.message
WHERE d.site = ? AND m.id IS NULL"""


def distinct(part: Part, table: str, column: str, after: int) -> Iterator[int]:
    """Yield the different values of the column that follows the site in a table's key, each found at once."""
    while True:
        found = part.connection.value(f"SELECT min({column}) FROM {table} WHERE site = ? AND {column} > ?", (part.site, after))
        if found is None:
            return
        yield found
        after = found
