"""Upkeep: what the database needs now and then. `serve` does it by itself, soon after a start and each night; `prune` does it at once.

Silent leads are deleted, deleted people's events wiped, weeks behind the timeline pruned, old decisions
and simulations dropped. Every step is a short transaction, and the
work may be interrupted between any two: the next round goes on. What fails is logged and written down (`domain/rounds`), and keeps
nothing else from being done.
"""

import contextlib
import functools
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from collector.domain import agreement, changes, decisions, deletion, handovers, mending, pruning, rounds, simulation_runs
from collector.domain.agreement import Told
from collector.domain.deletion import Transact
from collector.domain.rounds import Attempt, Believed, ClockDoubted
from collector.domain.sites import site_ids
from collector.ingest.failures import described, places
from collector.services import Services
from collector.settings import SettingsError, environment_name
from collector.storage import rewriting
from collector.storage.database import Connection
from collector.storage.faults import is_outage, is_transient, reason
from collector.storage.writer import Overloaded
from collector.values.clock import DAY, HOUR, MINUTE

log = logging.getLogger(__name__)

_PARTS = ("clock", "settings", "leads", "wiping", "mending", pruning.PART, "decisions", "simulations", "rewriting", "feed", "handovers")
PAUSE_SECONDS = 0.01
"""Between two steps, so that whoever serves comes first."""
_RETRY_SECONDS = 3_600
_SOON_SECONDS = 600  # between two rounds where a log that may hold what was deleted could not be cut
_FEED_SECONDS = 60.0  # between two purges of the feed of changes, which grows with every commit, and of hand-overs, which hold secrets
_SPREAD_SECONDS = 600  # collectors that share a database do not begin all at once


class Report(msgspec.Struct):
    """What a round did: leads deleted, slices closed and dropped, events added to the totals' base and wiped, people mended.

    `failed` is how many parts could not be done, `left` which were left to another process that is at them.
    """

    leads: int = 0
    closed: int = 0
    dropped: int = 0
    moved: int = 0
    wiped: int = 0
    mended: int = 0
    failed: int = 0
    left: list[str] = []


class _Parts:
    """The parts of one round, each site's by itself: what fails in one keeps nothing else from being done."""

    def __init__(self, keys: Mapping[int, str]) -> None:
        self._keys = keys
        """The key of each site, by which an operator knows it, by its row id."""
        self.troubles: dict[str, str] = {}
        """Why a part was not done, the first thing that was in its way."""
        self.left: set[str] = set()
        """Those that another process was at."""

    @contextlib.contextmanager
    def attempt(self, part: str, site: int) -> Iterator[None]:
        """Run a part for one site (0: for all); whatever is raised is logged, but for an outage, which is nobody's fault here."""
        try:
            yield
        except Exception as error:
            if _is_outage(error):
                raise
            log_part(part, site, error)
            known = f" ({self._keys[site]})" if site in self._keys else ""
            self.troubles.setdefault(part, type(error).__name__ + (f" at site {site}{known}" if site else ""))

    def refuse(self, part: str, why: str) -> None:
        """Note that a part is not to be done."""
        log.error("upkeep: %s: %s", part, why)
        self.troubles[part] = why

    def leave(self, part: str) -> None:
        """Note that a part is left to another process: how it went is for that one to say."""
        self.left.add(part)


def _is_outage(error: Exception) -> bool:
    """Say whether nothing else can be done now either; a table that somebody holds keeps up its own week alone."""
    return isinstance(error, Overloaded) or (is_outage(error) and not is_transient(error))


