"""What the public site key may cause: it is in every page's source, so anybody can send with it."""

import threading
from collections import OrderedDict
from typing import Protocol

from collector.values.clock import MINUTE

_MOST_SITES = 10_000


class PerMinute:
    """Bounds how many of something one site may cause in a minute, in one process.

    Where several threads write, each may go beyond it by what it is about to write, one group.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._made: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def left(self, site: int, now_ms: int) -> int:
        """Return how many more this minute may bring. What is being written by another thread is not known yet."""
        with self._lock:
            began, count = self._made.get(site, (0, 0))
        return self._per_minute - (count if began == now_ms // MINUTE else 0)

    def book(self, site: int, now_ms: int, made: int) -> None:
        """Note how many were made, after the commit: what was undone does not count."""
        minute = now_ms // MINUTE
        with self._lock:
            began, count = self._made.pop(site, (minute, 0))
            self._made[site] = (minute, made + (count if began == minute else 0))
            if len(self._made) > _MOST_SITES:
                self._made.popitem(last=False)


class Bound(Protocol):
    """Bounds how many people the word of browsers makes."""

    def left(self, site: int, now_ms: int) -> int:
        """Return how many more may be made."""

    def book(self, site: int, now_ms: int, made: int) -> None:
        """Hear how many were."""


class NewPeople(PerMinute):
    """Bounds how many people the unproved word of browsers makes.

    A flood then grows the database at a known rate, whether it invents leads or user ids. Real visitors who meet the bound are
    told to come back later. It is no defence against somebody who wants to keep them out; that takes bounds by address.
    """
