"""The doctor: recounts everything from what is stored by itself, at one moment, while collectors write.

    a person's total = the fold of its identities' own totals;   own = imported + pruned + the events of the timeline

Both sides of each equation are stored, by different statements, so a mistake anywhere shows as a difference. Sites are gone through
in spans of identities, and the sums are compared by the database, so that memory stays bounded however much is stored.
"""

from collections.abc import Iterator

import msgspec

from collector.domain import rounds
from collector.domain.checks import references, sums, timeline
from collector.domain.checks.findings import Finding, Part, Slice
from collector.domain.secrets import Keyring
from collector.storage.database import Connection, Database
from collector.storage.snapshots import damage, dangling, snapshot

SPAN = 5_000
"""Identities looked at together."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_TABLES = (
    *("identities", "totals", "attributes", "visits", "merges", "deliveries", "delivery_links", "decisions", "handovers"),
    *("names", "auto_messages", "auto_message_versions", "segments", "event_rules", "element_rules", "simulations"),
    *("tokens", "account_sites", "tombstones", "deletions", "former_addresses", "slice_sites", "changes", "changes_purged"),
)
"""Every table whose rows belong to a site, but for the slices."""
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
_CHECKS = (
    *(sums.own_totals, sums.person_totals, sums.absorbed_totals, sums.person_attributes, sums.visit_attributes),
    *(sums.activity, sums.person_visits),
    *(references.pointers, references.journal, references.orphans),
)


class Counts(msgspec.Struct):
    """What there was to recount."""

    sites: int = 0
    people: int = 0
    identities: int = 0
    events: int = 0
    totals: int = 0
    attributes: int = 0
    deletions_to_finish: int = 0
    """Identities whose person is deleted, and whose events `serve` or `prune` is to wipe."""


def examine(database: Database, keyring: Keyring | None = None, counts: Counts | None = None, *, span: int = SPAN) -> Iterator[Finding]:
    """Yield everything that is not as it has to be; `counts` is filled meanwhile. Without a keyring, tombstones are not looked at.

    The schema has to be this version's.
    """
    with snapshot(database, in_parts=True) as connection:
        if damaged := damage(connection):  # what cannot be read cannot be recounted
            yield from (Finding("file", "whole pages", line) for line in damaged)
            return
        yield from (Finding("file", "whole references", line) for line in dangling(connection))
        yield from _durable(connection)
        yield from rounds.undone(connection)
        counted, wrong = timeline.slices(connection)
        yield from wrong
        keys: dict[int, str] = dict(connection.rows("SELECT id, site_key FROM sites"))
        counts = counts or Counts()
        counts.sites = len(keys)
        for site in sorted(keys.keys() | _named(connection, counted)):
            if site not in keys:
                yield Finding("row_without_site", "a site", "none for its rows", str(site))
            yield from _examine_site(connection, site, keys.get(site, str(site)), tuple(counted), keyring, span)
            _count(connection, site, counted, counts)


def _durable(connection: Connection) -> Iterator[Finding]:
    """Say what lets a server of PostgreSQL lose, in a power cut, what it has answered.

    Collectors ask for synchronous commits by themselves, in their own sessions; so what is looked at is how a session begins.
    """
    if connection.engine == "postgresql":
        begun = dict(connection.rows("SELECT name, reset_val FROM pg_settings"))
        for setting in _DURABLE:
            if begun[setting] == "off":
                yield Finding("durable", f"{setting} on", "off")


def _examine_site(
    connection: Connection, site: int, key: str, counted: tuple[Slice, ...], keyring: Keyring | None, span: int
) -> Iterator[Finding]:
    whole = Part(connection, site, key, _LEAST, _MOST, counted)
    yield from references.of_site(whole)
    yield from timeline.places(whole)
    for after, upto in _spans(connection, site, span):
        part = Part(connection, site, key, after, upto, counted)
        for check in _CHECKS:
            yield from check(part)
        if keyring is not None:
            yield from references.deleted(part, keyring)


def _spans(connection: Connection, site: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield bounds (after, upto) that together hold every row id, with up to `size` identities between them."""
    after: int = _LEAST
    while True:
        upto = connection.value("SELECT id FROM identities WHERE site = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?", (site, after, size - 1))
        yield after, _MOST if upto is None else upto
        if upto is None:
            return
        after = upto


def _named(connection: Connection, counted: list[Slice]) -> set[int]:
    """Return every site that some row names."""
    found: set[int] = set()
    for table in (*_TABLES, *(f"events_{one.number}" for one in counted)):
        site = connection.value(f"SELECT min(site) FROM {table}")
        while site is not None:
            found.add(site)
            site = connection.value(f"SELECT min(site) FROM {table} WHERE site > ?", (site,))
    return found


def _count(connection: Connection, site: int, counted: list[Slice], counts: Counts) -> None:
    """Add what a site has."""

    def rows(table: str, condition: str = "") -> int:
        return int(connection.value(f"SELECT count(*) FROM {table} WHERE site = ?{condition}", (site,)))

    counts.identities += rows("identities")
    counts.people += rows("identities", " AND principal_id = id")
    counts.events += sum(rows(f"events_{one.number}") for one in counted)
    counts.totals += rows("totals")
    counts.attributes += rows("attributes")
    counts.deletions_to_finish += rows("deletions")
