"""What the tests of the REST interface share: a whole application in the test's own process, called with an access token."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from werkzeug.test import TestResponse

from collector.app import create_app
from collector.domain.names import Names
from tests.support.clock import FakeClock
from tests.support.postgres import new_database
from tests.support.world import World, world

JSON = "application/json"


class Rest:
    """Calls the interface of one site, as a customer's back end does."""

    def __init__(self, running: World, token: str) -> None:
        self.world = running
        self.clock = running.clock
        self.app = create_app(running.services)
        self.client = self.app.test_client()
        self.token = token

    def other_site(self) -> "Rest":
        """Make another site of the same installation and call that."""
        other = Rest.__new__(Rest)
        other.__dict__.update(self.__dict__)
        made = self.world.services.writer.run(
            0, lambda tx: self.world.services.sites.create(tx, "Other", ["https://other.example"], "UTC", self.clock())
        )
        other.token = made.access_token
        return other

    def send(self, method: str, path: str, data: bytes | str | None = None, headers: dict[str, str] | None = None) -> TestResponse:
        """Send a body as it is."""
        sent = {**self.access, **({} if data is None else {"Content-Type": JSON}), **(headers or {})}
        return self.client.open(f"/api{path}", method=method, data=data, headers={name: text for name, text in sent.items() if text})

    def get(self, path: str) -> TestResponse:
        return self.send("GET", path)

    def post(self, path: str, value: Any) -> TestResponse:
        return self.send("POST", path, json.dumps(value))

    def put(self, path: str, value: Any) -> TestResponse:
        return self.send("PUT", path, json.dumps(value))

    def contact(self, **fields: Any) -> dict[str, Any]:
        """Make a contact and return it."""
        answer = self.post("/contacts", fields)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json
        return made

    def event(self, event_name: Any = "created-report", **fields: Any) -> TestResponse:
        """Send one event, now."""
        return self.post("/events", {"event_name": event_name, "created_at": self.now, **fields})

    def batch(self, *events: Any, **fields: Any) -> dict[str, Any]:
        """Send a batch, which has to be 202, and return the answer."""
        answer = self.post("/events/batch", {"events": list(events), **fields})
        assert answer.status_code == 202, answer.text
        results: dict[str, Any] = answer.json
        return results

    def events(self, query: str) -> list[dict[str, Any]]:
        """The events of somebody, newest first."""
        answer = self.get(f"/events?type=user&{query}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json["events"]
        return found

    def counts(self, query: str) -> dict[str, int]:
        """How often somebody did what."""
        answer = self.get(f"/events?type=user&summary=true&{query}")
        assert answer.status_code == 200, answer.text
        return {entry["name"]: entry["count"] for entry in answer.json["events"]}

    @property
    def access(self) -> dict[str, str]:
        """The header that lets in."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def now(self) -> int:
        """The present in unix seconds."""
        return self.clock() // 1000


def problem(answer: TestResponse) -> tuple[int, str, str | None]:
    """Return status, code and field of an answer of one error, which has to be in the one shape."""
    body = answer.json
    assert body["type"] == "error.list"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    (error,) = body["errors"]
    assert error["message"]
    return answer.status_code, error["code"], error.get("field")


def lose(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the names that are allocated next be gone at once, as where a standby that lacks them takes over."""
    ensure = Names.ensure

    def ensure_and_lose(names: Names, site: int, kind: str, texts: Any, now_ms: int) -> None:
        monkeypatch.setattr(Names, "ensure", ensure)
        ensure(names, site, kind, texts, now_ms)
        rest.world.services.writer.run(site, lambda tx: tx.run("DELETE FROM names WHERE site = ?", (site,)))
        names._numbers.clear()
        names._texts.clear()

    monkeypatch.setattr(Names, "ensure", ensure_and_lose)


@contextmanager
def serving(database_url: str, clock: FakeClock, **settings: Any) -> Iterator[Rest]:
    """Start a collector with one site on an empty database."""
    with world(database_url, clock, **settings) as running:
        yield Rest(running, running.access_token)


@contextmanager
def serving_once(engine: str, request: pytest.FixtureRequest, folders: pytest.TempPathFactory, **settings: Any) -> Iterator[Rest]:
    """The same for a whole module of tests that write nothing: a database for each would take longer than the tests."""
    with ExitStack() as stack:
        if engine == "sqlite":
            url = f"sqlite:///{folders.mktemp('api') / 'leadlight.db'}"
        else:
            url = stack.enter_context(new_database(request.getfixturevalue("postgres_url")))
        yield stack.enter_context(serving(url, FakeClock(), **settings))
