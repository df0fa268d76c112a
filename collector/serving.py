"""Serving: granian in front of the collector's WSGI application."""

import logging
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from collector.app import create_app
from collector.services import Services, build
from collector.settings import Settings, load_settings
from collector.web.browser import BrowserEntry, Responder

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def wsgi(services: Services) -> "WSGIApplication":
    """Return the whole collector as a WSGI application: the fast entry for browsers in front of Flask."""
    respond = Responder(services)
    return BrowserEntry(respond, create_app(services, respond).wsgi_app)


def application() -> "WSGIApplication":
    """Return the application for the settings of the environment; what a WSGI server's worker loads."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return wsgi(build(load_settings()))


def serve(settings: Settings) -> None:
    """Serve until interrupted. One process: SQLite has one writer, and PostgreSQL is shared by starting more of these."""
    Granian(
        "collector.serving:application",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        backlog=2_048,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()
