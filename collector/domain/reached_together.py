"""Who has to be asked again which goals they reached, since they were one person with somebody from whom they were parted.

It stands among what upkeep writes down (`goals of SITE PERSON`), so that any process goes on with it: as `at` since when they were one
(ms, 0 where nobody knows), as `upto` how often the person was parted since it was asked.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from collector.domain.identities import marks
from collector.storage.database import Connection


class Parted(NamedTuple):
    """How often somebody was parted from others since they were asked, and since when they had been one with the first of these (ms)."""

    times: int
    since: int


def ask_again(tx: Connection, site: int, people: tuple[int, int], merged_at: int) -> None:
    """Note that two people (principals), parted just now and locked, are to be asked again, where they got messages with goals."""
    theirs = "site = ? AND identity IN (SELECT id FROM identities WHERE site = ? AND principal_id IN (?, ?))"
    if tx.row(f"SELECT 1 FROM deliveries WHERE {theirs} AND goal_before IS NOT NULL LIMIT 1", (site, site, *people)):
        rows = [(f"{_of(site)}{person}", merged_at, 1) for person in sorted(people)]
        then = "ON CONFLICT (part) DO UPDATE SET at = lesser(upkeep.at, excluded.at), upto = upkeep.upto + excluded.upto"
        tx.insert("upkeep", ("part", "at", "upto"), rows, then)


def waiting(connection: Connection, site: int) -> dict[int, Parted]:
    """Return who is to be asked again (principals)."""
    begin = _of(site)
    rows = connection.rows("SELECT part, upto, at FROM upkeep WHERE part LIKE ?", (f"{begin}%",))
    return {int(part.removeprefix(begin)): Parted(times, since) for part, times, since in rows}


def asked(tx: Connection, site: int, people: Mapping[int, Parted]) -> None:
    """Note that these were asked; who was parted once more meanwhile is asked once more."""
    for person, parted in sorted(people.items()):  # as `ask_again` writes them, or the two would wait for each other
        tx.run("DELETE FROM upkeep WHERE part = ? AND upto = ?", (f"{_of(site)}{person}", parted.times))


def among(tx: Connection, site: int, identities: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return whose of these identities, all locked, are to be asked again: the person of each, and how often it was parted."""
    parted = waiting(tx, site)
    if not parted:
        return {}
    numbers = sorted(identities)
    rows = tx.rows(f"SELECT id, principal_id FROM identities WHERE site = ? AND id IN ({marks(numbers)})", (site, *numbers))
    return {identity: (person, parted[person].times) for identity, person in rows if person in parted}


def _of(site: int) -> str:
    return f"goals of {site} "
