"""Looking for goals that were met: a thread of the serving process, so that neither ingest nor claims wait for it."""

import functools
import logging
import threading

from collector.domain import goals, reached_together
from collector.ingest import goals_asked
from collector.ingest.failures import described
from collector.services import Services
from collector.values.clock import HOUR

log = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
_LOCK = 7_305_808_869_229_542  # PostgreSQL advisory lock; any fixed number


class GoalKeeper:
    """The thread. Of many collectors on one database one looks at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._late_at: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="goals", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End between two steps; who waits for the database for longer than `seconds` is left behind."""
        self._stopping.set()
        self._thread.join(seconds)

    def _loop(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                with self._services.written.alone(_LOCK) as alone:
                    if alone:
                        self.look(self._services.clock())
            except Exception as error:  # a guest in this process: whatever it is, serving goes on, and it looks again
                log.warning("looking for goals was interrupted and goes on later: %s", described(error))

    def look(self, now_ms: int) -> None:
        """Note every goal that was met. One that cannot be looked for keeps no other from it."""
        services = self._services
        with services.database.read() as connection:
            before = goals.looked_at(connection, now_ms)
        late = self._late_at is None or now_ms - self._late_at >= HOUR
        since = before - goals.LATE if late else before
        looked = False
        for site in services.sites.all():
            messages, parted = goals_asked.to_ask(services, site)
            looked = looked or bool(messages)
            if goals_asked.ask_again(services, site, messages, parted, now_ms, self._stopping) and parted:
                services.writer.run(site.id, functools.partial(reached_together.asked, site=site.id, people=parted))
            for message in messages:
                if self._stopping.is_set():
                    return
                with goals_asked.apart(message):
                    found = goals.met(services.database, site, services.names, message, now_ms, since, services.settings.retention)
                    goals_asked.note(services, site, message, found, now_ms, self._stopping)
        if looked and (before == now_ms or now_ms - before >= goals.WRITTEN):
            services.writer.run(0, functools.partial(goals.note_look, now_ms=now_ms))
        self._late_at = now_ms if late else self._late_at
