"""Writing down what was decided, and what browsers gave up: a thread of the serving process, so that no request waits for it."""

import logging
import threading

from collector.ingest.failures import described
from collector.services import Services

log = logging.getLogger(__name__)

SECONDS = 10.0


class DecisionKeeper:
    """The thread. What was noted meanwhile is written together: a person who goes from page to page makes one row."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="decisions", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """Write what is left, and end; where the database takes longer than `seconds` for it, that is left behind."""
        self._stopping.set()
        self._thread.join(seconds)

    def _loop(self) -> None:
        while not self._stopping.wait(SECONDS):
            self.write()
        self.write()

    def write(self) -> None:
        """Write what was noted; a guest in this process: whatever fails, serving goes on."""
        try:
            self._services.decisions.write()
        except Exception as error:  # a guest in this process: nothing rests on decisions, and serving goes on
            log.warning("decisions on messages were not kept: %s", described(error))
        try:
            for site, items in self._services.losses.write().items():
                log.warning("site %s: browsers report %s items given up, which their store had no room for", site, items)
        except Exception as error:  # likewise
            log.warning("what browsers gave up was not written down: %s", described(error))
