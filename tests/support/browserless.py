"""A browser that is none: speaks the tracker's wire to a collector in the test's own process, through either entry."""

import json
import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.test import Client, TestResponse

from collector.values.ids import new_uuid7
from collector.web.browser import Responder, WsgiEntry, blueprint
from tests.support.rsgi import RsgiServer
from tests.support.world import World

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
ORIGIN = "https://shop.example"


def _flask(responder: Responder) -> Flask:
    app = Flask("views")
    app.register_blueprint(blueprint(responder))
    return app


ENTRIES: dict[str, Callable[[Responder], Any]] = {
    "flask": _flask,
    "wsgi": lambda responder: WsgiEntry(responder, Flask("nothing else")),
    "rsgi": lambda responder: RsgiServer(responder, Flask("nothing else")),
}
"""How a request may come in, each as a WSGI application for the test client."""


class Tracker:
    """One browser at one site: its lead, and a user where a page asserts one."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client
        self.lead = new_lead()
        self.user: dict[str, Any] | None = None
        self.url = "https://shop.example/"

    def event(self, name: str = "page-view", **fields: Any) -> dict[str, Any]:
        """One event item, tracked now in the page now shown."""
        now = self.world.clock()
        page = {"url": fields.pop("url", self.url), "title": "A page"}
        return {"type": "event", "id": new_uuid7(now), "name": name, "at": now, "page": page, **fields}

    def envelope(self, *items: Any, **fields: Any) -> dict[str, Any]:
        body = {"v": 1, "site": self.world.site.key, "lead": self.lead, "sent_at": self.world.clock(), "items": list(items), **fields}
        return body if self.user is None or "user" in fields else {**body, "user": self.user}

    def post(self, path: str, body: Any, **headers: str) -> TestResponse:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        sent = {"Origin": ORIGIN, "User-Agent": CHROME, "Content-Type": "text/plain;charset=UTF-8"}
        return self.client.post(path, data=data, headers={**sent, **{name.replace("_", "-"): value for name, value in headers.items()}})

    def collect(self, *items: Any, **fields: Any) -> Any:
        """Send items and return the answer, which has to be 202."""
        answer = self.post("/collect", self.envelope(*items, **fields))
        assert answer.status_code == 202, answer.text
        return answer.json

    def view(self, path: str = "/", **fields: Any) -> Any:
        """Go to another page and return the collector's answer."""
        self.url = f"https://shop.example{path}"
        return self.collect(self.event(**fields))

    def identify(self, user_id: str, **credentials: str) -> None:
        """Assert a user id from now on."""
        self.user = {"id": user_id, **credentials}

    def claim(self, message: str, **fields: Any) -> Any:
        """Claim a message for the page now shown and return the answer, which has to be 200."""
        body = {key: value for key, value in self.envelope().items() if key != "items"}
        nonce = fields.pop("nonce", None) or secrets.token_urlsafe(16)
        answer = self.post("/claim", {**body, "message": message, "nonce": nonce, "page": {"url": self.url}, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json

    def report(self, message: str, delivery: str, action: str, **fields: Any) -> Any:
        """Say what became of a shown message."""
        item = {"type": "message", "message": message, "delivery": delivery, "action": action, "at": self.world.clock(), **fields}
        return self.collect(item)


def new_lead() -> str:
    """A lead as the tracker makes it."""
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
