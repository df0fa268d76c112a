"""Changes are taken only from the console's own pages.

Method: the browser says itself where a request comes from, so no token has to be carried through forms. `Sec-Fetch-Site` cannot be
set by a page; `same-origin` is our own page and `none` the person at the browser (a reload, say), everything else is refused,
sibling hosts included. Browsers send it to https and loopback only, and old ones not at all: there the `Origin`, else the `Referer`,
must be ours, and a request that carries neither is refused. The session cookie is SameSite=Strict besides.

Source: the OWASP Cross-Site Request Forgery Prevention Cheat Sheet, "Fetch Metadata headers" with "Verifying Origin With Standard
Headers" as the fallback; https://www.w3.org/TR/fetch-metadata/ section 2.
"""

from urllib.parse import urlsplit

from flask import Request

from collector.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_own_request(request: Request, settings: Settings) -> bool:
    """Say whether a request may change something: it only reads, or it comes from the console itself."""
    if request.method in SAFE_METHODS:
        return True
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    source = request.headers.get("Origin") or request.headers.get("Referer")
    return source is not None and _origin(source) in own_origins(request, settings)


def own_origins(request: Request, settings: Settings) -> frozenset[str]:
    """Return the origins of this console: as the request has it, and as the settings have it, for a proxy in front may end TLS."""
    found = {_origin(request.host_url)}
    if settings.public_url:
        found.add(_origin(settings.public_url))
    return frozenset(origin for origin in found if origin is not None)


def _origin(address: str) -> str | None:
    """Return scheme, host and port of an address; None (as for the origin `null`) where it has none."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.scheme in ("http", "https") and parts.hostname else None
