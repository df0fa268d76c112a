"""Which browser somebody has, by the headers of a request: its name, version and language, the system, the kind of device."""

import functools
import re

import msgspec
from ua_parser import Result, parse

from collector.ingest.senders import LONGEST_AGENT, Headers
from collector.values.text import replace_unstorable

_LONGEST = 255
_NOT_OF_THE_NAME = {"Mobile", "iOS"}
_TAG = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,7})\s*(?:[,;]|$)")


def client(headers: Headers) -> str | None:
    """Return what is known of the browser as a JSON object with keys of `visit_context.CLIENT`, None where that is nothing."""
    tag = _TAG.match(headers.accept_language)
    return _client(headers.user_agent[:LONGEST_AGENT], None if tag is None else tag[1])


@functools.lru_cache(maxsize=4_096)
def _client(user_agent: str, language: str | None) -> str | None:
    known = parse(user_agent)
    browser, system = known.user_agent, known.os
    found = {
        "browser": browser and _name(browser.family),
        "browser_version": browser and ".".join(filter(None, (browser.major, browser.minor, browser.patch, browser.patch_minor))),
        "os": system and system.family,
        "device": _device(user_agent, known),
        "browser_language": language,
    }
    kept = {key: replace_unstorable(value)[:_LONGEST] for key, value in found.items() if value}
    return msgspec.json.encode(kept).decode() if kept else None


def _name(family: str) -> str:
    """Return a browser's name without what `device` and `os` say: `Chrome` for Chrome Mobile and Chrome Mobile iOS."""
    return " ".join(word for word in family.split() if word not in _NOT_OF_THE_NAME) or family


def _device(user_agent: str, known: Result) -> str | None:
    """Return `mobile`, `tablet` or `desktop`, None for what is no browser that we know.

    An iPad that asks for the pages of desktops, as they do by default, is told as one of these.
    """
    brand = "" if known.device is None else known.device.brand or ""
    android = known.os is not None and known.os.family == "Android"
    if "iPad" in user_agent or "Tablet" in user_agent or brand.endswith("Tablet") or (android and "Mobile" not in user_agent):
        return "tablet"
    if "Mobi" in user_agent or "iPhone" in user_agent or "iPod" in user_agent or "Opera Mini" in user_agent:
        return "mobile"
    return None if known.user_agent is None and known.os is None else "desktop"
