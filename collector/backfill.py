"""Going back: a thread of the serving process that applies new event rules to the timeline, while traffic goes on.

What it writes goes the way of all events, through the writer; derived ids make it and counting live meet. Interrupted anywhere it goes
on from its last step, in this process or in another one.

It begins when no view is under way any more of which some collector made events before it knew the rule: that one may have waited for a
row that somebody held, and would be committed behind whoever went by its place. How long that is, one clock says, that of this process:
those of collectors differ.
"""

import functools
import logging
import threading
import time
from collections.abc import Iterator

from collector.domain import event_rules
from collector.domain.event_rules import EventRule
from collector.domain.sites import Site, site_ids
from collector.services import Services
from collector.storage.slices import DRIFT

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often it looks for new rules: seldom, since it asks at each site by itself, and none is applied before SETTLED_SECONDS."""
MOST_SECONDS = 300.0
"""How long it rests at most between two tries where it is interrupted again and again; the rest doubles each time."""
SETTLED_SECONDS = 60.0
"""So long after this process saw a rule every collector knows it, and what it took before that is committed or refused: a group waits for a
lock for 10 s at most, and behind one that was not answered for 15 s nobody waits."""
AGAIN = 2 * DRIFT
"""How far back (ms) is gone over once more at the end, for what took longer still; views whose ids are older were long on their way."""
_PAUSE_SECONDS = 0.005
_LOCK = 7_305_808_869_229_541  # PostgreSQL advisory lock; any fixed number


class Backfill:
    """The thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: dict[int, float] = {}
        """When each of the rules that wait was seen first."""
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
        if not self._settled():
            return
        with services.written.alone(_LOCK) as alone:
            if not alone:
                return
            sites = {site.id: site for site in services.sites.all()}
            for site, rule in self._settled():
                if site in sites and not self._finished(sites[site], rule):
                    return

    def _settled(self) -> list[tuple[int, EventRule]]:
        """Return the rules that wait, with their sites' ids, and have been known for long enough."""
        with self._services.database.read() as connection:
            waiting = [(site, rule) for site in site_ids(connection) for rule in event_rules.pending(connection, site)]
        now = time.monotonic()
        self._seen = {rule.id: self._seen.get(rule.id, now) for _, rule in waiting}
        return [(site, rule) for site, rule in waiting if now - self._seen[rule.id] >= SETTLED_SECONDS]

    def _finished(self, site: Site, rule: EventRule) -> bool:
        return not any(self._stopping.wait(_PAUSE_SECONDS) for _ in apply(self._services, site, rule))


def apply(services: Services, site: Site, rule: EventRule) -> Iterator[None]:
    """Apply a rule to the timeline, one committed step after the other; between two the caller may rest, or stop."""
    now = services.clock()
    oldest = now - services.settings.retention
    services.writer.settle()  # page views may wait here since before the rule was known
    for step in event_rules.steps(services.database, site, services.names, rule, oldest, now - AGAIN):
        if step.submissions:
            services.writer.record(site.id, step.submissions)
        if not step.again:
            note = functools.partial(event_rules.note_step, site=site.id, rule=rule, step=step, now_ms=services.clock())
            services.writer.run(site.id, note)
        yield
