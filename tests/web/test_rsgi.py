"""The entry for granian: who is kept waiting by whom, long answers, and what becomes of a request's headers and bodies."""

import asyncio
import gc
import gzip
import json
import os
import threading
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from http import HTTPStatus
from typing import Any, NoReturn

import psycopg
import pytest
from flask import Flask

from collector.ingest.pipeline import Collection
from collector.storage.database import Database
from collector.storage.writer import Overloaded
from collector.values.errors import Problem, Reason, problem
from collector.web import assets, bodies, streams
from collector.web.assets import is_rules, is_script
from collector.web.browser import Responder, read_body
from collector.web.rsgi import RsgiEntry
from collector.web.streams import BrokenOff
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.rsgi import Headers, Protocol, Scope, loop
from tests.support.world import World, world

THREADS = 4
RULES = "/rules-shop-0123456789ab.js"
CROWD = 200
PATIENCE_SECONDS = 30
FOR_EVER = 3_600
LIMIT = 1_000_000
PART = b"x" * 65_536
PARTS = 1_000
"""Of a long answer: more than everything holds between the application and a client who reads nothing."""

Asked = tuple[int, dict[str, str], bytes]


@pytest.fixture
def shop(database_url: str, clock: FakeClock) -> Iterator[World]:
    with world(database_url, clock) as running:
        yield running


