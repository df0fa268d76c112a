"""The console's session: a signed cookie that names an account, tied to its password and to a time.

HttpOnly and SameSite=Strict. On https its name carries the prefix that makes browsers keep it to this host (`__Host-`) or, where
the console lives under a base path, to secure pages (`__Secure-`, with that path). On plain http it has no prefix, and is given out
on loopback only, unless the operator allows it elsewhere.
"""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import msgspec
from flask import Request
from werkzeug.wrappers import Response

from collector.domain import accounts
from collector.domain.accounts import Account
from collector.services import Services
from collector.values.clock import DAY

NAME = "leadlight"
LIFE = 14 * DAY
"""A session ends after this time (ms), whatever happens."""
_PURPOSE = "console"


class Kind(msgspec.Struct, frozen=True):
    """How the cookie is set for one request."""

    name: str
    path: str
    secure: bool


def kind(request: Request, services: Services) -> Kind | None:
    """Return how the cookie is set for this request; None where it would travel in the clear and nobody allowed that."""
    base = request.root_path.rstrip("/")
    if _is_secure(request, services.settings.public_url):
        return Kind(f"__Secure-{NAME}", f"{base}/console", True) if base else Kind(f"__Host-{NAME}", "/", True)
    if is_loopback(request.host) or services.settings.insecure_cookies:
        return Kind(NAME, f"{base}/console", False)
    return None


def is_loopback(host: str) -> bool:
    """Say whether a Host header names this very machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def account_of(request: Request, services: Services) -> Account | None:
    """Return who is signed in. A changed password or a removed account ends a session, and so does its age."""
    made = kind(request, services)
    token = request.cookies.get(made.name) if made else None
    value = services.keyring.unsign(_PURPOSE, token) if token else None
    match value:
        case {"account": int(number), "stamp": str(stamp), "at": int(at)}:
            if not 0 <= services.clock() - at < LIFE:
                return None
            with services.database.read() as connection:
                account = accounts.by_id(connection, number)
            return account if account is not None and account.stamp == stamp else None
    return None


def start(response: Response, request: Request, services: Services, account: Account) -> None:
    """Sign somebody in. The caller has made sure that there is a kind of cookie for this request."""
    made = kind(request, services)
    if made is None:
        raise ValueError("no session over plain http")
    token = services.keyring.sign(_PURPOSE, {"account": account.id, "stamp": account.stamp, "at": services.clock()})
    response.set_cookie(made.name, token, max_age=LIFE // 1000, **_options(made))


def end(response: Response, request: Request, services: Services) -> None:
    """Sign out."""
    made = kind(request, services)
    if made is not None:
        response.delete_cookie(made.name, **_options(made))


def _options(made: Kind) -> dict[str, Any]:
    return {"path": made.path, "secure": made.secure, "httponly": True, "samesite": "Strict"}


def _is_secure(request: Request, public_url: str) -> bool:
    """Say whether the browser reached us by https: directly, or at the public address, whose proxy speaks plain http to us."""
    public = urlsplit(public_url)
    return request.is_secure or (public.scheme == "https" and request.host == public.netloc)
