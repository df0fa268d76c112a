"""The fast path for counting everybody whom a query describes: columns in memory, as exact as SQL at the moment of the question.

Each question first asks the feed of changes for what was committed since the last one and reads those people again, so that it never lags
behind a write that was acknowledged before, whichever collector took it. A thread does the same now and then, so that little is left to
do; it runs while somebody asks. Whoever has to have an answer asks SQL where this gives None, and so does who reads in a transaction: what
is kept here is the present.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from collector.domain import changes
from collector.domain.column_rules import Mask, Question, Unsupported
from collector.domain.column_sources import PEOPLE, width
from collector.domain.column_table import Table, TooMuchChanged
from collector.domain.names import Names
from collector.domain.sites import Site
from collector.storage.database import Database
from collector.values.clock import Clock
from collector.values.query_tree import Node

log = logging.getLogger(__name__)

_T = TypeVar("_T")
INTERVAL_SECONDS = 0.1
"""How often the thread catches up."""
KEPT_SECONDS = 600.0
"""How long a site is kept after the last question, and how long one that cannot be held is not tried again."""
_PERSON_BYTES = width(PEOPLE) + 9


class _Kept:
    """What is kept of one site. Used by whoever holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.table: Table | None = None
        self.asked = time.monotonic()
        self.refused_until = 0.0


class Columns:
    """The columns of all sites of one process. Safe to share between threads."""

    def __init__(self, database: Database, names: Names, clock: Clock, limit_bytes: int) -> None:
        """`limit_bytes` bounds the arrays of all sites together; 0 keeps none."""
        self._database = database
        self._names = names
        self._clock = clock
        self._limit = limit_bytes
        self._sites: dict[int, _Kept] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def count(self, site: Site, node: Node, now_ms: int) -> int | None:
        """Return how many people a query describes, or None where columns do not tell. It asks for no segment any more (`expand`)."""
        return self._ask(site, node, now_ms, lambda mask, _: int(np.count_nonzero(mask)))

    def ids(self, site: Site, node: Node, now_ms: int) -> list[int] | None:
        """Return their principal ids in ascending order, or None."""
        return self._ask(site, node, now_ms, lambda mask, table: np.sort(table.ids[mask]).tolist())

    def size(self) -> int:
        """Return the bytes of all arrays."""
        return sum(table.bytes for kept in list(self._sites.values()) if (table := kept.table) is not None)

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _ask(self, site: Site, node: Node, now_ms: int, answer: Callable[[Mask, Table], _T]) -> _T | None:
        if self._limit == 0 or self._database.in_transaction():
            return None
        try:
            question = Question(site, self._names, node, now_ms)
        except Unsupported:
            return None
        kept = self._kept(site.id)
        with kept.lock, _forgetting(kept):
            table = self._ready(kept, site.id, question)
            if table is None:
                return None
            try:
                return answer(question.matching(table), table)
            except Unsupported:
                return None

    def _kept(self, site: int) -> _Kept:
        with self._lock:
            kept = self._sites.setdefault(site, _Kept())
            kept.asked = time.monotonic()
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._keep_up, name="columns", daemon=True)
                self._thread.start()
            return kept

    def _ready(self, kept: _Kept, site: int, question: Question) -> Table | None:
        """Return the table as of now, with what the question needs; None where it has no room."""
        if kept.refused_until > time.monotonic():
            return None
        self._refresh(kept)
        table = kept.table or self._build(kept, site)
        if table is None or not self._make_room(kept, table, question):
            return None
        missing = [key for key in question.keys if key not in table.columns]
        for key in missing:
            with self._database.snapshot() as connection:
                table.load(connection, key)
        if missing:
            self._refresh(kept)  # columns are of the moment they were loaded: this brings all of them to one
            table = kept.table
            if table is None:  # it has moved so far meanwhile that it is quicker to begin anew, next time
                return None
        table.use(question.keys)
        return table

    def _build(self, kept: _Kept, site: int) -> Table | None:
        with self._database.snapshot() as connection:
            number = connection.value("SELECT count(*) FROM identities WHERE site = ? AND principal_id = id", (site,))
            fits = self._release(kept, number * _PERSON_BYTES, 0)
            if not fits or not changes.is_complete(connection, self._clock()):
                kept.refused_until = time.monotonic() + KEPT_SECONDS
                return None
            kept.table = Table(connection, site)
        return kept.table

    def _make_room(self, kept: _Kept, table: Table, question: Question) -> bool:
        """Drop columns that nobody asked for lately, of this site and then of others, until those of a question fit."""
        more = table.bytes_for(question.keys)
        for key in [key for key in table.columns if key != PEOPLE and key not in question.keys]:
            if self.size() + more <= self._limit:
                return True
            del table.columns[key]
        return self._release(kept, more, table.bytes)

    def _release(self, kept: _Kept, more: int, own: int) -> bool:
        """Drop other sites, the one asked longest ago first, until there is room; say whether there is."""
        if own + more > self._limit:
            return False
        for other in sorted((one for one in list(self._sites.values()) if one is not kept), key=lambda one: one.asked):
            if self.size() + more <= self._limit:
                break
            if other.lock.acquire(blocking=False):
                other.table = None
                other.lock.release()
        return self.size() + more <= self._limit

    def _refresh(self, kept: _Kept) -> None:
        """Bring a table to the present; where that is too far, there is none any more."""
        table = kept.table
        if table is None:
            return
        try:
            with self._database.read() as connection:
                people, position = changes.since(connection, table.site, table.position)
            if not people:
                table.position = position
                return
            # Who changed, and what they add up to now, as of one moment.
            with self._database.snapshot() as connection:
                table.refresh(connection, *changes.since(connection, table.site, table.position))
        except (changes.Purged, TooMuchChanged):
            kept.table = None

    def _keep_up(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            with self._lock:
                old = [site for site, kept in self._sites.items() if kept.asked < time.monotonic() - KEPT_SECONDS]
                for site in old:
                    del self._sites[site]
                if not self._sites:
                    self._thread = None
                    return
                everybody = list(self._sites.values())
            for kept in everybody:
                # What goes wrong here goes wrong for whoever asks next too, who is told.
                with contextlib.suppress(Exception), kept.lock, _forgetting(kept):
                    self._refresh(kept)


@contextlib.contextmanager
def _forgetting(kept: _Kept) -> Iterator[None]:
    """Keep nothing of a site where something failed half-way."""
    try:
        yield
    except BaseException:
        kept.table = None
        raise
