"""The Flask application: surfaces put together, nothing else."""

from flask import Flask
from werkzeug.exceptions import HTTPException

from collector.services import Services
from collector.web import api, assets, browser, console, health


def create_app(services: Services, responder: browser.Responder | None = None) -> Flask:
    """Return the application of one installation; `responder` is shared with an entry in front of it."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.config["MAX_CONTENT_LENGTH"] = services.settings.body_limit * 8
    app.register_blueprint(browser.blueprint(responder or browser.Responder(services)))
    app.register_blueprint(assets.blueprint(services))
    app.register_blueprint(health.blueprint(services))
    app.register_blueprint(api.blueprint(services), url_prefix="/api")
    app.register_blueprint(console.blueprint(services), url_prefix="/console")
    app.register_error_handler(HTTPException, api.answer_http_error)
    return app
