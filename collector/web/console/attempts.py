"""How often a password may be tried: a bounded memory of attempts per email, and a bound on the work of checking them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from collector.values.clock import MINUTE, Clock

MOST = 10
"""Attempts per email within WINDOW; a successful one clears them."""
WINDOW = 15 * MINUTE
_MOST_EMAILS = 10_000
_AT_ONCE = 4  # each check takes 32 MB and a core
_PATIENCE_SECONDS = 10.0


class Attempts:
    """Counts attempts in this process. The email need not exist, so that the answer does not tell whether it does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._checks = threading.BoundedSemaphore(_AT_ONCE)
        self._by_email: OrderedDict[str, list[int]] = OrderedDict()

    def allow(self, email: str) -> bool:
        """Count an attempt, before it is checked so that many at once are no way around; False where there were too many."""
        now = self._clock()
        with self._lock:
            recent = [at for at in self._by_email.pop(email, []) if now - at < WINDOW]
            allowed = len(recent) < MOST
            self._by_email[email] = [*recent, now] if allowed else recent
            while len(self._by_email) > _MOST_EMAILS:
                self._by_email.popitem(last=False)
            return allowed

    def succeeded(self, email: str) -> None:
        """Forget the attempts of an email."""
        with self._lock:
            self._by_email.pop(email, None)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for one of a few places to stretch a password in; yields False where none came free in time."""
        taken = self._checks.acquire(timeout=_PATIENCE_SECONDS)
        try:
            yield taken
        finally:
            if taken:
                self._checks.release()