def round_of(services: Services, transact: Transact, report: Report, *, trusted: bool = False, alone: bool = False) -> Iterator[None]:
    """Do what is due and note it; after each step the caller may rest, or stop.

    A `trusted` clock is believed in any case. `alone`, these settings hold, whatever those of other collectors are.
    """
    keys = {site.id: site.key for site in services.sites.all()}
    parts, sites = _Parts(keys), list(keys)
    now = services.clock()
    told = tell_settings(services, transact, alone=alone)
    present = _believed(services, transact, parts, sites, told["retention_days"][-1] * DAY, trusted)
    longest = _agreed(services, transact, parts, told, present)
    if present is not None:
        yield from _delete_leads(services, transact, parts, sites, present - longest.lead_retention, report)
    for site in sites:
        with parts.attempt("wiping", site):
            for events in deletion.wipe(services.written, services.slices, transact, site):
                report.wiped += events
                yield
    with services.written.read() as connection:
        lately = mending.is_due(connection, now)
    for site in sites if lately else ():
        with parts.attempt("mending", site):
            for people in mending.mend(services.written, transact, site, now):
                report.mended += people
                yield
    if present is not None:
        steps = pruning.prune(services.written, services.slices, transact, present, longest.retention, parts.attempt, parts.leave, now)
        for step in steps:
            report.closed += step.what == "closed"
            report.dropped += step.what == "dropped"
            report.moved += step.events if step.what == "moved" else 0
            yield
        for site in sites:
            with parts.attempt("decisions", site):
                for _ in decisions.drop(transact, site, present):
                    yield
            with parts.attempt("simulations", site):
                for _ in simulation_runs.drop(services.written, transact, site, present):
                    yield
    with parts.attempt("rewriting", 0):
        _rewrite(services, transact, parts)
    yield
    purge_feed(services, transact, parts.attempt)
    report.failed = transact(functools.partial(rounds.note, now_ms=now, parts=_PARTS, troubles=parts.troubles, left=parts.left))
    report.left = sorted(parts.left)
    yield


class _Longest(msgspec.Struct, frozen=True):
    """The longest times (ms) that any collector on this database was set to lately."""

    retention: int
    lead_retention: int


def check_shorter(services: Services) -> None:
    """Make sure that no time is shorter here than one that a collector on this database told.

    Raises:
        SettingsError: one is; the message names both.
    """
    with services.written.read() as connection:
        longer = agreement.shortened(connection, _own(services))
    if not longer:
        return
    told = ", ".join(
        f"{environment_name(name)} is {_own(services)[name]} here and {value} for a collector" for name, value in longer.items()
    )
    raise SettingsError(
        f"{told}: what lies between the two would be gone for good, so nothing was done. Set it here as the collectors have it; "
        "where all of them are set to the shorter time, add --shorten"
    )


def _own(services: Services) -> dict[str, int]:
    """Return what has to be the same for all collectors, as it is set here."""
    return {name: getattr(services.settings, name) for name in ("retention_days", "lead_retention_days")}


def tell_settings(services: Services, transact: Transact, *, alone: bool = False) -> Told:
    """Write down what this collector was set to, of what has to be the same for all, and return what all have told."""
    return _asked(transact, lambda tx: agreement.tell(tx, _own(services), services.clock(), alone=alone))


def _agreed(services: Services, transact: Transact, parts: _Parts, told: Told, present: int | None) -> _Longest:
    if present is not None:
        told = _asked(transact, lambda tx: agreement.forget(tx, _own(services), present))
    differing = agreement.disagreement(told)
    if differing is not None:
        parts.refuse("settings", differing)
    return _Longest(told["retention_days"][-1] * DAY, told["lead_retention_days"][-1] * DAY)


def _asked(transact: Transact, work: Callable[[Connection], Told]) -> Told:
    found: list[Told] = []

    def ask(tx: Connection) -> int:
        found.append(work(tx))
        return 0

    transact(ask)
    return found[-1]


def _believed(services: Services, transact: Transact, parts: _Parts, sites: Sequence[int], retention: int, trusted: bool) -> int | None:
    """Return the present by which is judged what is old, or None where the clock is not believed."""
    found: list[Believed] = []

    def ask(tx: Connection) -> int:
        found.append(rounds.believed(tx, sites, services.clock(), retention, trusted=trusted))
        return 0

    try:
        transact(ask)
    except ClockDoubted as doubt:
        parts.refuse("clock", f"{doubt}; nothing is taken away by it. {rounds.HINT}")
        return None
    if found[-1].trouble is not None:
        parts.refuse("clock", found[-1].trouble)
    return found[-1].now_ms


def _delete_leads(
    services: Services, transact: Transact, parts: _Parts, sites: Sequence[int], before: int, report: Report
) -> Iterator[None]:
    for site in sites:
        with parts.attempt("leads", site):
            for lead in deletion.silent_leads(services.written, site, before):
                delete = functools.partial(deletion.delete_silent_lead, site=site, lead=lead, before_ms=before, now_ms=services.clock())
                with parts.attempt("leads", site):
                    report.leads += transact(delete)
                yield


