"""What the demo site has to be told: where the collector is, and the three things `leadlight init` prints."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class SiteConfig:
    """The settings of one running demo site.

    `collector` is the address that tracker.js is served under, with a base path where there is one (`https://example.com/ll`).
    `identity_secret` makes user hashes and `access_token` sends events from the back end; neither ever reaches a page.
    `database` is a file for accounts and reports, or `:memory:`. `secret_key` signs the site's own session cookie.
    `tracker_options` become `data-` attributes of the script tag, such as `{"automation": "count"}`.
    """

    collector: str
    site_key: str
    identity_secret: str
    access_token: str
    database: str = ":memory:"
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    tracker_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "collector", self.collector.rstrip("/"))

    @property
    def collector_origin(self) -> str:
        """Scheme, host and port of the collector: what the content security policy has to allow."""
        parts = urlsplit(self.collector)
        return f"{parts.scheme}://{parts.netloc}"
