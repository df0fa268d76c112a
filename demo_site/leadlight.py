"""The site's side of Leadlight: the user hash, the calls a page makes, and events sent from the back end.

This is all the integration code a server-rendered product needs.
"""

import hashlib
import hmac
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from flask import session

from demo_site.catalogue import PLANS
from demo_site.config import SiteConfig
from demo_site.store import User

log = logging.getLogger(__name__)

Call = list[Any]
REST_TIMEOUT_S = 5


def user_hash(identity_secret: str, user_id: str) -> str:
    """The proof that a user id comes from us: hex HMAC-SHA256 under the identity secret, made on the server only."""
    return hmac.new(identity_secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()


def identify_call(config: SiteConfig, user: User) -> Call:
    """The `identify` call a page makes while somebody is signed in. Keys ending in `_at` are dates."""
    attributes = {
        "email": user.email,
        "name": user.name,
        "user_hash": user_hash(config.identity_secret, user.id),
        "created_at": user.created_at,
        "plan": PLANS[user.plan].name,
        "monthly_price": PLANS[user.plan].monthly / 100,
        "newsletter": user.newsletter,
    }
    return ["identify", user.id, attributes]


def call_on_next_page(*call: Any) -> None:
    """Have the next page that is rendered for this visitor make the call `leadlight(*call)`.

    A form that succeeds answers with a redirect, so what it caused is told to Leadlight by the page people then see; a message
    that the event triggers appears there, and not on a page that is being left.
    """
    session["leadlight_calls"] = [*session.get("leadlight_calls", []), list(call)]


def calls_for_page(config: SiteConfig, user: User | None) -> list[Call]:
    """The calls of the page being rendered: a reset first, then who is signed in, then what happened."""
    pending: list[Call] = session.pop("leadlight_calls", [])
    resets = [call for call in pending if call[0] == "reset"]
    others = [call for call in pending if call[0] != "reset"]
    return [*resets[:1], *([identify_call(config, user)] if user else []), *others]


def send_event(config: SiteConfig, user: User, name: str, event_id: str, metadata: dict[str, Any]) -> threading.Thread:
    """Send an event by REST, in the background: no customer waits for analytics.

    The event id makes a second attempt harmless. A failure is logged and forgotten, as the demo has no queue of its own.
    """
    body = {
        "event_name": name,
        "created_at": int(time.time()),
        "event_id": event_id,
        "user_id": user.id,
        "metadata": metadata,
        # The browser's identify may still be under way when the first invoice is paid.
        "create_contact": True,
    }
    thread = threading.Thread(target=_post, args=(config, "/api/events", body), daemon=True, name=f"leadlight-{name}")
    thread.start()
    return thread


def _post(config: SiteConfig, path: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
        config.collector + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {config.access_token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=REST_TIMEOUT_S) as answer:  # noqa: S310
            log.debug("%s: %s", path, answer.status)
    except urllib.error.HTTPError as error:
        log.warning("Leadlight refused %s: %s %s", path, error.code, error.read(500).decode("utf-8", "replace"))
    except OSError as error:
        log.warning("Leadlight could not be reached for %s: %s", path, error)
