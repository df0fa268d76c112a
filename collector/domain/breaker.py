"""A circuit breaker: what fails again and again, or takes too long, is let rest for a while, then tried by one."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

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
    tried: bool = False
    """Whether it was tried since it rests: what was begun before and succeeds late says nothing."""


class Breaker:
    """Keeps what one process knows of the guests of its sites. A site without trouble takes no room. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
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
            now = self._clock()
            if now < trouble.until:
                return False
            trouble.until, trouble.tried = now + REST_SECONDS, True
            return True

    def failed(self, site: int, what: str) -> int:
        """Note a failure, and return how many there were in a row."""
        with self._lock:
            trouble = self._troubles.setdefault((site, what), _Trouble())
            trouble.failures += 1
            if trouble.failures >= MOST_FAILURES:
                trouble.until, trouble.tried = self._clock() + REST_SECONDS, False
            if len(self._troubles) > _MOST_KEPT:
                self._troubles.popitem(last=False)
            return trouble.failures

    def succeeded(self, site: int, what: str) -> bool:
        """Note a success, and say whether it ends a rest."""
        if not self._troubles:
            return False
        with self._lock:
            trouble = self._troubles.get((site, what))
            rests = trouble is not None and trouble.failures >= MOST_FAILURES
            if trouble is not None and (trouble.tried or not rests):
                del self._troubles[(site, what)]
            return rests and trouble is not None and trouble.tried

    def resting(self) -> set[int]:
        """Return the sites of which something rests now."""
        now = self._clock()
        with self._lock:
            return {site for (site, _), trouble in self._troubles.items() if now < trouble.until}