def _rewrite(services: Services, transact: Transact, parts: _Parts) -> None:
    """Write SQLite's file anew where that is owed. What keeps this from being done, a full disk too, may be in the way of nothing else."""
    try:
        if not rewriting.rewrite(services.written, functools.partial(_wipe_all, services, transact, parts)):
            parts.refuse("rewriting", "somebody reads in the log beside the file, which may hold what was deleted: it is tried again soon")
    except rewriting.NoRoom as refusal:
        parts.refuse("rewriting", str(refusal))
    except Exception as error:
        if not is_outage(error):
            raise
        parts.refuse("rewriting", reason(error))


def _wipe_all(services: Services, transact: Transact, parts: _Parts) -> bool:
    """Wipe what is left of whoever was deleted, and say whether nothing is left, at any site."""
    for site in _sites(services):
        with parts.attempt("wiping", site):
            for _ in deletion.wipe(services.written, services.slices, transact, site):
                pass
    return "wiping" not in parts.troubles


def _sites(services: Services) -> list[int]:
    with services.written.read() as connection:
        return site_ids(connection)


def purge_feed(services: Services, transact: Transact, attempt: Attempt = rounds.raising) -> None:
    """Purge what no reader of the feed of changes needs any more, and the hand-overs whose time is over."""
    for site in _sites(services):
        with attempt("handovers", site):
            transact(functools.partial(handovers.purge, site=site, now_ms=services.clock()))
        with attempt("feed", site):
            while transact(functools.partial(changes.purge, site=site, now_ms=services.clock())):
                pass


def log_part(part: str, site: int, error: Exception) -> None:
    """Log that a part of upkeep failed: its type and its places in the code, and nothing of what was being handled."""
    log.error("upkeep: %s%s failed: %s\n%s", part, f" of site {site}" if site else "", type(error).__name__, places(error))


class Upkeep:
    """A thread that does a round soon after the start and then each night.

    Each minute it finishes interrupted deletions and purges the feed of changes.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._told: set[tuple[str, int, type[Exception]]] = set()
        self._thread = threading.Thread(target=self._loop, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End between two steps; who waits for the database for longer than `seconds` is left behind."""
        self._stopping.set()
        self._thread.join(seconds)

    def _loop(self) -> None:
        seconds: float = self._services.settings.upkeep_delay_seconds
        while not self._stopping.wait(min(seconds, _FEED_SECONDS)):
            seconds -= _FEED_SECONDS
            if seconds <= 0:
                seconds = self._round()
            self._each_minute()

    def _each_minute(self) -> None:
        """Do what is not to wait for the night; what fails is logged once between two rounds, and tried again in a minute."""

        @contextlib.contextmanager
        def attempt(part: str, site: int) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                if (part, site, type(error)) not in self._told:
                    self._told.add((part, site, type(error)))
                    log_part(part, site, error)

        services, transact = self._services, self._transact()
        with attempt("feed", 0):
            before = services.clock() - MINUTE  # whoever deletes somebody now is at it
            for site in _sites(services):
                with attempt("wiping", site):
                    for _ in deletion.wipe(services.written, services.slices, transact, site, before):
                        if self._stopping.wait(PAUSE_SECONDS):
                            return
            purge_feed(services, transact, attempt)

    def _transact(self) -> Transact:
        # SQLite has one writer, which orders everybody; on PostgreSQL a wait for a lock must not keep the writer waiting.
        database = self._services.written
        return functools.partial(self._services.writer.run, 0) if database.engine == "sqlite" else database.transact

    def _round(self) -> float:
        """Do a round and return the seconds until the next."""
        report = Report()
        self._told.clear()
        transact = self._transact()
        try:
            for _ in round_of(self._services, transact, report):
                if self._stopping.wait(PAUSE_SECONDS):
                    return 0
            soon = rewriting.log_is_owed(self._services.written)
        except Exception as error:  # a guest in this process: whatever it is, serving goes on, and the next round begins anew
            log.warning("upkeep was interrupted and goes on later: %s", described(error))
            return _RETRY_SECONDS
        if report != Report(left=report.left):  # what another process is at, that one says
            log.info("upkeep: %s", msgspec.structs.asdict(report))
        if soon:
            return _SOON_SECONDS
        return seconds_until(self._services.clock(), self._services.settings.upkeep_hour) + random.uniform(0, _SPREAD_SECONDS)  # noqa: S311


def seconds_until(now_ms: int, hour: int) -> float:
    """Return the seconds until the next time it is this hour (UTC), more than 0."""
    due = now_ms // DAY * DAY + hour * HOUR
    return ((due if due > now_ms else due + DAY) - now_ms) / 1_000
