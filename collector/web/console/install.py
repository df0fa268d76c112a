"""How a site is connected: the script tag, who may send, and how a page says who is signed in. Secrets are never shown here."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from collector.domain import losses
from collector.services import Services
from collector.web.console import current


def address(services: Services) -> str:
    """Return the collector's address for browsers: the one that is set, else the one by which we were asked."""
    return services.settings.base_url() if services.settings.public_url else request.url_root.rstrip("/")


def script_tag(services: Services, site_key: str) -> str:
    """Return the tag that a site pastes into its pages."""
    return f'<script async src="{address(services)}/tracker.js" data-site="{site_key}"></script>'


def register(bp: Blueprint, services: Services) -> None:
    """Add the view to the console."""

    @bp.get("/install")
    def install() -> ResponseReturnValue:
        """Show how to connect the site."""
        site = current.site()
        with services.database.read() as connection:
            lost = losses.of_site(connection, site.id)
        return render_template("install.html", site=site, address=address(services), lost=lost)
