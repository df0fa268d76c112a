"""What the public site key may cause: it is in every page's source, so anybody can send with it."""

import threading
from collections import OrderedDict

from collector.values.clock import MINUTE

_MOST_SITES = 10_000


class NewLeads:
    """Bounds how many leads that nobody has seen yet one process takes for one site in a minute.

    A flood then grows the database at a known rate. Real visitors who meet the bound are told to come back, and lose nothing.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._taken: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def take(self, site: int, now_ms: int) -> bool:
        """Count a new lead; False where the minute is full."""
        minute = now_ms // MINUTE
        with self._lock:
            began, count = self._taken.pop(site, (minute, 0))
            count = count if began == minute else 0
            allowed = count < self._per_minute
            self._taken[site] = (minute, count + allowed)
            if len(self._taken) > _MOST_SITES:
                self._taken.popitem(last=False)
            return allowed
