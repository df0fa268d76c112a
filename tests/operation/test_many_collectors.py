"""One collector and three on one database: the same few people tracked, identified, merged, undone and claimed at once, with one result."""

import functools
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from collector.domain.submissions import Event, Submission
from collector.services import WRITERS, build
from collector.storage.database import Connection, Database
from collector.values.ids import new_uuid7, uuid7_bytes
from tests.support.client import Answer
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.processes import run_command
from tests.support.servers import Collector
from tests.support.world import user
from tests.support.world import world as start

CLIENTS = 16
USERS = ("u-0", "u-1", "u-2")
NAMES = ("page-view", "saved")
POPUP = {"name": "Once", "type": "popup", "state": "live", "content": {"body": "Hello"}, "frequency": {"type": "once"}, "ignore_caps": True}


@pytest.fixture(params=[1, 3], ids=["one collector", "three collectors"])
def fleet(request: pytest.FixtureRequest, start_collector: Callable[..., Collector]) -> list[Collector]:
    """Collectors that share a database: on SQLite processes that share a file."""
    first = start_collector()
    others = [start_collector(database_url=first.database_url, folder=first.folder) for _ in range(1, request.param)]
    for other in others:
        other.site = first.site
    return [first, *others]


def new_lead() -> str:
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


@dataclass
class Shared:
    """What all clients know: the leads that are used by many, what was acknowledged, what was answered."""

    leads: list[str] = field(default_factory=lambda: [new_lead() for _ in range(5)])
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Kind and value of the identity that each acknowledged event belongs to, by the event's id."""
    names: dict[str, str] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


EXPECTED = {
    "collect": {202},
    "contacts": {200},
    "merges": {200},
    "merge": {200, 400, 404},  # another user's already; became part of a user since it was listed
    "undo": {200},
}


class Somebody(threading.Thread):
    """A client that does what browsers and a customer's servers do, with the people that the others work on too."""

    def __init__(self, number: int, fleet: list[Collector], shared: Shared, gate: threading.Barrier, acts: int) -> None:
        super().__init__()
        self.random = random.Random(number)
        self.fleet, self.shared, self.gate, self.acts = fleet, shared, gate, acts
        self.lead = shared.leads[number % len(shared.leads)]
        self.sent: list[dict[str, Any]] = []

    def run(self) -> None:
        self.gate.wait(60)
        try:
            for _ in range(self.acts):
                self.random.choice((self.track, self.track, self.identify, self.retry, self.merge, self.undo, self.reset))()
        except Exception as error:
            self.shared.wrong.append(f"{type(error).__name__}: {error}")
            raise

    def collector(self) -> Collector:
        return self.random.choice(self.fleet)

    def expect(self, what: str, answer: Answer) -> Answer:
        self.shared.answers[(what, answer.status)] += 1
        if answer.status not in EXPECTED[what]:
            self.shared.wrong.append(f"{what}: {answer.status} {answer.text}")
        return answer

    def send(self, sent: dict[str, Any]) -> None:
        answer = self.expect("collect", self.collector().client.post_json("/collect", sent))
        if answer.status != 202:
            return
        if answer.json["refused"]:
            self.shared.wrong.append(f"refused: {answer.json['refused']}")
        owner = ("user", sent["user"]["id"]) if "user" in sent else ("lead", sent["lead"].split(".")[0])
        for item in sent["items"]:
            if item["type"] == "event":
                self.shared.owners[item["id"]] = owner
                self.shared.names[item["id"]] = item["name"]

    def track(self) -> None:
        events = [new_event(self.random.choice(NAMES)) for _ in range(self.random.randint(1, 3))]
        who = self.random.choice((None, *USERS))
        fields = {} if who is None else {"user": {"id": who}}
        self.sent.append(envelope(self.fleet[0].site_key, self.random.choice((self.lead, *self.shared.leads)), *events, **fields))
        self.send(self.sent[-1])

    def identify(self) -> None:
        item = {"type": "identify", "at": time.time_ns() // 1_000_000, "attributes": {"name": secrets.token_hex(4)}}
        self.send(envelope(self.fleet[0].site_key, self.lead, item, new_event("signed-in"), user={"id": self.random.choice(USERS)}))

    def retry(self) -> None:
        if self.sent:
            self.send(self.random.choice(self.sent))

    def reset(self) -> None:
        self.lead = new_lead()

    def merge(self) -> None:
        client = self.collector().client
        found = self.expect("contacts", client.api("GET", "/contacts?per_page=50"))
        contacts = found.json["data"] if found.status == 200 else []
        leads = [one["id"] for one in contacts if one["role"] == "lead"]
        users = [one["id"] for one in contacts if one["role"] == "user"]
        if leads and users:
            body = {"from": self.random.choice(leads), "into": self.random.choice(users)}
            self.expect("merge", client.api("POST", "/contacts/merge", body))

    def undo(self) -> None:
        client = self.collector().client
        listed = self.expect("merges", client.api("GET", "/merges?per_page=20"))
        merges = [one["id"] for one in listed.json["data"]] if listed.status == 200 else []
        if merges:
            self.expect("undo", client.api("POST", f"/merges/{self.random.choice(merges)}/undo", {}))


def test_sixteen_clients_and_the_same_few_people_at_once(fleet: list[Collector], pytestconfig: pytest.Config) -> None:
    shared, gate = Shared(), threading.Barrier(CLIENTS)
    acts = 500 if pytestconfig.getoption("--long") else 25
    clients = [Somebody(number, fleet, shared, gate, acts) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert shared.wrong == []
    assert {what for what, _ in shared.answers} == EXPECTED.keys()

    database = Database(fleet[0].database_url)
    try:
        with database.read() as connection:
            check_the_laws(connection, shared)
    finally:
        database.close()
    done = run_command(["collector", "doctor"], fleet[0].folder, fleet[0].environ)
    assert done.returncode == 0, done.stdout + done.stderr
    for collector in fleet:
        assert "Traceback" not in collector.program.errors


def check_the_laws(connection: Connection, shared: Shared) -> None:
    """Look at the tables themselves: every acknowledged event once, counted once, the folds, the journal."""
    whose = "FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity"
    stored = connection.rows(f"SELECT e.id, i.kind, i.value {whose}")
    assert Counter((bytes(number), kind, value) for number, kind, value in stored) == Counter(
        (uuid7_bytes(number), *owner) for number, owner in shared.owners.items()
    )

    counted = Counter((*owner, shared.names[number]) for number, owner in shared.owners.items())
    sql = (
        "SELECT i.kind, i.value, n.text, t.own_count FROM totals t JOIN identities i ON i.site = t.site AND i.id = t.identity "
        "JOIN names n ON n.site = t.site AND n.id = t.name WHERE t.own_count > 0"
    )
    assert Counter({(kind, value, name): count for kind, value, name, count in connection.rows(sql)}) == counted

    principals = dict(connection.rows("SELECT id, principal_id FROM identities"))
    own: Counter[tuple[int, int]] = Counter()
    person: Counter[tuple[int, int]] = Counter()
    for name, identity, count, own_count in connection.rows("SELECT name, identity, count, own_count FROM totals"):
        own[(principals[identity], name)] += own_count
        person[(identity, name)] += count or 0
    assert +own == +person

    opened = connection.rows("SELECT lead, target FROM merges WHERE outcome = 'merged' AND undone_at IS NULL")
    pointers = [(identity, principal) for identity, principal in principals.items() if identity != principal]
    assert sorted(opened) == sorted(pointers)


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
