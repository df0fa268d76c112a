"""The scripts pages load: `tracker.js`, `handover.js`, `leadlight.js` and `intercom.js` under stable names, the messenger and each site's
rules under the hash of their content; and the npm package that loads the tracker.

They are the same for everybody (a shared cache must never hand one visitor's answer to another): they set no cookie and reflect
nothing. A tracker cached for months may ask for a messenger of its own time; it gets today's, for a short while.
"""

from flask import Blueprint, Response, abort, request
from flask_cors import CORS

from collector.scripts import MODULE, Asset, asset, load, package
from collector.services import Services

_NAMED = frozenset({"/tracker.js", "/handover.js", "/leadlight.js", "/intercom.js", "/leadlight.tgz"})
_BEGINNINGS = ("/widget/", "/messenger-")
_RULES = "/rules-"

_HOUR = 3_600
_YEAR = 365 * 24 * _HOUR
_SHORTLY = f"public, max-age={_HOUR}"


def is_script(path: str) -> bool:
    """Say whether a path is one of those below that lie in memory, which pages wait for."""
    return path in _NAMED or path.startswith(_BEGINNINGS)


def is_rules(path: str) -> bool:
    """Say whether a path is that of a site's rules, for which the database may be asked."""
    return path.startswith(_RULES)


def blueprint(services: Services) -> Blueprint:
    """Return the views of the scripts."""
    bp = Blueprint("assets", __name__)
    CORS(bp, origins="*", send_wildcard=True)  # `import()` of another origin's module needs it
    messenger, npm = load("messenger.js"), package()
    named = {name: load(name) for name in ("tracker.js", "handover.js", "intercom.js")} | {"leadlight.js": load(MODULE)}
    etag = asset(npm).hash

    @bp.get("/tracker.js", defaults={"name": "tracker.js"})
    @bp.get("/handover.js", defaults={"name": "handover.js"})
    @bp.get("/leadlight.js", defaults={"name": "leadlight.js"})
    @bp.get("/intercom.js", defaults={"name": "intercom.js"})
    @bp.get("/widget/<site_key>", defaults={"name": "intercom.js"})
    def script(name: str, site_key: str = "") -> Response:  # noqa: ARG001 - that script reads it in its own address
        """Serve a script under its own name; the query string is for the page, not for us."""
        return _serve(named[name], _SHORTLY)

    @bp.get("/leadlight.tgz")
    def leadlight_tgz() -> Response:
        """Serve the npm package."""
        return _finish(Response(npm, mimetype="application/gzip"), _SHORTLY, etag)

    @bp.get("/messenger-<name>.js")
    def messenger_js(name: str) -> Response:
        """Serve the messenger."""
        if len(name) != 12 or not name.isalnum():
            abort(404)
        return _serve_named(messenger, name)

    @bp.get("/rules-<site_key>-<name>.js")
    def rules_js(site_key: str, name: str) -> Response:
        """Serve what applies a site's rules by selector; without any it does nothing, since a browser may still know of some."""
        site = services.sites.by_key(site_key)
        if site is None:
            abort(404)
        return _serve_named(services.rule_scripts.script(site.key, services.event_rules.active(site.id).elements), name)

    return bp


def _serve_named(asset: Asset, wanted: str) -> Response:
    """Serve what is named by its content; under another name only for a short while."""
    return _serve(asset, f"public, max-age={_YEAR}, immutable" if wanted == asset.hash else "public, max-age=300")


def _serve(asset: Asset, caching: str) -> Response:
    coding = next((name for name in asset.packed if request.accept_encodings.quality(name) > 0), "")
    response = Response(asset.packed.get(coding, asset.plain), mimetype="text/javascript")
    if coding:
        response.headers["Content-Encoding"] = coding
    response.headers["Vary"] = "Accept-Encoding"
    return _finish(response, caching, f"{asset.hash}-{coding}" if coding else asset.hash)


def _finish(response: Response, caching: str, etag: str) -> Response:
    response.headers["Cache-Control"] = caching
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(etag)
    response.make_conditional(request)
    return response
