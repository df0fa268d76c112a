"""Browsers that post without a pause while something goes wrong, and the account of what became of every event they sent."""

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from collector.domain.identities import LEAD, USER, Key
from collector.storage.database import Connection, Database
from collector.values.ids import event_id_text, new_uuid7
from tests.support.client import JSON, TEXT
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.processes import run_command
from tests.support.servers import Collector

ANSWER_SECONDS = 30
"""When a browser gives up on an answer: the tracker's own limit."""
PACE_SECONDS = 0.02
PATIENCE_SECONDS = 60
NAMES = ("page-view", "added-to-cart", "saved", "searched")


class Sent(NamedTuple):
    """An event as it was sent: to which site (its key), as whose, under which name, and when it happened (ms)."""

    site: str
    owner: Key
    name: str
    at: int


class Load:
    """Senders that post until `finish`; what is refused for now, or gets no answer, is sent again under the same ids.

    `sites` are what `init` printed of the collector's sites, by default the one it was started with. Most senders are browsers with a
    lead, every third of them signed in; one for each site and collector is a server that posts batches by REST. Where there are `others`
    on the same database, everybody sends to one after the other, as behind a load balancer. `acknowledged` holds the ids of events answered
    with 202, `sent` all, with what they say; `claimed` the leads of those who are signed in, each with its user; `duplicates` counts those
    events that the collector knew already, `statuses` answers, `lost` requests without one; `wrong` describes every answer that should not
    have been.
    """

    def __init__(
        self, collector: Collector, sites: Sequence[Mapping[str, str]] = (), browsers: int = 8, others: Sequence[Collector] = ()
    ) -> None:
        self.acknowledged: set[str] = set()
        self.sent: dict[str, Sent] = {}
        self.claimed: dict[tuple[str, Key], Key] = {}
        self.duplicates = 0
        self.statuses: Counter[int] = Counter()
        self.lost: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._answered: defaultdict[int, set[tuple[int | None, int]]] = defaultdict(set)
        self._changed = threading.Condition()
        self._finishing = threading.Event()
        self._given_up = threading.Event()
        sites = sites or [collector.site]
        fleet = [collector, *others]
        self._ports = [one.port for one in fleet]
        turns = [[*fleet[number:], *fleet[:number]] for number in range(len(fleet))]
        senders: list[_Sender] = [_Server(self, turn, site) for site in sites for turn in turns]
        senders += [_Browser(self, turns[number % len(turns)], sites[number % len(sites)], number) for number in range(browsers)]
        self._threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
        for thread in self._threads:
            thread.start()

    def wait_for_acknowledged(self, more: int) -> None:
        """Wait until so many more events are acknowledged than now."""
        with self._changed:
            wanted = len(self.acknowledged) + more
            self._wait(lambda: len(self.acknowledged) >= wanted, f"{more} more events acknowledged")

    def wait_for_answers(self, status: int, more: int = 1) -> None:
        """Wait until so many more answers have this status than now."""
        with self._changed:
            wanted = self.statuses[status] + more
            self._wait(lambda: self.statuses[status] >= wanted, f"{more} answers with status {status}")

    def wait_for_everybody(self, status: int, without: Collector | None = None) -> None:
        """Wait until every sender got an answer with this status from every collector, whatever it was waiting for when this was asked.

        One that does not run may be left out.
        """
        ports = [port for port in self._ports if without is None or port != without.port]
        with self._changed:
            answered = self._answered[status] = set()
            everybody = {(thread.ident, port) for thread in self._threads for port in ports}
            self._wait(lambda: everybody <= answered, f"an answer {status} for everybody")

    def wait_for_lost(self, more: int = 1) -> None:
        """Wait until so many more requests have got no answer than now."""
        with self._changed:
            wanted = self.lost.total() + more
            self._wait(lambda: self.lost.total() >= wanted, f"{more} requests without an answer")

    def abandon(self) -> None:
        """Stop without sending anything again: what is not acknowledged by now never will be."""
        self._given_up.set()
        self.finish()

    def finish(self) -> None:
        """Send nothing new, deliver what is not acknowledged yet, and return when all of it is."""
        self._finishing.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        alive = any(thread.is_alive() for thread in self._threads)
        self._given_up.set()
        assert not alive, f"not everything could be delivered: {self.summary()}"

    def summary(self) -> str:
        """Say in one line what happened."""
        return (
            f"{len(self.acknowledged)} of {len(self.sent)} events acknowledged, answers {dict(self.statuses)}, "
            f"no answer {dict(self.lost)}, wrong {self.wrong[:5]}"
        )

    def note(self, ids: Sequence[str], port: int, status: int, headers: Any, body: bytes) -> bool:
        """Note an answer of who listens there, and return whether it is the last word on these events."""
        with self._changed:
            self.statuses[status] += 1
            self._answered[status].add((threading.get_ident(), port))
            if status == 202:
                told = json.loads(body)
                self.duplicates += told["duplicates"]
                if told["refused"]:
                    self.wrong.append(f"refused: {told['refused'][:2]}")
                self.acknowledged.update(ids)
            elif status == 503:
                if not str(headers.get("Retry-After", "")).isdigit():
                    self.wrong.append(f"503 without Retry-After: {body[:200]!r}")
            else:
                self.wrong.append(f"{status}: {body[:300]!r}")
            self._changed.notify_all()
        return status != 503

    def note_lost(self, error: Exception) -> None:
        """Note that a request got no answer."""
        with self._changed:
            self.lost[type(error).__name__] += 1
            self._changed.notify_all()

    def note_sent(self, events: Mapping[str, Sent], lead: Key | None) -> None:
        """Note events before they are first sent, and the lead that sends them."""
        with self._changed:
            self.sent.update(events)
            self.claimed.update({(one.site, lead): one.owner for one in events.values() if lead not in (None, one.owner)})

    def done(self) -> bool:
        """Say whether nothing new is to be sent."""
        return self._finishing.is_set()

    def rest(self) -> bool:
        """Wait a moment before sending again; return whether that is still wanted."""
        return not self._given_up.wait(PACE_SECONDS)

    def given_up(self) -> bool:
        """Say whether what was not acknowledged is left alone."""
        return self._given_up.is_set()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        reached = self._changed.wait_for(lambda: condition() or self.wrong, PATIENCE_SECONDS)
        assert not self.wrong, f"while waiting for {what}: {self.summary()}"
        assert reached, f"waited in vain for {what}: {self.summary()}"


