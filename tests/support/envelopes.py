"""Envelopes as the tracker sends them, for tests that speak to a collector of another process."""

import secrets
import time
from typing import Any

from collector.values.ids import new_uuid7


def new_lead() -> str:
    """Return the lead of a new browser, with its secret."""
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


def new_event(name: str = "page-view", ago: int = 0, **fields: Any) -> dict[str, Any]:
    """An event tracked now, by the machine's clock, or so many ms ago."""
    now = time.time_ns() // 1_000_000 - ago
    return {"type": "event", "id": new_uuid7(now), "name": name, "at": now, "page": {"url": "https://shop.example/"}, **fields}


def envelope(site_key: str, lead: str, *items: Any, **fields: Any) -> dict[str, Any]:
    """An envelope sent now."""
    return {"v": 1, "site": site_key, "lead": lead, "sent_at": time.time_ns() // 1_000_000, "items": list(items), **fields}
