"""The Flask application: surfaces put together, nothing else."""

from logging import LogRecord
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from collector.ingest.failures import described, log_failure
from collector.services import Services
from collector.storage.faults import require_set
from collector.web import api, assets, browser, console, health


class _App(Flask):
    """Flask, which never writes down what an exception says: messages of the database quote what was being handled."""

    def log_exception(self, exc_info: Any) -> None:
        """Log what went wrong outside every handler: while an answer to an error, or a header, was made."""
        log_failure(api.request_id(), exc_info[1])


def _places_alone(record: LogRecord) -> bool:
    """Take out of what Flask logs by itself all that an exception says, and leave where it was."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {described(error)}", (), None
    return True


def create_app(services: Services, responder: browser.Responder | None = None) -> Flask:
    """Return the application of one installation; `responder` is shared with an entry in front of it."""
    app = _App(__name__, static_folder=None)
    app.logger.addFilter(_places_alone)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.config["MAX_CONTENT_LENGTH"] = services.settings.body_limit * 8

    def check_clock() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and request.path not in browser.PATHS:  # these look for themselves
            require_set(services.clock())

    app.before_request(check_clock)
    app.register_blueprint(browser.blueprint(responder or browser.Responder(services)))
    app.register_blueprint(assets.blueprint(services))
    app.register_blueprint(health.blueprint(services))
    app.register_blueprint(api.blueprint(services), url_prefix="/api")
    app.register_blueprint(console.blueprint(services), url_prefix="/console")
    app.register_error_handler(HTTPException, api.answer_http_error)
    app.register_error_handler(Exception, api.answer_exception)
    return app