class Slow(Protocol):
    """A client who has begun to read, and goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.begun = threading.Event()
        self._file = -1

    def response_file(self, status: int, headers: list[tuple[str, str]], path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.answer = (status, headers, b"")
        self.begun.set()

    def read(self) -> bytes:
        """Read all that comes."""
        with os.fdopen(self._file, "rb") as file:
            return file.read()

    def skip(self, size: int) -> None:
        """Read so many bytes."""
        while size > 0:
            size -= len(os.read(self._file, min(size, len(PART))))

    def leave(self, after: int = 2 * streams.WHOLE) -> None:
        """Hang up after so many bytes; without a word of how many, after a little more than any pipe holds."""
        self.skip(after)
        os.close(self._file)


class Hasty(Protocol):
    """A client who leaves before anything of the answer is read."""

    def __init__(self) -> None:
        super().__init__(b"")

    def response_file(self, status: int, headers: list[tuple[str, str]], path: str) -> None:
        self.answer = (status, headers, b"")

    async def client_disconnect(self) -> None:
        pass


class Server:
    """The entry in front of an application: paths by what answers them."""

    def __init__(self, shop: World, views: dict[str, Callable[[dict[str, Any]], Any]]) -> None:
        self._views = views
        self._entry = RsgiEntry(
            Responder(shop.services), self._application, threads=THREADS, console_threads=THREADS, largest=LIMIT, close=lambda: None
        )

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            answer = self._views[environ["PATH_INFO"]](environ)
            start_response("200 OK", [])
        except Problem as error:
            answer = json.dumps(error.as_json("")).encode()
            start_response(f"{error.status} {HTTPStatus(error.status).phrase}", error.headers)
        return [answer] if isinstance(answer, bytes) else answer

    def begin(self, path: str, protocol: Protocol | None = None, headers: dict[str, str] | None = None, body: bytes = b"") -> Future[Asked]:
        """Send a request; the result is the answer, once it is given."""
        protocol = protocol or Protocol(body)
        scope = Scope({"REQUEST_METHOD": "POST", "PATH_INFO": path})
        scope.headers = headers if isinstance(headers, Headers) else Headers({"content-length": str(len(body)), **(headers or {})})

        async def ask() -> Asked:
            await self._entry.__rsgi__(scope, protocol)  # type: ignore[arg-type]  # stand-ins for granian's own
            return await asyncio.to_thread(answered, protocol)

        return asyncio.run_coroutine_threadsafe(ask(), loop())

    def ask(self, path: str, **given: Any) -> Asked:
        """Send a request and return the answer."""
        return self.begin(path, **given).result(PATIENCE_SECONDS)


def answered(protocol: Protocol) -> Asked:
    status, headers, body = protocol.whole()
    return status, {name.lower(): value for name, value in headers}, body


def code(answer: Asked) -> str:
    """The code of an answer of one error in the one shape."""
    (error,) = json.loads(answer[2])["errors"]
    return str(error["code"])


@pytest.mark.parametrize(
    ("crowded", "path", "others"),
    [
        ("the console", "/console/sign-in", ("/api/me", "/tracker.js")),
        ("an address that there is not", "/nowhere", ("/api/me", "/tracker.js")),
        ("REST", "/api/events", ("/console/", "/tracker.js")),
        ("the rules of sites", RULES, ("/api/me", "/console/", "/tracker.js")),
    ],
)
def test_who_crowds_one_part_is_turned_away_there_and_keeps_no_other_waiting(
    shop: World, crowded: str, path: str, others: tuple[str, ...]
) -> None:
    release = threading.Event()
    held = dict.fromkeys(("/console/sign-in", "/nowhere", "/api/events", RULES), lambda _: release.wait(PATIENCE_SECONDS) and b"late")
    server = Server(shop, {**held, **dict.fromkeys(("/console/", "/api/me", "/tracker.js"), lambda _: b"there")})
    try:
        crowd = [server.begin(path) for _ in range(CROWD)]
        refused, _ = wait(crowd, PATIENCE_SECONDS, FIRST_COMPLETED)
        assert refused, f"nobody was turned away from {crowded}"
        assert {(one.result()[0], one.result()[1]["retry-after"]) for one in refused} == {(503, "5")}
        for other in others:
            assert server.ask(other)[::2] == (200, b"there")
    finally:
        release.set()
    assert {one.result(PATIENCE_SECONDS)[0] for one in crowd} == {200, 503}
    assert server.ask(path)[0] == 200


def test_scripts_are_not_turned_away_however_many_pages_load_them(shop: World) -> None:
    release = threading.Event()
    server = Server(shop, {"/tracker.js": lambda _: release.wait(PATIENCE_SECONDS) and b"script", "/api/me": lambda _: b"me"})
    try:
        pages = [server.begin("/tracker.js") for _ in range(CROWD)]
        assert server.ask("/api/me")[::2] == (200, b"me"), "asked after all of them, so that these are under way"
        assert not any(one.done() for one in pages)
    finally:
        release.set()
    assert {one.result(PATIENCE_SECONDS)[0] for one in pages} == {200}


def test_every_address_of_a_script_counts_as_one(shop: World) -> None:
    app = Flask("scripts")
    app.register_blueprint(assets.blueprint(shop.services))
    rules = [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("assets.")]
    assert len(rules) >= 8
    assert [rule for rule in rules if is_script(rule) == is_rules(rule)] == []
    assert not any(is_script(path) or is_rules(path) for path in ("/console/", "/api/me", "/", "/collect", "/tracker.js/", "/readyz"))


def test_only_the_rules_of_sites_ask_the_database(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Flask("scripts")
    app.register_blueprint(assets.blueprint(shop.services))
    views = [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("assets.")]
    asked = []

    def read(*_: Any, **__: Any) -> NoReturn:
        asked.append(path)
        raise LookupError(path)

    monkeypatch.setattr(Database, "read", read)
    for view in views:
        path = view.replace("<site_key>", shop.site.key).replace("<name>", "0123456789ab")
        app.test_client().get(path)
    assert len(asked) == 1
    assert is_rules(asked[0])


def test_in_the_console_one_is_turned_away_with_a_page(shop: World) -> None:
    release = threading.Event()
    server = Server(shop, {"/console/": lambda _: release.wait(PATIENCE_SECONDS) and b"late"})
    crowd = [server.begin("/console/") for _ in range(CROWD)]
    refused, _ = wait(crowd, PATIENCE_SECONDS, FIRST_COMPLETED)
    release.set()
    _, headers, body = refused.pop().result()
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert b"503 Service Unavailable" in body


class Long:
    """A long answer, which says when it is closed and how much was asked for."""

    def __init__(self, parts: int = PARTS, then: Exception | None = None) -> None:
        self.closed = threading.Event()
        self.taken = 0
        self._parts = parts
        self._then = then

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._parts):
            self.taken += 1
            yield PART
        if self._then is not None:
            raise self._then

    def close(self) -> None:
        self.closed.set()


def test_a_long_answer_comes_whole_however_slowly_it_is_read(shop: World) -> None:
    long = Long()
    server, client = Server(shop, {"/api/export": lambda _: long}), Slow()
    asked = server.begin("/api/export", client)
    assert client.begun.wait(PATIENCE_SECONDS)
    assert client.read() == PART * PARTS
    assert asked.result(PATIENCE_SECONDS)[0] == 200
    assert long.closed.is_set()


def test_who_reads_long_answers_slowly_keeps_nobody_from_rest_and_further_ones_are_told_to_come_back(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST", THREADS * 3)
    server = Server(shop, {"/api/export": lambda _: Long(), "/api/me": lambda _: b"me"})
    slow = [Slow() for _ in range(streams.MOST)]
    asked = []
    for client in slow:
        asked.append(server.begin("/api/export", client))
        assert client.begun.wait(PATIENCE_SECONDS)
    assert server.ask("/api/me")[::2] == (200, b"me")
    late = server.ask("/api/export")
    assert (late[0], late[1]["retry-after"], code(late)) == (503, "5", "overloaded")
    slow[0].leave()
    asked[0].result(PATIENCE_SECONDS)
    assert server.ask("/api/export")[::2] == (200, PART * PARTS), "there is room again"
    for client in slow[1:]:
        client.leave()


def test_who_takes_nothing_is_given_up_and_no_more_is_read_for_them_than_they_take(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SECONDS", 0.1)
    long = Long()
    server, client = Server(shop, {"/api/export": lambda _: long}), Slow()
    asked = server.begin("/api/export", client)
    assert long.closed.wait(PATIENCE_SECONDS)
    asked.result(PATIENCE_SECONDS)
    assert long.taken * len(PART) <= 2 * streams.WHOLE
    assert len(client.read()) < PARTS * len(PART)


@pytest.mark.parametrize("after", [len(PART), streams.WHOLE // 2, 2 * streams.WHOLE])
def test_who_leaves_ends_it(shop: World, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(streams, "SECONDS", FOR_EVER)
    long = Long()
    server, client = Server(shop, {"/api/export": lambda _: long}), Slow()
    asked = server.begin("/api/export", client)
    assert client.begun.wait(PATIENCE_SECONDS)
    client.leave(after)
    assert long.closed.wait(PATIENCE_SECONDS)
    asked.result(PATIENCE_SECONDS)
    assert long.taken < PARTS


def test_who_reads_all_there_is_and_leaves_before_more_is_written_ends_it_too(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client, long = Slow(), Long()

    class System:
        def write(self, file: int, data: bytes) -> int:
            monkeypatch.setattr(streams, "os", os)
            written = os.write(file, data)
            client.leave(written)
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    monkeypatch.setattr(streams, "SECONDS", FOR_EVER)
    monkeypatch.setattr(streams, "os", System())
    server = Server(shop, {"/api/export": lambda _: long})
    asked = server.begin("/api/export", client)
    assert client.begun.wait(PATIENCE_SECONDS)
    assert asked.result(PATIENCE_SECONDS)[0] == 200
    assert long.closed.is_set()
    assert long.taken < PARTS


def test_who_leaves_before_it_begins_ends_it_too(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SECONDS", FOR_EVER)
    long = Long()
    Server(shop, {"/api/export": lambda _: long}).begin("/api/export", Hasty()).result(PATIENCE_SECONDS)
    assert long.closed.is_set()
    assert long.taken < PARTS


def test_what_was_sent_of_a_long_answer_is_kept_no_longer(shop: World) -> None:
    server, client = Server(shop, {"/api/export": lambda _: Long()}), Slow()
    tracemalloc.start()
    try:
        asked = server.begin("/api/export", client)
        assert client.begun.wait(PATIENCE_SECONDS)
        client.skip(2 * streams.WHOLE)
        kept = [one.size for one in tracemalloc.take_snapshot().traces if one.size >= streams.WHOLE]
    finally:
        tracemalloc.stop()
    assert kept == [], "a part of the size of the first, which was sent"
    client.leave()
    asked.result(PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("fault", "status", "reason", "retry_after"),
    [
        (BrokenOff(problem(404, Reason.NOT_FOUND), "a-request"), 404, "not_found", None),
        (psycopg.OperationalError("the server closed the connection"), 503, "overloaded", "5"),
        (ValueError("something of ours"), 500, "internal", None),
    ],
    ids=["gone", "outage", "defect"],
)
@pytest.mark.parametrize("parts", [0, 3, streams.WHOLE // len(PART)])
def test_what_fails_before_anything_was_sent_is_answered_in_the_one_shape(
    shop: World, parts: int, fault: Exception, status: int, reason: str, retry_after: str | None
) -> None:
    long = Long(parts, fault)
    answer = Server(shop, {"/api/export": lambda _: long}).ask("/api/export")
    assert (answer[0], code(answer), answer[1].get("retry-after")) == (status, reason, retry_after)
    assert json.loads(answer[2])["request_id"] == answer[1]["x-request-id"]
    assert long.closed.is_set()


def test_a_long_answer_that_breaks_off_ends(shop: World) -> None:
    long = Long(PARTS, BrokenOff(problem(404, Reason.NOT_FOUND), "a-request"))
    answer = Server(shop, {"/api/export": lambda _: long}).ask("/api/export")
    assert answer[0] == 200
    assert 0 < len(answer[2]) <= PARTS * len(PART)
    assert long.closed.is_set()


def test_a_header_with_an_underscore_passes_for_no_other(shop: World) -> None:
    def headers(environ: dict[str, Any]) -> bytes:
        return json.dumps({name: value for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT"))}).encode()

    sent = {"x_forwarded_for": "203.0.113.9", "content_type": "text/html", "x-real-ip": "198.51.100.7"}
    assert json.loads(Server(shop, {"/api/me": headers}).ask("/api/me", headers=sent)[2]) == {
        "CONTENT_LENGTH": "0",
        "HTTP_X_REAL_IP": "198.51.100.7",
    }


def test_what_a_body_inflates_to_counts_where_there_is_room_for_so_many_bytes(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_BYTES", 1)  # the least there is: four times the limit of one body
    release, ready = threading.Event(), threading.Semaphore(0)

    def take(environ: dict[str, Any]) -> bytes:
        read_body(environ, LIMIT)
        ready.release()
        release.wait(PATIENCE_SECONDS)
        return b"taken"

    server = Server(shop, {"/api/events": take})
    packed: dict[str, Any] = {"headers": {"content-encoding": "gzip"}, "body": gzip.compress(b" " * LIMIT)}
    try:
        taken = [server.begin("/api/events", **packed) for _ in range(3)]
        assert all(ready.acquire(timeout=PATIENCE_SECONDS) for _ in taken)
        late = server.ask("/api/events", **packed)
        assert (late[0], late[1]["retry-after"], code(late)) == (503, "5", "overloaded")
    finally:
        release.set()
    assert {one.result(PATIENCE_SECONDS)[0] for one in taken} == {200}
    assert server.ask("/api/events", **packed)[0] == 200, "there is room again"


def test_a_header_that_is_sent_again_and_again_is_one_with_all_its_values(shop: World) -> None:
    class Repeating(Headers):
        def items(self) -> Any:
            return [("x-tag", "a"), ("x-tag", "b"), ("host", "one"), ("x-tag", "c"), ("host", "two")]

    seen: dict[str, Any] = {}
    server = Server(shop, {"/api/me": lambda environ: seen.update(environ) or b""})
    server.ask("/api/me", headers=Repeating())
    assert (seen["HTTP_X_TAG"], seen["HTTP_HOST"]) == ("a,b,c", "two")


def left(kept: list[Any], most: int = 0) -> list[Any]:
    """Return what is still there of what was kept weakly, once it is no more than so much, or patience is at an end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := [one for one in kept if one() is not None]) > most and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
