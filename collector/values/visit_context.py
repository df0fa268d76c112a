"""What a visit says about whoever made it: where they came from, by which campaign, and with which browser.

A visit keeps its context: the page its first event happened in, `{"url","title","referrer"}`, and beside it what was known of the
browser, as one JSON text. Contexts from before browsers were noted have the page alone; any part may be missing. What a context
says is worked out when it is asked, so that the page itself stays as it was.
"""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from collector.values.fields import MAX_LINK, MAX_TEXT
from collector.values.text import replace_unstorable

CAMPAIGN = ("utm_campaign", "utm_content", "utm_medium", "utm_source", "utm_term")
CLIENT = ("browser", "browser_version", "os", "device", "browser_language")
FIRST = "first_"
VISIT_FIELDS = frozenset({*CAMPAIGN, *CLIENT, "referrer", *(FIRST + name for name in (*CAMPAIGN, "referrer"))})
"""The standard fields that visits give: those that begin with `first_` by a person's first visit, the others by its latest."""


def context(page: str | None, client: str | None) -> str | None:
    """Return the context of a visit that begins on a page, with what is known of the browser (keys of CLIENT); all are JSON objects."""
    if page is None or client is None:
        return page or client
    return f"{page[:-1]},{client[1:]}"


def described(first: str | None, latest: str | None) -> dict[str, str]:
    """Return those of VISIT_FIELDS that the contexts of the first and the latest visit give."""
    now = _decoded(latest)
    found = {FIRST + name: value for name, value in _origin(_decoded(first)).items()}
    found |= _origin(now)
    found |= {name: now[name] for name in CLIENT if now.get(name)}
    return found


def _decoded(text: str | None) -> dict[str, str]:
    try:
        known: Any = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def _origin(page: dict[str, str]) -> dict[str, str]:
    """Return campaign and referrer of a page. A referrer of the page's own host tells nothing: the visit was there before."""
    address, referrer = _parts(page.get("url", "")), _parts(page.get("referrer", ""))
    found: dict[str, str] = {}
    if address is not None and "utm_" in address.query:
        for name, given in parse_qsl(address.query):
            value = replace_unstorable(given).strip()[:MAX_TEXT]
            if name in CAMPAIGN and value:
                found.setdefault(name, value)
    if referrer is not None and (address is None or referrer.hostname != address.hostname):
        found["referrer"] = page["referrer"][:MAX_LINK]
    return found


def _parts(address: str) -> SplitResult | None:
    """Return the parts of an address; None where it is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts if parts.hostname else None
