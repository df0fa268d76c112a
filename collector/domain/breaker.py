"""A circuit breaker: what fails again and again, or takes too long, is let rest for a while, then tried by one."""

import threading
import time
from collections import OrderedDict

import msgspec

MOST_FAILURES = 5
"""Failures in a row after which something rests."""
REST_SECONDS = 5.0
_MOST_KEPT = 10_000

Key = tuple[int, str]
"""A site's row id, and what it is that fails."""


class _Trouble(msgspec.Struct):
    """How often something failed in a row, and until when it rests (s of the monotonic clock)."""

    failures: int = 0
    until: float = 0.0


class Breaker:
    """Keeps what one process knows of the guests of its sites. A site without trouble takes no room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: OrderedDict[Key, _Trouble] = OrderedDict()

    def admits(self, site: int, what: str) -> bool:
        """Say whether something may be tried. After a rest one may, and the others rest on until it is known what became of that."""
        if not self._troubles:  # nearly always
            return True
        with self._lock:
            trouble = self._troubles.get((site, what))
            if trouble is None or trouble.failures < MOST_FAILURES:
                return True
            now = time.monotonic()
            if now < trouble.until:
                return False
            trouble.until = now + REST_SECONDS
            return True

    def failed(self, site: int, what: str) -> int:
        """Note a failure, and return how many there were in a row."""
        with self._lock:
            trouble = self._troubles.setdefault((site, what), _Trouble())
            trouble.failures += 1
            if trouble.failures >= MOST_FAILURES:
                trouble.until = time.monotonic() + REST_SECONDS
            if len(self._troubles) > _MOST_KEPT:
                self._troubles.popitem(last=False)
            return trouble.failures

    def succeeded(self, site: int, what: str) -> bool:
        """Note a success, and say whether it ends a rest."""
        if not self._troubles:
            return False
        with self._lock:
            trouble = self._troubles.pop((site, what), None)
        return trouble is not None and trouble.failures >= MOST_FAILURES

    def resting(self) -> set[int]:
        """Return the sites of which something rests now."""
        now = time.monotonic()
        with self._lock:
            return {site for (site, _), trouble in self._troubles.items() if now < trouble.until}
