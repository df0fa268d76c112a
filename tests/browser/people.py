"""People as the collector knows them, asked by REST, and what proves who somebody is."""

import hashlib
import hmac
from typing import Any

from tests.support.servers import Collector


def contact(collector: Collector, user_id: str) -> dict[str, Any]:
    """Return a user as REST gives one out."""
    answer = collector.client.api("GET", f"/contacts/find_by_external_id/{user_id}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def counts(collector: Collector, user_id: str) -> dict[str, int]:
    """Return the totals of a user's person, without page views."""
    answer = collector.client.api("GET", f"/events?type=user&user_id={user_id}&summary=true")
    assert answer.status == 200, answer.text
    return {one["name"]: one["count"] for one in answer.json["events"] if one["name"] not in ("page-view", "fence")}


def user_hash(collector: Collector, user_id: str) -> str:
    """Return what the site's server would make for a user who is signed in."""
    return hmac.new(collector.identity_secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()
