"""Who is looking at which site, for the length of one request."""

from typing import cast

import msgspec
from flask import abort, g, request

from collector.domain.accounts import Account
from collector.domain.sites import Site
from collector.values.text import replace_unstorable


class Current(msgspec.Struct, frozen=True):
    """What the gate found out about a request. `now` in ms."""

    account: Account
    sites: list[Site]
    """Every site the account may see, oldest first."""
    site: Site | None
    now: int


def keep(current: Current) -> None:
    """Keep it for this request."""
    g.leadlight_console = current


def find() -> Current | None:
    """Return it, or None where nobody is signed in."""
    return cast("Current | None", g.get("leadlight_console"))


def current() -> Current:
    """Return it, behind the gate."""
    found = find()
    if found is None:
        abort(401)
    return found


def site() -> Site:
    """Return the site that is looked at; a page that needs one does not exist without."""
    found = current().site
    if found is None:
        abort(404)
    return found


def choose(sites: list[Site]) -> Site | None:
    """Return the site an address names by its key, else the first. A site of somebody else does not exist (404)."""
    key = request.args.get("site")
    if key is None:
        return sites[0] if sites else None
    return next((site for site in sites if site.key == key), None) or abort(404)


def argument(name: str, longest: int = 255) -> str:
    """Return a parameter of the address as text that a database takes, without white space around it."""
    return replace_unstorable(request.args.get(name, "")).strip()[:longest]


def field(name: str, longest: int = 255) -> str:
    """Return a field of a form that was sent, as `argument` does; lines end as they do here."""
    return replace_unstorable(request.form.get(name, "").replace("\r\n", "\n")).strip()[:longest]


def number(name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the address, within bounds; what is none is the default."""
    text = request.args.get(name, "").strip()
    return min(max(int(text), least), most) if text.isascii() and text.isdigit() and len(text) <= 18 else default


def public_id(text: str) -> str:
    """Return an id of an address, or answer 404 where it cannot be one (a database need not be asked)."""
    return text if text.isascii() and text.isalnum() and len(text) <= 64 else abort(404)