def by_hand() -> Iterator[None]:
    """Whoever made a cycle keeps it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("kind", ["taken", "one is bad", "an attribute is bad", "all is bad", "no body", "no lead", "outage"])
def test_what_the_tracker_sent_is_gone_with_its_answer(shop: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Python looks for cycles after so many objects, however large they are."""
    kept: list[weakref.ref[Collection]] = []
    make = Collection.__init__

    def note(self: Collection, *given: Any) -> None:
        make(self, *given)
        kept.append(weakref.ref(self))

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise Overloaded

    items: list[Any] = [new_event()]
    if kind in ("one is bad", "all is bad"):
        items = [{"type": "event"}, {"type": "unknown"}, {**new_event(), "metadata": {"a": [[]]}}, *items[kind == "all is bad" :]]
    if kind == "an attribute is bad":
        items = [{"type": "identify", "at": shop.clock.now, "attributes": {"list": [], "signed_up_at": "never", "company": {"size": []}}}]
    if kind == "outage":
        monkeypatch.setattr(shop.services.writer, "_submit", fail)
    body = json.dumps(envelope(shop.site.key, "no lead" if kind == "no lead" else new_lead(), *items)).encode()
    monkeypatch.setattr(Collection, "__init__", note)
    status = Server(shop, {}).ask("/collect", body=body[:-1] if kind == "no body" else body)[0]
    assert status == {"no body": 400, "no lead": 403, "outage": 503}.get(kind, 202)
    assert kept
    assert left(kept) == []


class Late(Protocol):
    """A client whose body never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield PART
        await asyncio.Event().wait()


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("path", ["/collect", "/api/events"])
def test_what_came_of_a_body_that_is_late_is_gone_with_its_answer(shop: World, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    late = Late(b"")
    sent = weakref.ref(late)
    assert Server(shop, {}).ask(path, protocol=late, headers={"content-length": str(LIMIT)})[0] == 503
    del late
    assert left([sent]) == []


@pytest.mark.usefixtures("by_hand")
def test_after_so_many_bytes_of_refused_bodies_what_is_kept_by_cycles_goes(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_GARBAGE", 5 * LIMIT)
    kept: list[weakref.ref[Long]] = []

    def keep(environ: dict[str, Any]) -> bytes:
        cycle: Any = Long()
        cycle.itself = cycle
        kept.append(weakref.ref(cycle))
        raise problem(400, Reason.BODY_INVALID)

    server = Server(shop, {"/api/events": keep})
    for _ in range(12):
        server.ask("/api/events", body=b" " * (LIMIT - 1))
    assert len(kept) == 12
    assert len(left(kept, 5)) <= 5
