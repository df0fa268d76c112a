"""Upkeep: what the database needs now and then. `serve` does it by itself, soon after a start and each night; `prune` does it at once.

Silent leads are deleted, deleted people's events wiped, weeks behind the timeline pruned. Every step is a short transaction, and the
work may be interrupted between any two: the next round goes on.
"""

import contextlib
import functools
import logging
import random
import threading
from collections.abc import Iterator

import msgspec

from collector.domain import changes, deletion, mending, pruning
from collector.domain.deletion import Transact
from collector.services import Services
from collector.storage import migrations
from collector.values.clock import DAY, HOUR

log = logging.getLogger(__name__)

MENDED = 14 * DAY
"""How long after a change of the schema collectors of the version before may still have been writing (ms): what they left is mended."""
PAUSE_SECONDS = 0.01
"""Between two steps, so that whoever serves comes first."""
_RETRY_SECONDS = 3_600
_FEED_SECONDS = 60.0  # between two purges of the feed of changes, which grows with every commit
_SPREAD_SECONDS = 600  # collectors that share a database do not begin all at once


class Report(msgspec.Struct):
    """What a round did: leads deleted, slices closed and dropped, events added to the totals' base and wiped, people mended."""

    leads: int = 0
    closed: int = 0
    dropped: int = 0
    moved: int = 0
    wiped: int = 0
    mended: int = 0


def round_of(services: Services, transact: Transact, report: Report) -> Iterator[None]:
    """Do what is due and note it; after each step the caller may rest, or stop."""
    now = services.clock()
    before = now - services.settings.lead_retention
    for site in services.sites.all():
        for lead in deletion.silent_leads(services.written, site.id, before):
            delete = functools.partial(deletion.delete_silent_lead, site=site.id, lead=lead, before_ms=before, now_ms=now)
            report.leads += transact(delete)
            yield
    for events in deletion.wipe(services.written, services.slices, transact):
        report.wiped += events
        yield
    with services.written.read() as connection:
        lately = migrations.newest_at(connection) > now - MENDED
    for site in services.sites.all() if lately else ():
        for people in mending.mend(services.written, transact, site.id, now):
            report.mended += people
            yield
    for step in pruning.prune(services.written, services.slices, transact, now, services.settings.retention):
        report.closed += step.what == "closed"
        report.dropped += step.what == "dropped"
        report.moved += step.events if step.what == "moved" else 0
        yield
    services.written.rewrite()
    services.written.cut_log()
    yield


def purge_feed(services: Services, transact: Transact) -> None:
    """Purge what no reader of the feed of changes needs any more."""
    for site in services.sites.all():
        while transact(functools.partial(changes.purge, site=site.id, now_ms=services.clock())):
            pass


class Upkeep:
    """A thread that does a round soon after the start and then each night, and purges the feed of changes each minute."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End between two steps."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        seconds: float = self._services.settings.upkeep_delay_seconds
        while not self._stopping.wait(min(seconds, _FEED_SECONDS)):
            seconds -= _FEED_SECONDS
            if seconds <= 0:
                seconds = self._round()
            with contextlib.suppress(Exception):  # in a minute again
                purge_feed(self._services, self._transact())

    def _transact(self) -> Transact:
        # SQLite has one writer, which orders everybody; on PostgreSQL a wait for a lock must not keep the writer waiting.
        database = self._services.written
        return functools.partial(self._services.writer.run, 0) if database.engine == "sqlite" else database.transact

    def _round(self) -> float:
        """Do a round and return the seconds until the next."""
        report = Report()
        transact = self._transact()
        try:
            for _ in round_of(self._services, transact, report):
                if self._stopping.wait(PAUSE_SECONDS):
                    return 0
        except Exception as error:  # a guest in this process: whatever it is, serving goes on, and the next round begins anew
            log.warning("upkeep was interrupted and goes on later: %s", type(error).__name__)
            return _RETRY_SECONDS
        if any(msgspec.structs.astuple(report)):
            log.info("upkeep: %s", msgspec.structs.asdict(report))
        return seconds_until(self._services.clock(), self._services.settings.upkeep_hour) + random.uniform(0, _SPREAD_SECONDS)  # noqa: S311


def seconds_until(now_ms: int, hour: int) -> float:
    """Return the seconds until the next time it is this hour (UTC), more than 0."""
    due = now_ms // DAY * DAY + hour * HOUR
    return ((due if due > now_ms else due + DAY) - now_ms) / 1_000
