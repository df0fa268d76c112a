"""The scripts pages load: `tracker.js` under its stable name, the messenger under the hash of its content.

Both are the same for everybody (a shared cache must never hand one visitor's answer to another): they set no cookie and reflect
nothing. A tracker cached for months may ask for a messenger of its own time; it gets today's, for a short while.
"""

import gzip
import hashlib
from pathlib import Path

import msgspec
from flask import Blueprint, Response, abort, request
from flask_cors import CORS

_HOUR = 3_600
_YEAR = 365 * 24 * _HOUR


class Asset(msgspec.Struct, frozen=True):
    """A script, as it is and compressed, with the hash of its content (12 hex digits)."""

    plain: bytes
    packed: bytes
    hash: str


def script_folder() -> Path:
    """Return the folder of the built scripts: inside an installed package, or `static/` of a clone."""
    packed = Path(__file__).parent.parent / "static"
    return packed if (packed / "tracker.js").exists() else Path(__file__).parent.parent.parent / "static"


def load(name: str) -> Asset:
    """Read a built script."""
    plain = (script_folder() / name).read_bytes()
    return Asset(plain, gzip.compress(plain, 9, mtime=0), hashlib.sha256(plain).hexdigest()[:12])


def blueprint() -> Blueprint:
    """Return the views of the scripts."""
    bp = Blueprint("assets", __name__)
    CORS(bp, origins="*", send_wildcard=True)  # `import()` of another origin's module needs it
    tracker, messenger = load("tracker.js"), load("messenger.js")

    @bp.get("/tracker.js")
    def tracker_js() -> Response:
        """Serve the tracker; its query string is for the page, not for us."""
        return _serve(tracker, f"public, max-age={_HOUR}")

    @bp.get("/messenger-<name>.js")
    def messenger_js(name: str) -> Response:
        """Serve the messenger."""
        if len(name) != 12 or not name.isalnum():
            abort(404)
        return _serve(messenger, f"public, max-age={_YEAR}, immutable" if name == messenger.hash else "public, max-age=300")

    return bp


def _serve(asset: Asset, caching: str) -> Response:
    packed = request.accept_encodings.find("gzip") >= 0
    response = Response(asset.packed if packed else asset.plain, mimetype="text/javascript")
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = caching
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(asset.hash + ("-gzip" if packed else ""))
    response.make_conditional(request)
    return response
