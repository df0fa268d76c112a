"""Serving: granian in front of the collector, and the collector as a WSGI application for any other server."""

import logging
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from collector.app import create_app
from collector.services import Services, build
from collector.settings import Settings, load_settings
from collector.web.browser import Responder, WsgiEntry
from collector.web.rsgi import RsgiEntry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def wsgi(services: Services) -> "WSGIApplication":
    """Return the whole collector as a WSGI application: the fast entry for browsers in front of Flask."""
    responder = Responder(services)
    return WsgiEntry(responder, create_app(services, responder).wsgi_app)


def wsgi_application() -> "WSGIApplication":
    """Return the WSGI application for the settings of the environment, as `gunicorn 'collector.serving:wsgi_application()'` loads it."""
    return wsgi(_services())


def application() -> RsgiEntry:
    """Return the RSGI application for the settings of the environment; what granian's worker loads."""
    services = _services()
    responder = Responder(services)
    app = create_app(services, responder)
    return RsgiEntry(
        responder, app.wsgi_app, threads=services.settings.threads, largest=app.config["MAX_CONTENT_LENGTH"], close=services.close
    )


def serve(settings: Settings) -> None:
    """Serve until interrupted. One process: SQLite has one writer, and PostgreSQL is shared by starting more of these."""
    Granian(
        "collector.serving:application",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        workers=1,
        backlog=2_048,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()


def _services() -> Services:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return build(load_settings())
