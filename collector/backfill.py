"""Going back: a thread of the serving process that applies new event rules to the timeline, while traffic goes on.

What it writes goes the way of all events, through the writer; derived ids make it and counting live meet. Interrupted anywhere it goes
on from its last step, in this process or in another one.
"""

import functools
import logging
import threading
from collections.abc import Iterator

from collector.domain import event_rules
from collector.domain.event_rules import EventRule
from collector.domain.sites import Site, site_ids
from collector.services import Services

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it looks for new rules."""
MOST_SECONDS = 300.0
"""How long it rests at most between two tries where it is interrupted again and again; the rest doubles each time."""
_PAUSE_SECONDS = 0.005
_LOCK = 7_305_808_869_229_541  # PostgreSQL advisory lock; any fixed number


class Backfill:
    """The thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="backfill", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End between two steps; who waits for the database for longer than `seconds` is left behind."""
        self._stopping.set()
        self._thread.join(seconds)

    def _loop(self) -> None:
        rest = LOOK_SECONDS
        while not self._stopping.wait(rest):
            try:
                self._look()
                rest = LOOK_SECONDS
            except Exception as error:  # a guest in this process: whatever it is, serving goes on, and it tries again
                rest = min(2 * rest, MOST_SECONDS)
                what = "applying event rules to the timeline was interrupted and goes on in %g seconds: %s"
                log.warning(what, rest, type(error).__name__)

    def _look(self) -> None:
        services = self._services
        if not self._waiting():
            return
        with services.written.alone(_LOCK) as alone:
            if not alone:
                return
            waiting = self._waiting()
            sites = {site.id: site for site in services.sites.all()}
            for site, rule in waiting:
                if site in sites and not self._finished(sites[site], rule):
                    return

    def _waiting(self) -> list[tuple[int, EventRule]]:
        """Return the rules that are to be applied, with the row ids of their sites."""
        now = self._services.clock()
        with self._services.database.read() as connection:
            return [(site, rule) for site in site_ids(connection) for rule in event_rules.pending(connection, site, now)]

    def _finished(self, site: Site, rule: EventRule) -> bool:
        return not any(self._stopping.wait(_PAUSE_SECONDS) for _ in apply(self._services, site, rule))


def apply(services: Services, site: Site, rule: EventRule) -> Iterator[None]:
    """Apply a rule to the timeline, one committed step after the other; between two the caller may rest, or stop."""
    oldest = services.clock() - services.settings.retention
    services.writer.settle()  # page views may wait here since before the rule was known
    for step in event_rules.steps(services.database, site, services.names, rule, oldest):
        if step.submissions:
            services.writer.record(site.id, step.submissions)
        services.writer.run(site.id, functools.partial(event_rules.note_step, site=site.id, rule=rule, step=step, now_ms=services.clock()))
        yield
