"""What browsers gave up: items for which their bounded store had no room, mostly while the collector could not be reached.

It happened in strangers' browsers and is reported by them, so it is a hint to the operator and counts nowhere. A report whose answer is
lost comes again and is added again.
"""

import functools
import threading

import msgspec

from collector.domain.deletion import Transact
from collector.storage.database import Connection

MOST = 10_000
"""What one report may add; a store holds about a thousand items."""


class Reported(msgspec.Struct, frozen=True):
    """How many items browsers of a site reported as given up since its beginning, and when last (ms)."""

    items: int
    last_at: int


class Losses:
    """Adds reports up in memory and writes them later, a row for each site: no envelope waits for a row that all of them share."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._lock = threading.Lock()
        self._pending: dict[int, Reported] = {}

    def note(self, site: int, items: int, at_ms: int) -> None:
        """Note a report of one browser (at `at_ms`), whatever number it names."""
        if items > 0:
            with self._lock:
                self._add(site, Reported(min(items, MOST), at_ms))

    def write(self) -> dict[int, int]:
        """Write what was noted and return by site how many items that were.

        Raises:
            Exception: the database does not take it; what was noted waits for the next time.
        """
        with self._lock:
            taken, self._pending = self._pending, {}
        try:
            if taken:
                self._transact(functools.partial(_write, taken=taken))
        except Exception:  # whatever it is: raised, and what was taken goes with the next
            with self._lock:
                for site, one in taken.items():
                    self._add(site, one)
            raise
        return {site: one.items for site, one in taken.items()}

    def _add(self, site: int, more: Reported) -> None:
        before = self._pending.get(site, Reported(0, 0))
        self._pending[site] = Reported(before.items + more.items, max(before.last_at, more.last_at))


def of_site(connection: Connection, site: int) -> Reported | None:
    """Return what browsers of a site reported; None where they never did. What came within the last seconds is not among it."""
    rows = connection.rows("SELECT upto, at FROM upkeep WHERE part = ?", (_part(site),))
    return Reported(*rows[0]) if rows else None


def _write(tx: Connection, *, taken: dict[int, Reported]) -> int:
    rows = [(_part(site), one.last_at, one.items) for site, one in sorted(taken.items())]
    then = "ON CONFLICT (part) DO UPDATE SET at = larger(upkeep.at, excluded.at), upto = upkeep.upto + excluded.upto"
    tx.insert("upkeep", ("part", "at", "upto"), rows, then)
    return len(rows)


def _part(site: int) -> str:
    return f"lost {site}"
