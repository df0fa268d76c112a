"""More arrives than the database takes: what waits is bounded, the rest is told when to come back, and what was taken is not dropped."""

import contextlib
import http.client
import os
import random
import secrets
import signal
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from collector.services import WRITERS
from tests.support.client import Answer, Client
from tests.support.envelopes import envelope, new_event
from tests.support.load import reading, stored
from tests.support.processes import children, is_pending, memory
from tests.support.servers import Collector

QUEUE, GROUP = 40, 10
CLIENTS = 100
SERVERS = CLIENTS // 5
"""How many of them speak REST."""

COLLECT, BATCH = "/collect", "/api/events/batch"
SECONDS, LONG_SECONDS = 30, 600
WARM_SECONDS = 15
"""Until what is kept of a file for each connection (caches, which have an end) is as much as it will be."""

ROOM = 8 * 2**20
"""Bytes of bodies on their way, of the tracker's and of REST's. There is room for more, and less or more of it is full as the collector
falls behind or catches up.
"""

GROWTH = 40 * 2**20
"""Bytes by which memory may differ between two moments: bodies on their way, and what the allocator keeps."""

PATIENCE_SECONDS = 30


@pytest.fixture
def collector(start_collector: Callable[..., Collector]) -> Collector:
    """A collector with a short queue."""
    return start_collector(settings={"LEADLIGHT_QUEUE_LIMIT": str(QUEUE), "LEADLIGHT_GROUP_LIMIT": str(GROUP)})


@pytest.fixture
def with_little_room(collector: Collector) -> Collector:
    """The same, with little room for bodies: as much as the largest of REST's takes."""
    collector.stop()
    collector.start(f"from collector.web import bodies\nbodies.MOST_BYTES = {ROOM}\nbodies._LEAST = 1")
    return collector


@contextmanager
def held(database_url: str) -> Iterator[Callable[[], None]]:
    """Keep everybody from writing, as another program would, until the given call."""
    if database_url.startswith("sqlite:///"):
        file = sqlite3.connect(
            database_url.removeprefix("sqlite:///"), isolation_level=None, timeout=PATIENCE_SECONDS, check_same_thread=False
        )
        try:
            file.execute("BEGIN IMMEDIATE")
            yield lambda: file.execute("ROLLBACK")
        finally:
            file.close()
    else:
        with psycopg.connect(database_url) as server:
            server.execute("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE")
            yield server.rollback


def post(collector: Collector) -> tuple[str, Answer | None]:
    """Post one event of somebody new; return its id and the answer, None where there was nobody to give one."""
    event = new_event("saved")
    try:
        return event["id"], Client(collector.url, timeout=PATIENCE_SECONDS).post_json(
            "/collect", envelope(collector.site_key, lead(), event)
        )
    except (OSError, http.client.HTTPException):
        return event["id"], None


def lead() -> str:
    """A new visitor's lead."""
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


def accepted(posts: list[Future[tuple[str, Answer | None]]]) -> set[str]:
    """Wait for every answer and return the ids of the events that were accepted."""
    return {event for event, answer in (one.result() for one in posts) if answer is not None and answer.status == 202}


def most(collector: Collector) -> int:
    """Return how many the queue and the group of each writer may hold."""
    return QUEUE + GROUP * WRITERS["sqlite" if collector.database_url.startswith("sqlite") else "postgresql"]


def wait_until_full(collector: Collector, posts: list[Future[tuple[str, Answer | None]]]) -> list[Answer | None]:
    """Wait until all have their answer but those whom the queue and the writers may hold; return the answers."""
    waiting = set(posts)
    while len(waiting) > most(collector):
        done, waiting = wait(waiting, PATIENCE_SECONDS, FIRST_COMPLETED)
        assert done, "no more answers"
    return [one.result()[1] for one in posts if one.done()]


def test_a_full_queue_is_said_and_what_was_taken_is_stored(collector: Collector) -> None:
    with held(collector.database_url) as release, ThreadPoolExecutor(CLIENTS) as pool:
        posts = [pool.submit(post, collector) for _ in range(CLIENTS)]
        for answer in wait_until_full(collector, posts):
            assert answer is not None
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        release()
        taken = accepted(posts)
        assert QUEUE <= len(taken) <= most(collector)
    with reading(collector.database_url) as connection:
        assert stored(connection).keys() == taken


@pytest.mark.parametrize("orders", [0, 6])
def test_a_shutdown_writes_and_answers_the_whole_queue(collector: Collector, orders: int) -> None:
    """Also where its worker was ordered to end over and over: by a terminal, which tells both, and by the server that it belongs to."""
    (worker,) = children(collector.program.process.pid)
    with held(collector.database_url) as release, ThreadPoolExecutor(CLIENTS + 1) as pool:
        posts = [pool.submit(post, collector) for _ in range(CLIENTS)]
        wait_until_full(collector, posts)
        for number in ([signal.SIGINT, signal.SIGTERM] * orders)[:orders]:
            os.kill(worker, number)
            while is_pending(worker):
                time.sleep(0.01)
        stopped = pool.submit(collector.stop)
        wait_until_it_listens_no_more(collector)
        release()
        taken = accepted(posts)
        assert QUEUE <= len(taken) <= most(collector)
        assert stopped.result() == 0
    with reading(collector.database_url) as connection:
        assert stored(connection).keys() == taken


