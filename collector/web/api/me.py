"""GET /me: whose token this is, in the shape of Intercom's admin with its app."""

from flask import Response, jsonify

from collector.domain.sites import Site
from collector.services import Services
from collector.web.api.views import Route


def show(_services: Services, site: Site) -> Response:
    """Describe the token's site; there is no admin behind a token, so the site stands for one."""
    return jsonify(
        type="admin",
        id=site.key,
        name=site.name,
        email=None,
        email_verified=None,
        has_inbox_seat=False,
        avatar=None,
        app={
            "type": "app",
            "id_code": site.key,
            "name": site.name,
            "created_at": None,
            "region": None,
            "timezone": site.time_zone,
            "secure": site.verification == "required",
            "identity_verification": site.verification == "required",
        },
    )


ROUTES: tuple[Route, ...] = (("GET", "/me", show),)
