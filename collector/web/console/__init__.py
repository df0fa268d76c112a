"""The console under `/console`: server-rendered pages for marketers. This module is its gate: who may see what, and by which rules."""

import hashlib
from datetime import UTC
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector import __version__
from collector.services import Services
from collector.values.metadata import DisplayValue, display_value
from collector.web.console import (
    cookies,
    csrf,
    current,
    event_rules,
    events,
    failures,
    install,
    joining,
    message_actions,
    message_form,
    message_history,
    message_looks,
    message_trial,
    messages,
    people,
    personal_data,
    profile,
    segment_form,
    segments,
    simulations,
    why,
    words,
)
from collector.web.console.current import Current
from collector.web.console.sign_in import SignIn

__all__ = ["blueprint"]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_PARTS = (
    people,
    profile,
    personal_data,
    joining,
    segments,
    segment_form,
    events,
    event_rules,
    messages,
    message_form,
    message_actions,
    message_history,
    message_looks,
    message_trial,
    simulations,
    why,
    install,
)
_OPEN = frozenset({"console.sign_in", "console.sign_in_now", "console.sign_out", "console.static"})
_FILTERS = ("q", "role", "event", "times", "days", "query", "site", "step", "link", "answer", "kind")
_YEAR_SECONDS = 365 * 86_400


def blueprint(services: Services) -> Blueprint:
    """Return the views of the console of one installation."""
    folder = Path(__file__).parent
    bp = Blueprint("console", __name__, template_folder="templates", static_folder="static", static_url_path="/static")
    versions = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in (folder / "static").iterdir()}
    SignIn(services).register(bp)
    for part in _PARTS:
        part.register(bp, services)
    failures.register(bp)

    @bp.before_request
    def gate() -> ResponseReturnValue | None:
        """Refuse changes from elsewhere, ask who it is, and find the site."""
        if not csrf.is_own_request(request, services.settings):
            abort(403)
        if request.endpoint in _OPEN:
            return None
        account = cookies.account_of(request, services)
        if account is None:
            return _ask_to_sign_in()
        sites = services.sites.of_account(account.id, operator=account.operator)
        current.keep(Current(account, sites, None, services.clock()))  # a 404 of the next line shows who is signed in, too
        current.keep(Current(account, sites, current.choose(sites), services.clock()))
        return render_template("no_sites.html") if not sites else None

    @bp.url_defaults
    def keep_site(endpoint: str, values: dict[str, Any]) -> None:
        """Carry the site along in every address, where there are several to choose from."""
        found = current.find()
        if found is not None and found.site is not None and len(found.sites) > 1 and endpoint not in _OPEN:
            values.setdefault("site", found.site.key)

    @bp.context_processor
    def helpers() -> dict[str, Any]:
        """Return what every page may use."""
        found = current.find()
        now = services.clock() if found is None else found.now
        zone = found.site.zone if found is not None and found.site is not None else UTC

        def shown(key: str, value: Any) -> DisplayValue:
            return display_value(key.rpartition(".")[2], value, zone)

        return {
            "here": found,
            "version": __version__,
            "asset": lambda name: url_for("console.static", filename=name, v=versions[name]),
            "at": lambda ms: words.moment(ms, now, zone),
            "day": lambda ms: words.day(ms, now, zone),
            "second": lambda ms: words.second(ms, zone),
            "shown": shown,
            "words": words,
            "page_url": _page_url,
            "script_tag": lambda: install.script_tag(services, found.site.key) if found and found.site else "",
        }

    @bp.after_request
    def protect(response: Response) -> Response:
        """Set the headers of every page; what is static may be kept."""
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        static = request.endpoint == "console.static" and response.status_code in (200, 304)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_SECONDS}, immutable" if static and "v" in request.args else "no-store"
        return response

    @bp.get("/")
    def home() -> ResponseReturnValue:
        """Begin with people."""
        return redirect(url_for("console.people_list"))

    @bp.get("/<path:anything>")
    def unknown(anything: str) -> ResponseReturnValue:  # noqa: ARG001 (the address names it)
        """Answer what is not there with a page of ours."""
        abort(404)

    return bp


def _ask_to_sign_in() -> ResponseReturnValue:
    """Lead to the form, and back to the page asked for afterwards.

    A strict cookie stays behind when a link on another site leads here, so somebody signed in would be asked anew. A page of
    our own that goes on to the same address brings it along; only reading pages pass here, and none can be framed.
    """
    reads = request.method in ("GET", "HEAD")
    if reads and request.headers.get("Sec-Fetch-Site") == "cross-site" and request.headers.get("Sec-Fetch-Dest") == "document":
        return Response(render_template("onward.html", address=_address()))
    return redirect(url_for("console.sign_in", next=_address() if reads else None), 303)


def _page_url(number: int) -> str:
    """Return the address of another page of the list that is shown: with its filters, and with nothing else of the address."""
    filters: dict[str, Any] = {name: request.args[name] for name in _FILTERS if name in request.args}
    return url_for(str(request.endpoint), page=number, **(request.view_args or {}), **filters)


def _address() -> str:
    """Return the address asked for, as a browser writes it, without scheme and host."""
    query = request.query_string.decode("latin-1")
    path = request.root_path + request.path
    return f"{path}?{query}" if query else path
