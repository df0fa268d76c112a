"""One collector and three on one database: the same few people tracked, identified, merged, undone and claimed at once, with one result."""

import functools
import os
import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from collector.domain.submissions import Event, Submission
from collector.services import WRITERS, build
from collector.storage.database import Connection, Database
from collector.values.ids import new_uuid7, uuid7_bytes
from tests.support.clock import FakeClock
from tests.support.crowd import EXPECTED, Shared, Somebody, check_the_laws
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.processes import run_command
from tests.support.servers import Collector
from tests.support.world import user
from tests.support.world import world as start

CLIENTS = 16
POPUP = {"name": "Once", "type": "popup", "state": "live", "content": {"body": "Hello"}, "frequency": {"type": "once"}, "ignore_caps": True}


@pytest.fixture(params=[1, 3], ids=["one collector", "three collectors"])
def fleet(request: pytest.FixtureRequest, start_collector: Callable[..., Collector]) -> list[Collector]:
    """Collectors that share a database: on SQLite processes that share a file."""
    first = start_collector()
    others = [start_collector(database_url=first.database_url, folder=first.folder) for _ in range(1, request.param)]
    for other in others:
        other.site = first.site
    return [first, *others]


def test_sixteen_clients_and_the_same_few_people_at_once(fleet: list[Collector], often: Callable[[int], int]) -> None:
    seed = int(os.environ.get("CROWD_SEED") or secrets.randbits(32))
    print(f"CROWD_SEED={seed}")  # the same acts again, though not the same moments
    shared, gate = Shared(), threading.Barrier(CLIENTS)
    clients = [Somebody(random.Random(seed + number), fleet, shared, gate, often(25)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert shared.wrong == []
    assert {what for what, _ in shared.answers} == EXPECTED.keys()

    database = Database(fleet[0].database_url)
    try:
        with database.read() as connection:
            check_the_laws(connection, fleet[0].client, shared)
    finally:
        database.close()
    done = run_command(["collector", "doctor"], fleet[0].folder, fleet[0].environ)
    assert done.returncode == 0, done.stdout + done.stderr
    for collector in fleet:
        assert "Traceback" not in collector.program.errors


@dataclass
class Browser:
    """One of a person's browsers: it sends to whichever collector is there, and may repeat a claim whose answer was lost."""

    fleet: list[Collector]
    lead: str
    user: str | None

    def sender(self) -> dict[str, Any]:
        fields = {} if self.user is None else {"user": {"id": self.user}}
        return {key: value for key, value in envelope(self.fleet[0].site_key, self.lead, **fields).items() if key != "items"}

    def view(self) -> None:
        answer = self.fleet[0].client.post_json("/collect", {**self.sender(), "items": [new_event()]})
        assert answer.status == 202

    def claim(self, number: int, message: str, nonce: str) -> Any:
        body = {**self.sender(), "message": message, "nonce": nonce, "page": {"url": ""}}
        answer = self.fleet[number % len(self.fleet)].client.post_json("/claim", body)
        assert answer.status == 200, answer.text
        return answer.json["message"]


def displays(browsers: list[Browser], message: str) -> set[str]:
    """Let browsers claim a message a hundred times at once, each claim twice with the same nonce, and return the nonces that got it."""

    def claim(number: int) -> str | None:
        browser, nonce = browsers[number % len(browsers)], secrets.token_urlsafe(16)
        answers = [browser.claim(number + attempt, message, nonce) for attempt in range(2)]  # the second at another collector
        assert answers[0] is None or answers[1] == answers[0]
        return next((nonce for answer in answers if answer is not None), None)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return {nonce for nonce in pool.map(claim, range(100)) if nonce is not None}


def test_of_a_hundred_claims_of_one_persons_browsers_one_is_granted(fleet: list[Collector]) -> None:
    message = fleet[0].client.api("POST", "/auto_messages", POPUP).json["id"]
    browsers = [Browser(fleet, new_lead(), "u-claims") for _ in range(5)]
    for browser in browsers:
        browser.view()
    assert len(displays(browsers, message)) == 1
    assert fleet[0].client.api("GET", f"/auto_messages/{message}/stats").json["sent"] == 1


def test_of_a_hundred_claims_of_many_messages_the_gap_lets_one_through(fleet: list[Collector]) -> None:
    settled = {**POPUP, "frequency": {"type": "every_time"}, "ignore_caps": False}
    messages = [fleet[0].client.api("POST", "/auto_messages", settled).json["id"] for _ in range(20)]
    browsers = [Browser(fleet, new_lead(), "u-caps") for _ in range(5)]
    for browser in browsers:
        browser.view()
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(browsers[number % 5].claim, number, messages[number % 20], secrets.token_urlsafe(16)) for number in range(100)]
        granted = [job.result() for job in jobs]
    assert len([one for one in granted if one is not None]) == 1  # ten minutes lie between two


def test_a_visitor_who_becomes_a_user_while_claiming_is_shown_it_once(fleet: list[Collector]) -> None:
    message = fleet[0].client.api("POST", "/auto_messages", POPUP).json["id"]
    visitor = Browser(fleet, new_lead(), None)
    visitor.view()
    signed_in = Browser(fleet, visitor.lead, "u-becoming")
    with ThreadPoolExecutor(2) as pool:
        claimed = pool.submit(displays, [visitor, signed_in], message)
        pool.submit(signed_in.view).result()
        assert len(claimed.result()) == 1
    assert displays([visitor, signed_in], message) == set()


def test_one_poisonous_event_among_many_fails_alone(database_url: str, clock: FakeClock) -> None:
    """Two processes each get forty events in one commit; one event of each has a time that no column holds."""
    with start(database_url, clock) as world:
        other = build(world.services.settings, clock)
        try:
            for services in (world.services, other):
                release = threading.Event()

                def hold(_: Connection, held: threading.Event, release: threading.Event = release) -> None:
                    held.set()
                    release.wait(60)

                def send(number: int, services: Any = services) -> Any:
                    at = 2**63 if number == 17 else clock()
                    one = Event(uuid7_bytes(new_uuid7(clock())) or b"", "saved", at)
                    return services.writer.record(world.site.id, [Submission(owner=user(f"u-{number % 3}"), events=[one])])[0].events

                with ThreadPoolExecutor(50) as pool:
                    holding = []
                    for _ in range(WRITERS[services.written.engine]):
                        held = threading.Event()
                        holding.append(pool.submit(services.writer.run, 0, functools.partial(hold, held=held)))
                        assert held.wait(60)
                    jobs = [pool.submit(send, number) for number in range(40)]
                    while services.writer.waiting() < len(jobs):
                        time.sleep(0.001)
                    release.set()
                    for one in holding:
                        one.result()
                    failed = [number for number, job in enumerate(jobs) if job.exception() is not None]
                    assert failed == [17]
                    assert all(job.result() == [True] for number, job in enumerate(jobs) if number != 17)
            assert sum(world.counts(user(f"u-{number}"))["saved"] for number in range(3)) == 2 * 39
        finally:
            other.close()
