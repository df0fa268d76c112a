"""How often a password may be tried: a bounded memory of attempts, and a bound on the work of checking them.

Attempts are counted for an email at an address, so that a stranger cannot lock the owner out, and more loosely for the email alone, which
keeps nobody out where they signed in before. An address is what one subscriber has: of IPv6 a network. Addresses are kept as digests under
a key of this process. Behind a proxy that is not named as one, all of them are the proxy's.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from collector.values.clock import MINUTE, Clock

MOST = 10
"""Attempts for an email at one address within WINDOW; a successful one clears them."""
MOST_ANYWHERE = 200
"""Attempts for an email from all addresses within WINDOW."""
WINDOW = 15 * MINUTE
_MOST_PLACES = 20_000
_AT_ONCE = 4  # each check takes 32 MB and a core
_MOST_HELD = 12  # who is checked or waits for it holds a thread that others could be answered by
_PATIENCE_SECONDS = 10.0


class Attempts:
    """Counts attempts in this process. The email need not exist, so that the answer does not tell whether it does.

    Of the console's `threads` at least half are left to those who are signed in already.
    """

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        held = min(threads // 2, _MOST_HELD)
        self._places = threading.BoundedSemaphore(held)
        self._checks = threading.BoundedSemaphore(min(held, _AT_ONCE))
        self._key = os.urandom(16)
        self._recent: OrderedDict[bytes, list[int]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        """Where somebody signed in, the last one last."""

    def allow(self, email: str, address: str) -> bool:
        """Count an attempt, before it is checked so that many at once are no way around; False where there were too many."""
        place = self._place(email, address)
        with self._lock:
            if place in self._known:
                return self._count(place, MOST)
            return self._count(place, MOST) and self._count(self._place(email, ""), MOST_ANYWHERE)

    def take_back(self, email: str, address: str) -> None:
        """Count the last attempt no more: nobody had the time to check it."""
        with self._lock:
            here = self._place(email, address)
            for place in (here,) if here in self._known else (here, self._place(email, "")):
                if recent := self._recent.get(place):
                    recent.pop()

    def succeeded(self, email: str, address: str) -> None:
        """Forget the attempts for an email at an address, and remember who was there."""
        place = self._place(email, address)
        with self._lock:
            self._recent.pop(place, None)
            self._known.pop(place, None)
            self._known[place] = None
            if len(self._known) > _MOST_PLACES:
                self._known.popitem(last=False)

    def _count(self, place: bytes, most: int) -> bool:
        now = self._clock()
        recent = [at for at in self._recent.pop(place, []) if now - at < WINDOW]
        allowed = len(recent) < most
        self._recent[place] = [*recent, now] if allowed else recent
        while len(self._recent) > _MOST_PLACES:
            self._recent.popitem(last=False)
        return allowed

    def _place(self, email: str, address: str) -> bytes:
        return hashlib.blake2b(f"{address} {email}".encode("utf-8", "replace"), key=self._key, digest_size=16).digest()

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for one of a few places to stretch a password in; yields False where none came free in time, or too many wait."""
        if not self._places.acquire(blocking=False):
            yield False
            return
        try:
            taken = self._checks.acquire(timeout=_PATIENCE_SECONDS)
            try:
                yield taken
            finally:
                if taken:
                    self._checks.release()
        finally:
            self._places.release()
