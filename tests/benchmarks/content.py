"""What visitors of the benchmarks' site do: names of events, pages, metadata, and how often each comes up."""

import json
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any

from collector.domain.names import PAGE_VIEW

NAMES = (
    PAGE_VIEW, "viewed-product", "searched", "added-to-cart", "opened-report", "signed-in", "clicked-banner", "read-article",
    "changed-filter", "played-video", "opened-settings", "started-checkout", "created-report", "shared-report", "exported-report",
    "finished-checkout", "invited-colleague", "asked-support", "upgraded-plan", "wrote-review", "cancelled-plan",
)  # fmt: skip
_DRAWS = 1 << 16


class Draws:
    """Long lists of draws, to be read from any place (negative ones count from the end): cheaper than drawing each anew."""

    def __init__(self, random: Random) -> None:
        weights = [10.0, *(1 / rank**0.7 for rank in range(1, len(NAMES)))]
        weights[0] = sum(weights[1:])
        self.names = random.choices(range(len(NAMES)), cum_weights=list(accumulate(weights)), k=_DRAWS)
        self.gaps = [500 + int(random.expovariate(1 / 20_000)) for _ in range(_DRAWS)]
        self.pages = [int(len(PAGES) * random.random() ** 2) for _ in range(_DRAWS)]
        self.lengths = [1 + int(random.expovariate(1 / 11.5)) for _ in range(_DRAWS)]


def uuid7(at: int, bits74: int) -> bytes:
    """Return the 16 bytes of a UUIDv7 with this time (ms) and 74 random bits."""
    return (at << 80 | 7 << 76 | bits74 >> 62 << 64 | 2 << 62 | bits74 & (1 << 62) - 1).to_bytes(16, "big")


def _pages() -> Iterator[tuple[str, str]]:
    """Yield pages as they are stored with an event, and as metadata of a page view."""
    for number in range(200):
        section = ("products", "reports", "articles", "pricing", "settings")[number % 5]
        path, title = f"/{section}/{number}", f"{section.title()} no. {number}"
        url = f"https://www.example.com{path}"
        yield compact({"url": url, "title": title}), compact({"url": url, "path": path, "title": title})


def compact(value: Any) -> str:
    """Return JSON as the product stores it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


PAGES = tuple(_pages())
METADATA = tuple(compact({"rows": 5 + number, "plan": "team" if number % 3 else "free"}) for number in range(len(NAMES)))
"""The metadata of an event by the place of its name; that of a page view is its page's."""
