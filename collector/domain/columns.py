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
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import numpy as np

from collector.domain import changes
from collector.domain.column_rules import Mask, Question, Unsupported
from collector.domain.column_sources import PEOPLE, Column, Key, width
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
AT_ONCE = 20_000
"""People up to whom what is missing is loaded while the question waits; of more the thread loads it, and meanwhile SQL answers."""
KEPT_SECONDS = 600.0
"""How long a site is kept after the last question, and how long one that cannot be held is not tried again."""
_PERSON_BYTES = width(PEOPLE) + 9
_CLOSE_SECONDS = 5.0


class _Kept:
    """What is kept of one site. The table and the queue are used by whoever holds `lock`, what is loaded by whoever holds `loader`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loader = threading.Lock()
        self.table: Table | None = None
        self.queue: list[tuple[Key, ...]] = []
        """The columns of questions that could not be answered yet."""
        self.asked = time.monotonic()
        self.refused_until = 0.0
        self.moves = 0
        """Of the server that the table was read from; see `Database.moves`."""


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
            thread.join(_CLOSE_SECONDS)

    def _ask(self, site: Site, node: Node, now_ms: int, answer: Callable[[Mask, Table], _T]) -> _T | None:
        if self._limit == 0 or self._database.in_transaction():
            return None
        try:
            question = Question(site, self._names, node, now_ms)
        except Unsupported:
            return None
        kept, keys = self._kept(site.id), tuple(question.keys)
        with self._database.read():  # before any lock: see `_keep_up`
            for loaded in (False, True):
                with kept.lock, _forgetting(kept):
                    self._refresh(kept)
                    table = kept.table
                    if table is not None and all(key in table.columns for key in keys):
                        table.use(keys)
                        try:
                            return answer(question.matching(table), table)
                        except Unsupported:
                            return None
                    if loaded or kept.refused_until > time.monotonic():
                        return None
                    if keys not in kept.queue:
                        kept.queue.append(keys)
                if not self._is_small(kept, site.id):
                    return None
                self._load(kept, site.id)
        return None

    def _is_small(self, kept: _Kept, site: int) -> bool:
        """Say whether the site's columns are loaded in the time that an answer may take."""
        table = kept.table
        if table is not None:
            return table.size <= AT_ONCE
        with self._database.read() as connection:
            sql = "SELECT 1 FROM identities WHERE site = ? AND principal_id = id LIMIT 1 OFFSET ?"
            return connection.row(sql, (site, AT_ONCE)) is None

    def _kept(self, site: int) -> _Kept:
        with self._lock:
            kept = self._sites.setdefault(site, _Kept())
            kept.asked = time.monotonic()
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._keep_up, name="columns", daemon=True)
                self._thread.start()
            return kept

    def _load(self, kept: _Kept, site: int) -> None:
        """Load what questions wait for. They are answered meanwhile, where they can be."""
        with kept.loader, _giving_up(kept):
            if kept.table is None and kept.queue:
                self._build(kept, site)
            while not self._stopping.is_set():
                with kept.lock:
                    table = kept.table
                    if table is None or not kept.queue:
                        kept.queue.clear()
                        return
                    keys = kept.queue[0]
                    key = next((key for key in keys if key not in table.columns), None)
                    if key is None or not self._make_room(kept, table, keys):
                        del kept.queue[0]
                        continue
                    position = table.position
                column = Column(key)
                with self._database.snapshot() as connection:
                    rows = column.read_all(connection, site)
                with kept.lock, _forgetting(kept):
                    if kept.table is table:
                        table.attach(column, rows, position)

    def _build(self, kept: _Kept, site: int) -> None:
        with self._database.snapshot() as connection:
            number = connection.value("SELECT count(*) FROM identities WHERE site = ? AND principal_id = id", (site,))
            if not self._release(kept, number * _PERSON_BYTES, 0) or not changes.is_complete(connection, self._clock()):
                kept.refused_until = time.monotonic() + KEPT_SECONDS
                return
            moves = self._database.moves
            table = Table(connection, site)
        with kept.lock:
            kept.table, kept.moves = table, moves

    def _make_room(self, kept: _Kept, table: Table, keys: Collection[Key]) -> bool:
        """Drop columns that nobody asked for lately, of this site and then of others, until these fit."""
        more = table.bytes_for(keys)
        for key in [key for key in table.columns if key != PEOPLE and key not in keys]:
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
                if self._database.moves != kept.moves:  # positions are a server's own
                    kept.table = None
                    return
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
        """Keep what is in memory up to date.

        Whoever holds a site's lock has its connection already: who asks mostly has one, and all of them might be with those who wait here.
        """
        while not self._stopping.wait(INTERVAL_SECONDS):
            with self._lock:
                old = [site for site, kept in self._sites.items() if kept.asked < time.monotonic() - KEPT_SECONDS]
                for site in old:
                    del self._sites[site]
                if not self._sites:
                    self._thread = None
                    return
                everybody = list(self._sites.items())
            for site, kept in everybody:
                # What goes wrong here goes wrong for whoever asks next too, who is told.
                with contextlib.suppress(Exception), self._database.read():
                    with kept.lock, _forgetting(kept):
                        self._refresh(kept)
                    self._load(kept, site)


@contextlib.contextmanager
def _giving_up(kept: _Kept) -> Iterator[None]:
    """Let questions wait for nothing any more where loading failed: the next one asks anew."""
    try:
        yield
    except BaseException:
        with kept.lock:
            kept.queue.clear()
        raise


@contextlib.contextmanager
def _forgetting(kept: _Kept) -> Iterator[None]:
    """Keep nothing of a site where something failed half-way."""
    try:
        yield
    except BaseException:
        kept.table = None
        raise
