"""The snippets of docs/, as a customer would paste them."""

import re
from pathlib import Path

from tests.support.servers import Collector

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADDRESS = "https://collect.example.com"


def snippet(document: str, heading: str, collector: Collector, address: str | None = None, language: str = "html") -> str:
    """Return the first snippet below a heading, for this collector; the tests' own browser is to be counted."""
    _, found, rest = (DOCS / document).read_text("utf-8").partition(f"## {heading}\n")
    assert found, f"{document} has no heading {heading}"
    code = re.search(rf"```{language}\n(.*?)```", rest, re.DOTALL)
    assert code, f"no snippet below {heading}"
    text = code[1].replace(ADDRESS, address or collector.url_as("collect.other"))
    text = text.replace('data-site="SITE_KEY"', f'data-site="{collector.site_key}" data-automation="count"')
    text = text.replace('site: "SITE_KEY"', f'site: "{collector.site_key}", automation: "count"')
    return text.replace("SITE_KEY", collector.site_key)