class _Sender:
    """Somebody who sends one request after the other, over a kept connection to each collector in turn."""

    def __init__(self, load: Load, fleet: Sequence[Collector], site: Mapping[str, str]) -> None:
        self._load = load
        self._site = site
        self._lead: Key | None = None
        self._connections = [http.client.HTTPConnection("127.0.0.1", one.port, timeout=ANSWER_SECONDS) for one in fleet]

    def run(self) -> None:
        """Send until there is to be nothing new."""
        while not self._load.done():
            events, send = self.next()
            ids = list(events)
            self._load.note_sent(events, self._lead)
            while not self._load.given_up():
                try:
                    answer, body = send()
                except (OSError, http.client.HTTPException) as error:
                    self._connections[0].close()
                    self._load.note_lost(error)
                    last_word = False
                else:
                    last_word = self._load.note(ids, self._connections[0].port, answer.status, answer.headers, body)
                self._connections.append(self._connections.pop(0))
                if last_word:
                    break
                if not self._load.rest():
                    break
        for connection in self._connections:
            connection.close()

    def next(self) -> tuple[dict[str, Sent], Callable[[], tuple[http.client.HTTPResponse, bytes]]]:
        """Return new events by id, and what sends them, once with each call."""
        raise NotImplementedError

    def post(self, path: str, value: Any, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """Send one request and read the answer."""
        self._connections[0].request("POST", path, json.dumps(value), headers)
        answer = self._connections[0].getresponse()
        return answer, answer.read()


class _Browser(_Sender):
    """A page with the tracker: one to five events in an envelope."""

    def __init__(self, load: Load, fleet: Sequence[Collector], site: Mapping[str, str], number: int) -> None:
        super().__init__(load, fleet, site)
        self._secret = new_lead()
        self._lead = LEAD, self._secret.split(".")[0]
        self._user = {"id": f"visitor-{number}"} if number % 3 == 2 else None
        self._owner = self._lead if self._user is None else (USER, self._user["id"])
        self._visit = new_uuid7(time.time_ns() // 1_000_000)

    def next(self) -> tuple[dict[str, Sent], Callable[[], tuple[http.client.HTTPResponse, bytes]]]:
        page = {"url": f"https://shop.example/lamps/{random.randrange(20)}"}
        events = [
            new_event(random.choice(NAMES), visit=self._visit, page=page, metadata={"path": "/lamps", "position": position})
            for position in range(random.randint(1, 5))
        ]

        def send() -> tuple[http.client.HTTPResponse, bytes]:
            fields = {} if self._user is None else {"user": self._user}
            sent = envelope(self._site["site_key"], self._secret, *events, offset=0, **fields)
            return self.post("/collect", sent, {"Content-Type": TEXT})

        return {event["id"]: Sent(self._site["site_key"], self._owner, event["name"], event["at"]) for event in events}, send


class _Server(_Sender):
    """A customer's server: batches by REST."""

    def next(self) -> tuple[dict[str, Sent], Callable[[], tuple[http.client.HTTPResponse, bytes]]]:
        now = time.time_ns() // 1_000_000
        ids = [new_uuid7(now) for _ in range(5)]
        user = f"customer-{random.randrange(5)}"
        events = [{"id": one, "event_name": "invoice-paid", "user_id": user, "created_at": now // 1000} for one in ids]
        sent = Sent(self._site["site_key"], (USER, user), "invoice-paid", now // 1000 * 1000)
        headers = {"Content-Type": JSON, "Accept": JSON, "Authorization": f"Bearer {self._site['access_token']}"}
        return dict.fromkeys(ids, sent), lambda: self.post("/api/events/batch", {"events": events, "create_contacts": True}, headers)


def both_ways(collector: Collector, load: Load, changes: str = "") -> Iterator[None]:
    """Come twice: with the collector as it serves, and once it serves everybody again after it was killed and writes the other way.

    `changes` are the statements with which it was started.
    """
    yield
    collector.kill()
    collector.start_the_other_way(changes)
    load.wait_for_everybody(202)
    yield


def check_ledger(collector: Collector, load: Load) -> None:
    """Make sure, once `load.finish` returned, that every event ever sent is stored once and counted once, and nothing else is.

    That holds for the sites that it was sent to.
    """
    assert load.wrong == [], load.summary()
    check_acknowledged(collector, load)
    assert load.acknowledged == load.sent.keys(), load.summary()
    with reading(collector.database_url) as connection:
        sites = {one.site for one in load.sent.values()}
        found = {event for event, one in events(connection) if one.site in sites}
        assert found == load.sent.keys(), f"{len(found - load.sent.keys())} stored that nobody sent"


def check_acknowledged(collector: Collector, load: Load) -> None:
    """Make sure that every acknowledged event is stored, and that what is stored is stored once, as it was sent, and counted once."""
    with reading(collector.database_url) as connection:
        found = events(connection)
        lost = load.acknowledged - {event for event, _ in found}
        assert not lost, f"{len(lost)} of {len(load.acknowledged)} acknowledged events are lost"
        assert [event for event, times in Counter(event for event, _ in found).items() if times > 1] == []
        assert {event: (load.sent[event], one) for event, one in found if load.sent.get(event, one) != one} == {}, "sent, and stored"
        assert own_totals(connection) == totals_of(one for _, one in found)
        assert connection.value("SELECT sum(count) FROM totals") == len(found)
        check_claims(connection, load)
    done = run_command(["collector", "doctor"], collector.folder, collector.environ)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def check_claims(connection: Connection, load: Load) -> None:
    """A lead is part of the user whose claim to it was acknowledged; nobody else is part of anybody who never claimed them."""
    answered = {(load.sent[event].site, load.sent[event].owner) for event in load.acknowledged}
    acknowledged = {(site, lead): user for (site, lead), user in load.claimed.items() if (site, user) in answered}
    senders = {*load.claimed, *((one.site, one.owner) for one in load.sent.values())}
    joined = {(site, one): person for (site, one), person in principals(connection).items() if (site, one) in senders and one != person}
    assert acknowledged.items() - joined.items() == set(), "claimed, and not taken in"
    assert joined.items() - load.claimed.items() == set(), "taken in, though never claimed"


def events(connection: Connection) -> list[tuple[str, Sent]]:
    """Return every event in the database: its id and what is stored."""
    sql = (
        "SELECT e.id, s.site_key, i.kind, i.value, n.text, e.at FROM events e JOIN sites s ON s.id = e.site "
        "JOIN identities i ON i.site = e.site AND i.id = e.identity JOIN names n ON n.site = e.site AND n.id = e.name"
    )
    rows = connection.rows(sql)
    return [(event_id_text(bytes(event)), Sent(site, (kind, value), name, at)) for event, site, kind, value, name, at in rows]


Total = tuple[int, int, int]
"""How often, first and last (ms)."""
Totals = dict[tuple[str, Key, str], Total]
"""By site, identity and name."""


def totals_of(events: Iterable[Sent]) -> Totals:
    """Return what events come to."""
    times: defaultdict[tuple[str, Key, str], list[int]] = defaultdict(list)
    for one in events:
        times[one.site, one.owner, one.name].append(one.at)
    return {whose: (len(each), min(each), max(each)) for whose, each in times.items()}


def own_totals(connection: Connection) -> Totals:
    """Return what each identity did alone, as the totals say it."""
    sql = (
        "SELECT s.site_key, i.kind, i.value, n.text, t.own_count, t.own_first, t.own_last FROM totals t JOIN sites s ON s.id = t.site "
        "JOIN identities i ON i.site = t.site AND i.id = t.identity JOIN names n ON n.site = t.site AND n.id = t.name WHERE t.own_count > 0"
    )
    return {(site, (kind, value), name): (count, *when) for site, kind, value, name, count, *when in connection.rows(sql)}


def principals(connection: Connection) -> dict[tuple[str, Key], Key]:
    """Return whose person each identity is part of, by site."""
    sql = (
        "SELECT s.site_key, i.kind, i.value, p.kind, p.value FROM identities i JOIN sites s ON s.id = i.site "
        "JOIN identities p ON p.site = i.site AND p.id = i.principal_id"
    )
    return {(site, (kind, value)): (of, whose) for site, kind, value, of, whose in connection.rows(sql)}


def stored(connection: Connection) -> Counter[str]:
    """Return every event in the database by id, with how often it stands there."""
    return Counter(event_id_text(bytes(row[0])) for row in connection.rows("SELECT id FROM events"))


@contextmanager
def reading(database_url: str) -> Iterator[Connection]:
    """Lend a connection of the tests' own to a collector's database."""
    database = Database(database_url)
    try:
        with database.read() as connection:
            yield connection
    finally:
        database.close()
