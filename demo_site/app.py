"""The Flask application: pages, the content security policy, and what every page tells Leadlight."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, render_template, request, session

from demo_site import accounts, pages, shop, workspace
from demo_site.catalogue import PLANS, SOURCES, price_text
from demo_site.config import SiteConfig
from demo_site.leadlight import calls_for_page
from demo_site.store import Store

HERE = Path(__file__).parent


def create_app(config: SiteConfig) -> Flask:
    """The demo site as a WSGI application. It works with the collector down, as a customer's site has to."""
    app = Flask("demo_site", root_path=str(HERE))
    app.config.update(
        SECRET_KEY=config.secret_key,
        # Cookies ignore ports: a name of its own keeps this apart from whatever else runs on localhost.
        SESSION_COOKIE_NAME="plainsheet_session",
        SESSION_COOKIE_HTTPONLY=True,
        # Lax also keeps other sites from posting the forms, which is why they carry no token.
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.extensions["demo_config"] = config
    app.extensions["demo_store"] = Store(config.database)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["price"] = price_text
    app.jinja_env.filters["day"] = _day

    for blueprint in (pages.blueprint, shop.blueprint, accounts.blueprint, workspace.blueprint):
        app.register_blueprint(blueprint)
    app.before_request(_start)
    app.after_request(_headers)
    app.context_processor(_context)
    app.register_error_handler(404, _not_found)
    return app


def _start() -> None:
    g.nonce = secrets.token_urlsafe(16)
    user_id = session.get("user_id")
    g.user = accounts.store().user(user_id) if user_id else None


def _context() -> dict[str, Any]:
    """What every template may use. `leadlight_calls` is a function, as asking for the calls uses them up."""
    config = accounts.config()

    def leadlight_calls() -> list[list[Any]]:
        calls = calls_for_page(config, g.user)
        g.one_time_page = any(call[0] != "identify" for call in calls)
        return calls

    return {
        "collector": config.collector,
        "site_key": config.site_key,
        "tracker_options": config.tracker_options,
        "leadlight_calls": leadlight_calls,
        "nonce": g.nonce,
        "user": g.user,
        "plans": PLANS,
        "sources": SOURCES,
        "cart_count": sum(shop.cart().values()),
        "path": request.path,
    }


def _headers(response: Response) -> Response:
    """A policy as strict as a careful customer's: what Leadlight needs is its own host, and nothing else."""
    collector = accounts.config().collector_origin
    response.headers["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{g.get('nonce', '')}' {collector}",
            f"connect-src {collector}",
            f"img-src 'self' {collector} https:",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    if response.mimetype == "text/html":
        # Pages differ by who is signed in. One that tells an event must not be told again from the browser's cache.
        response.headers["Cache-Control"] = "no-store" if g.get("one_time_page") else "private, no-cache"
    return response


def _not_found(_error: Exception) -> tuple[str, int]:
    return render_template("not_found.html"), 404


def _day(value: int | str) -> str:
    """A date for people, from unix seconds or `YYYY-MM-DD`: `3 March 2026`."""
    moment = datetime.fromtimestamp(value, UTC) if isinstance(value, int) else datetime.fromisoformat(value)
    return f"{moment.day} {moment:%B %Y}"
