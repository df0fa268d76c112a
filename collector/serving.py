"""Serving: granian in front of the collector, and the collector as a WSGI application for any other server."""

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from granian import _signals
from granian._granian import WorkerSignal
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from collector import processes
from collector.app import create_app
from collector.backfill import Backfill
from collector.decision_keeper import DecisionKeeper
from collector.domain.agreement import disagreement
from collector.goal_keeper import GoalKeeper
from collector.ingest.bots import is_bot
from collector.services import Services, build
from collector.settings import Settings, load_settings, require_secret_key
from collector.setup import check_installed
from collector.storage.faults import is_unavailable, reason
from collector.upkeep import Upkeep, tell_settings
from collector.web.browser import Responder, WsgiEntry
from collector.web.rsgi import RsgiEntry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

_GUESTS_SECONDS = 10.0
"""How long upkeep and its like may take to end; who waits for the database for longer is left behind."""

_SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter while another waits for it: the writer's needs it for moments only, and all wait for those."""

_HEAD_BYTES = 65_536  # the most that a request's line and headers may take

_END_SECONDS = 40
"""How long a worker may take to end: it waits for each request under way, and one may wait for a lock of the database without end."""


def wsgi(services: Services) -> "WSGIApplication":
    """Return the whole collector as a WSGI application: the fast entry for browsers in front of Flask."""
    responder = Responder(services)
    return WsgiEntry(responder, create_app(services, responder).wsgi_app)


def wsgi_application() -> "WSGIApplication":
    """Return the WSGI application for the settings of the environment, as `gunicorn 'collector.serving:wsgi_application()'` loads it."""
    services = _services()
    services.sites.all()  # a key that is missing is said now, not to the first visitor
    guests, process = _guests(services), os.getpid()

    def close() -> None:
        if os.getpid() == process:  # what was forked from it has nothing to close
            _close(services, guests)

    atexit.register(close)
    return wsgi(services)


def application() -> RsgiEntry:
    """Return the RSGI application for the settings of the environment; what granian's worker loads."""
    if multiprocessing.parent_process() is not None:
        # The handler that came along by the fork is the server's own. An order to end that came since, or comes before the worker's own
        # handler is there, ends it at once.
        for number in processes.ORDERS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, processes.ORDERS)
        _signals.set_loop_signals = _hears_orders  # granian takes it from there once this application is loaded
    processes.share_the_heap()  # before there are threads
    services = _services(apart=True)
    services.writer.died = _end
    guests = _guests(services)
    _end_with_parent(services)
    responder = Responder(services)
    app = create_app(services, responder)
    processes.look_for_garbage_seldom()
    sys.setswitchinterval(_SWITCH_SECONDS)

    def close() -> None:
        _close(services, guests)

    return RsgiEntry(
        responder,
        app.wsgi_app,
        threads=services.settings.threads,
        console_threads=services.settings.console_threads,
        largest=app.config["MAX_CONTENT_LENGTH"],
        close=close,
    )


_Guests = tuple[Upkeep, Backfill, GoalKeeper, DecisionKeeper]


def _guests(services: Services) -> _Guests:
    return Upkeep(services), Backfill(services), GoalKeeper(services), DecisionKeeper(services)


def _close(services: Services, guests: _Guests) -> None:
    """Write what is queued and end what goes on by itself."""
    deadline = time.monotonic() + _GUESTS_SECONDS
    for seconds in (0.0, _GUESTS_SECONDS):  # told all, then waited for
        for guest in guests:
            guest.stop(min(seconds, max(0.0, deadline - time.monotonic())))
    services.close()


def free_address(settings: Settings) -> str:
    """Return the host's address, which is free: granian's socket would share it with another server, and half the traffic.

    Raises:
        OSError: the host is not this machine, or the port is in use.
    """
    why = "it is no address"
    try:
        found = sorted(socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM))  # IPv4 first
    except OSError as error:
        found, why = [], str(error.strerror)
    for family, _, _, _, place in found:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                return str(place[0])
        except OSError as error:
            why = str(error.strerror)
    raise OSError(f"cannot listen on {settings.host}:{settings.port}: {why}") from None


def serve(settings: Settings) -> None:
    """Serve until interrupted. A worker that ends by itself is replaced; where it was the only one, everything ends, for the supervisor."""
    _Server(
        "collector.serving:application",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,  # the other one is a proxy's to speak; without one it lets a few bytes stand for many headers
        http1_settings=HTTP1Settings(max_buffer_size=_HEAD_BYTES),
        websockets=False,
        workers=settings.workers,
        respawn_failed_workers=settings.workers > 1,
        workers_kill_timeout=_END_SECONDS,
        backlog=2_048,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()
    for number in processes.ORDERS:  # it has ended: whoever says so again would only change the exit code
        signal.signal(number, signal.SIG_IGN)


class _Server(MPServer):
    """granian's server, which may be ordered to end as often as one likes.

    Its own handler of signals sets an event; a second signal that comes while the first one wakes who waits for that event finds its lock
    taken by the thread that it interrupted, and both wait for ever.
    """

    def signal_handler_interrupt(self, *_: object, **__: object) -> None:
        """Begin to end."""
        self.interrupt_signal = True
        threading.Thread(target=self.main_loop_interrupt.set, name="interrupt").start()

    def signal_handler_reload(self, *_: object, **__: object) -> None:
        """Begin to start anew."""

        def begin() -> None:  # the flag first, and not before: the loop that wakes without one would wake for ever
            self.reload_signal = True
            self.main_loop_interrupt.set()

        threading.Thread(target=begin, name="reload").start()

    def _spawn_workers(self, *given: Any) -> None:
        with processes.orders_held():  # Python forgets, in a process that is being forked, the signals that it has just got
            super()._spawn_workers(*given)  # type: ignore[no-untyped-call]  # granian says nothing of it

    def _respawn_workers(self, *given: Any, **named: Any) -> None:
        with processes.orders_held():
            super()._respawn_workers(*given, **named)
        if self.interrupt_signal:  # it may have come just before the loop forgot that anything did
            self.main_loop_interrupt.set()


def _hears_orders(loop: asyncio.AbstractEventLoop) -> WorkerSignal:
    """Return what granian's worker waits for, set by the first order to end alone.

    It is a channel that holds one more: the worker of granian's own handler stands still at the third, with all its threads.
    """
    event, told = WorkerSignal(), False

    def end() -> None:
        nonlocal told
        if not told:
            told = True
            event.set()

    for number in processes.ORDERS:
        loop.add_signal_handler(number, end)
    return event


def _services(*, apart: bool = False) -> Services:
    processes.log_to_standard_error()
    is_bot("")  # loads its patterns now, not while the first visitor waits
    settings = require_secret_key(load_settings())
    check_installed(settings, with_site=True)
    services = build(settings, apart=apart)
    try:
        differing = disagreement(tell_settings(services, services.written.transact))
    except Exception as error:  # each driver has its own for an outage, and for a fault of ours
        if not is_unavailable(error):
            raise
        differing = f"the database takes no commits now, which may pass: {reason(error)}"
    if differing is not None:
        log.warning(differing)
    return services


def _end() -> None:
    """End this worker in order, as it can write nothing any more: who started it replaces it. What does not come to an end is ended."""
    last = threading.Timer(_END_SECONDS, os._exit, (1,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with_parent(services: Services) -> None:
    """End this worker when the process that started it is gone, now or already: an orphan would go on serving beside its successor."""
    parent = multiprocessing.parent_process()
    if parent is None:  # nobody started it: it is no worker
        return

    def watch() -> None:
        parent.join()
        services.writer.close()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
