"""What was decided about messages that were meant for somebody (audience, page and trigger held): offered, or which rule held it back.

One row stands for each identity, message, outcome and hour, with how often and when last, and stays for 30 days. What was shown or held
out stands among the deliveries already. A decision belongs to the identity that asked; a person's are those of all its identities.
"""

import functools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from collector.domain.deletion import Transact
from collector.domain.deliveries import Delivery
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR

KEPT = 30 * DAY
"""How long a decision is kept (ms)."""
MOST_EXPLAINED = 500
"""The most decisions given out as an explanation, the newest."""
STEP = 200
"""Rows written in one transaction: on PostgreSQL the people they are about wait for it."""
DROPPED = 500
"""Rows dropped in one transaction."""
MOST_PENDING = 5_000
"""Notes that wait to be written, each of all that one page view decided; what comes beyond is not kept."""
MOST_ROWS = 5_000
"""Rows written at once, so that a busy site's decisions never crowd out its events; what comes beyond is not kept."""


class Decided(msgspec.Struct, frozen=True):
    """What one identity met within an hour: `times` times, the last `last_at` (ms)."""

    identity: int
    message: int
    outcome: str
    times: int
    last_at: int


Row = tuple[int, int, str, int, int, int]
"""Identity, message, outcome, hour, times, last_at."""


class Decisions:
    """Notes decisions in memory and writes them later, those that are alike as one: whoever decides never waits for it.

    What cannot be written is lost, and so is what waits when a process dies: decisions explain, nothing rests on them.
    """

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._pending: deque[tuple[int, int, Sequence[tuple[int, str]], int]] = deque()
        self._writing = threading.Lock()

    def note(self, site: int, identity: int, outcomes: Sequence[tuple[int, str]], at_ms: int) -> None:
        """Note outcomes, each with the message's row id, of one moment (ms)."""
        if outcomes and len(self._pending) < MOST_PENDING:
            self._pending.append((site, identity, outcomes, at_ms))

    def write(self) -> None:
        """Write what was noted, in short transactions.

        Raises:
            Exception: the database does not take it; what was noted is gone.
        """
        with self._writing:
            found = self._taken()
            for site, rows in groupby(sorted(found), key=lambda key: key[0]):
                whole: list[Row] = [(*key[1:], *found[key]) for key in rows]
                for start in range(0, len(whole), STEP):
                    self._transact(functools.partial(_write, site=site, rows=whole[start : start + STEP]))

    def _taken(self) -> dict[tuple[int, int, int, str, int], tuple[int, int]]:
        found: dict[tuple[int, int, int, str, int], tuple[int, int]] = {}
        while self._pending:
            site, identity, outcomes, at_ms = self._pending.popleft()
            for message, outcome in outcomes:
                key = (site, identity, message, outcome, at_ms // HOUR)
                if len(found) >= MOST_ROWS and key not in found:
                    continue
                times, last_at = found.get(key, (0, at_ms))
                found[key] = (times + 1, max(last_at, at_ms))
        return found


def of_person(connection: Connection, site: int, person: int, message: int | None = None) -> list[Decided]:
    """Return what is kept for all identities of a person, about one message or each, the newest first."""
    which, parameters = ("", ()) if message is None else (" AND message = ?", (message,))
    rows = connection.rows(
        "SELECT identity, message, outcome, times, last_at FROM decisions WHERE site = ? AND identity IN "
        f"(SELECT id FROM identities WHERE site = ? AND principal_id = ?){which} "
        "ORDER BY last_at DESC, message, identity, outcome",
        (site, site, person, *parameters),
    )
    return [Decided(*row) for row in rows]


def with_deliveries(decided: Sequence[Decided], had: Sequence[Delivery], now_ms: int) -> list[Decided]:
    """Return decisions together with what was shown or held out within the days a decision is kept, the newest first."""
    given = [Decided(one.identity, one.message, one.arm, 1, one.claimed_at) for one in had]
    young = [one for one in (*decided, *given) if now_ms - one.last_at < KEPT]
    return sorted(young, key=lambda one: -one.last_at)[:MOST_EXPLAINED]


def drop(transact: Transact, site: int, now_ms: int) -> Iterator[int]:
    """Drop what is older than it is kept, one transaction at a time; yields the number of rows after each."""
    dropped = DROPPED
    while dropped == DROPPED:
        dropped = transact(functools.partial(_drop, site=site, before=(now_ms - KEPT) // HOUR))
        yield dropped


def _write(tx: Connection, *, site: int, rows: Sequence[Row]) -> int:
    """Add to what is there; whoever was deleted meanwhile is left out, and nobody is deleted until the commit."""
    among, parameters = tx.among(sorted({row[0] for row in rows}))
    lock = " FOR SHARE" if tx.engine == "postgresql" else ""
    present = {row[0] for row in tx.rows(f"SELECT id FROM identities WHERE site = ? AND id {among} ORDER BY id{lock}", (site, *parameters))}
    kept = [(site, *row) for row in rows if row[0] in present]
    tx.insert("decisions", ("site", "identity", "message", "outcome", "hour", "times", "last_at"), kept, _ADD)
    return len(kept)


def _drop(tx: Connection, *, site: int, before: int) -> int:
    sql = (
        "DELETE FROM decisions WHERE site = ? AND (identity, message, outcome, hour) IN "
        "(SELECT identity, message, outcome, hour FROM decisions WHERE site = ? AND hour < ? LIMIT ?)"
    )
    return tx.run(sql, (site, site, before, DROPPED))


_ADD = (
    "ON CONFLICT (site, identity, message, outcome, hour) DO UPDATE SET "
    "times = decisions.times + excluded.times, last_at = larger(decisions.last_at, excluded.last_at)"
)