def test_rest_is_turned_away_beyond_its_threads_and_health_is_told_all_the_while(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings={"LEADLIGHT_THREADS": "4"})

    def send(number: int) -> Answer:
        event = {"event_name": "saved", "user_id": "ada", "create_contact": True, "event_id": f"e-{number}", "created_at": int(time.time())}
        return collector.client.api("POST", "/events", event)

    with held(collector.database_url) as release, ThreadPoolExecutor(CLIENTS) as pool:
        posts = [pool.submit(send, number) for number in range(CLIENTS)]
        waiting = set(posts)
        while len(waiting) > 8:
            done, waiting = wait(waiting, PATIENCE_SECONDS, FIRST_COMPLETED)
            assert done, "no more answers"
        assert collector.client.get("/healthz").status == 200
        assert collector.client.get("/readyz").json["checks"]["writer"] is True
        release()
        answers = Counter((one.result().status, one.result().headers.get("Retry-After")) for one in posts)
    assert answers == {(202, None): 8, (503, "5"): CLIENTS - 8}


def test_memory_stays_flat_under_overload(with_little_room: Collector, long: bool) -> None:
    with held(with_little_room.database_url):
        answered = crowd(with_little_room, long)
    for path in (COLLECT, BATCH):
        assert answered[path] == {503}


def test_nor_does_it_grow_where_little_is_written(with_little_room: Collector, long: bool) -> None:
    """Another program writes most of the time, so that groups are always under way."""
    enough = threading.Event()

    def write() -> None:
        while not enough.wait(0.05):
            with held(with_little_room.database_url):
                enough.wait(random.uniform(0.1, 0.5))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            answered = crowd(with_little_room, long)
        finally:
            enough.set()
            writing.result()
    for path in (COLLECT, BATCH):
        assert answered[path] == {202, 503}


def crowd(collector: Collector, long: bool) -> dict[str, set[int]]:
    """Send visitors and servers who give up after a second and ask again, some with large bodies; memory stays flat.

    Return the statuses that they got, by path. Who is turned away is told when to come back.
    """
    seconds = LONG_SECONDS if long else SECONDS
    enough = threading.Event()
    statuses: defaultdict[str, set[int]] = defaultdict(set)
    senders = {COLLECT: visitor, BATCH: server}

    def visit(path: str) -> None:
        send = senders[path](collector)
        while not enough.wait(random.uniform(0, 0.1)):
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = send(random.random() < 0.2)
                assert answer.headers["Retry-After"] == ("5" if answer.status == 503 else None), answer.text
                statuses[path].add(answer.status)

    with ThreadPoolExecutor(CLIENTS) as pool:
        visits = [pool.submit(visit, BATCH if number < SERVERS else COLLECT) for number in range(CLIENTS)]
        try:
            parts = (WARM_SECONDS, seconds / 2, seconds / 2)
            _, held_before, held_after = (most_memory(collector, part, visits) for part in parts)
        finally:
            enough.set()
        for one in visits:
            one.result()
    assert held_after - held_before < GROWTH, f"{held_before:,} bytes, then {held_after:,}"
    return statuses


def notes() -> dict[str, str]:
    """Return metadata of five thousand bytes."""
    return {f"note-{number}": "x" * 255 for number in range(20)}


def visitor(collector: Collector) -> Callable[[bool], Answer]:
    """Return what sends an event of somebody new, or a hundred of them."""
    client = Client(collector.url, timeout=1)

    def send(is_large: bool) -> Answer:
        events = [new_event("saved", metadata=notes()) for _ in range(100 if is_large else 1)]
        return client.post_json(COLLECT, envelope(collector.site_key, lead(), *events))

    return send


def server(collector: Collector) -> Callable[[bool], Answer]:
    """Return what sends an event of a user by REST, or all that a batch may have: the same ones again, as who got no answer does."""
    client = Client(collector.url, collector.access_token, timeout=1)
    said = {"event_name": "saved", "user_id": secrets.token_hex(8), "metadata": notes()}

    def some(count: int) -> list[dict[str, Any]]:
        return [{**said, "id": new_event("saved")["id"], "created_at": int(time.time())} for _ in range(count)]

    many = some(1_000)

    def send(is_large: bool) -> Answer:
        return client.api("POST", BATCH.removeprefix("/api"), {"events": many if is_large else some(1)})

    return send


@pytest.mark.parametrize(("path", "size"), [("/collect", 1_100_000), ("/collect", 9_000_000), ("/api/events", 9_000_000)])
def test_who_sends_a_body_that_is_too_large_still_reads_why(collector: Collector, path: str, size: int) -> None:
    """A connection that is closed while its client still sends is reset, and takes the answer along."""
    for _ in range(10):
        answer = collector.client.request("POST", path, b"x" * size, {"Content-Type": "application/json"})
        assert (answer.status, answer.codes) == (413, ["body_too_large"])


def test_who_sends_without_end_is_not_heard_out(collector: Collector) -> None:
    parts = (b"x" * 1_000_000 for _ in range(10_000))
    with (
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", collector.port, timeout=PATIENCE_SECONDS)) as connection,
        pytest.raises(OSError, match=r"reset|[Bb]roken pipe"),
    ):
        connection.request("POST", "/collect", parts)


def most_memory(collector: Collector, seconds: float, visits: list[Future[None]]) -> int:
    """Return the most bytes that the collector held within some seconds."""
    most, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        most = max(most, memory(collector.program.process.pid))
        wait(visits, 0.2)
    return most


def wait_until_it_listens_no_more(collector: Collector) -> None:
    """Wait until new connections are refused."""
    while True:
        try:
            Client(collector.url, timeout=1).get("/healthz")
        except (OSError, http.client.HTTPException):
            return
