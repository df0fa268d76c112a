"""How a view becomes an address: who calls is settled before it, and it is given the site the token belongs to."""

from collections.abc import Callable
from typing import Any

from flask import g, request
from flask.typing import ResponseReturnValue

from collector.domain.sites import Site
from collector.services import Services
from collector.values.errors import Reason, problem

View = Callable[..., ResponseReturnValue]
"""Called with the services, the site and the variables of the path."""
Route = tuple[str, str, View]
"""Method, path below `/api`, view."""


def authenticate(services: Services) -> None:
    """Find the site of the bearer token; the site comes from nowhere else.

    Raises:
        Problem: 401.
    """
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    site = services.sites.by_token(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
    if site is None:
        raise problem(401, Reason.UNAUTHORIZED, None, "Access Token Invalid", [("WWW-Authenticate", "Bearer")])
    g.site = site


def bind(services: Services, view: View) -> View:
    """Return the view as Flask calls it."""

    def called(**variables: Any) -> ResponseReturnValue:
        site: Site = g.site
        return view(services, site, **variables)

    return called
