"""Plainsheet, a small fictional product that uses Leadlight the way a customer's own site would.

Nothing here imports the collector: the script tag, the calls of `window.leadlight` and the REST API are all it knows. That
makes it the demo, the page the browser tests drive, and an example to copy from.
"""

from demo_site.app import create_app
from demo_site.config import SiteConfig

__all__ = ["SiteConfig", "create_app"]
