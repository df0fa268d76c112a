"""Who is deleted by REST stands nowhere any more where a collector keeps things: in no file, in no table."""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from collector.values.ids import new_uuid7
from tests.support.envelopes import envelope, new_event
from tests.support.processes import run_command
from tests.support.servers import APART, Collector

PATIENCE_SECONDS = 60
LENGTH = 12
"""Of a text, whatever is as long as this is found."""

RUNS = re.compile(rf"[0-9a-f]{{{LENGTH},}}".encode())

NO_ROUND = {"LEADLIGHT_UPKEEP_DELAY_SECONDS": "86400"}


class Somebody:
    """Comes by tracker and by REST, and leaves a text of its own in whatever takes one.

    `words` are all of these texts, `lasting` those that are there for as long as the person is.
    """

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.words: list[str] = []
        self.lasting: list[str] = []
        self.user, self.email = self.word(), f"{self.word()}@example.com"
        known = {"email": self.email, "name": self.word(lasts=False), "custom_attributes": {"plan": self.word(lasts=False)}}
        self.contact = self.call("POST", "/contacts", {"external_id": self.user, **known}, 200)["id"]
        known = {"name": self.word(), "custom_attributes": {"plan": self.word(), "city": self.word()}}
        self.call("PUT", f"/contacts/{self.contact}", known, 200)

    def word(self, *, lasts: bool = True) -> str:
        """Return a text that stands nowhere else; it is as long as the id of a lead."""
        word = secrets.token_hex(11)
        self.words.append(word)
        if lasts:
            self.lasting.append(word)
        return word

    def act(self) -> None:
        """Look around with a new browser, sign in there and say something of oneself; and let a server tell of more."""
        lead, visit = f"{self.word()}.{secrets.token_urlsafe(16)}", new_uuid7(time.time_ns() // 1_000_000)
        address = f"https://shop.example/{self.word()}?utm_source={self.word()}"
        page = {"url": address, "title": self.word(), "referrer": f"https://{self.word()}.example/"}
        saved = new_event("saved", visit=visit, metadata={"item": self.word()})
        self.send(lead, new_event(visit=visit, page=page), saved)
        told = {"name": self.word(lasts=False), "custom_attributes": {"colour": self.word(lasts=False)}}
        self.send(lead, {"type": "identify", "at": saved["at"], "attributes": told}, user={"id": self.user})
        self.call("POST", "/events", {"event_name": "paid", "user_id": self.user, **self.fact()}, 202)
        batch = [
            {"event_name": "sent", whom: which, **self.fact()} for whom, which in (("email", self.email), ("contact_id", self.contact))
        ]
        self.call("POST", "/events/batch", {"events": batch}, 202)

    def fact(self) -> dict[str, Any]:
        """What a server says of an event."""
        return {"created_at": int(time.time()), "metadata": {"order": self.word()}}

    def send(self, lead: str, *items: dict[str, Any], **fields: Any) -> None:
        """Post an envelope, all of which is taken."""
        answer = self.collector.client.post_json("/collect", envelope(self.collector.site_key, lead, *items, **fields))
        assert (answer.status, answer.json["accepted"]) == (202, len(items)), answer.text

    def call(self, method: str, path: str, value: Any, status: int) -> Any:
        """Call REST and return what it answers, None where that is nothing."""
        answer = self.collector.client.api(method, path, value)
        assert answer.status == status, answer.text
        said = answer.json if answer.body else None
        assert not said or not said.get("refused"), answer.text
        return said

    def delete(self) -> None:
        """Be deleted."""
        assert self.call("DELETE", f"/contacts/{self.contact}", None, 200)["deleted"] is True


def pieces(words: Iterable[str]) -> set[bytes]:
    """Return all that some texts can be known by."""
    return {text[start : start + LENGTH].encode() for text in words for start in range(len(text) - LENGTH + 1)}


def pieces_in(parts: Iterable[bytes]) -> set[bytes]:
    """Return whatever may be a piece of a text."""
    return pieces(run.decode() for part in parts for run in RUNS.findall(part))


@pytest.fixture
def kept(tmp_path: Path, database_url: str) -> Callable[[Iterable[str]], set[bytes]]:
    """Returns which pieces of some texts are kept: in any file of the test's folder (the database's, its log's, what the collector has
    written for operators), and in any table where a server has them.
    """

    def find(words: Iterable[str]) -> set[bytes]:
        parts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        if database_url.startswith("postgresql"):
            parts += tables(database_url)
        return pieces_in(parts) & pieces(words)

    return find


def tables(url: str) -> list[bytes]:
    """Return every row of every table as it comes in binary form, in which texts stand as they are whatever their column's type."""
    found = []
    with psycopg.connect(url) as server:
        names = server.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
        for name in names.fetchall():
            with server.cursor().copy(sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT binary)").format(sql.Identifier(*name))) as rows:
                found.append(b"".join(bytes(row) for row in rows))
    assert found, "no tables"
    return found


def by_prune(collector: Collector, done: Callable[[], bool]) -> None:
    """Let an operator prune, while the collector serves."""
    told = run_command(["collector", "prune"], collector.folder, collector.environ)
    assert told.returncode == 0, told.stdout + told.stderr
    assert done()


def by_itself(collector: Collector, done: Callable[[], bool]) -> None:
    """Let the collector do its round, as it does a minute after its start."""
    collector.stop()
    collector.environ["LEADLIGHT_UPKEEP_DELAY_SECONDS"] = "0"
    collector.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it is still there"
        threading.Event().wait(0.05)


def test_of_whom_rows_never_moved_nothing_is_left_when_delete_answers(
    start_collector: Callable[..., Collector], database_url: str, kept: Callable[[Iterable[str]], set[bytes]]
) -> None:
    collector = start_collector(database_url=database_url, settings={**NO_ROUND, **APART})
    neighbour, person = (Somebody(collector) for _ in range(2))
    for one in (neighbour, person):
        one.act()
        assert kept(one.lasting) == pieces(one.lasting)
    person.delete()
    assert kept(person.words) == set()
    assert kept(neighbour.lasting) == pieces(neighbour.lasting)


@pytest.mark.parametrize("prune", [by_prune, by_itself], ids=["by prune", "by itself"])
def test_once_it_was_pruned_nothing_is_left_of_anybody_deleted(
    start_collector: Callable[..., Collector],
    database_url: str,
    kept: Callable[[Iterable[str]], set[bytes]],
    prune: Callable[[Collector, Callable[[], bool]], None],
) -> None:
    """Among others. What rows leave where they move from page to page takes thousands of others (tests/domain/test_deletion_traces)."""
    collector = start_collector(database_url=database_url, settings={**NO_ROUND, **APART})
    person, *neighbours = crowd = [Somebody(collector) for _ in range(6)]
    for _ in range(12):
        for one in crowd:
            one.act()
    lasting = [word for one in neighbours for word in one.lasting]
    assert kept(person.lasting) == pieces(person.lasting)
    person.delete()
    prune(collector, lambda: kept(person.words) == set())
    assert kept(lasting) == pieces(lasting)
    assert collector.stop() == 0
    assert kept(person.words) == set()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_what_the_planner_has_sampled_goes_when_its_tables_are_analyzed(
    start_collector: Callable[..., Collector], database_url: str
) -> None:
    """As the operators' guide says."""
    collector = start_collector(database_url=database_url, settings=NO_ROUND)
    neighbour, person = (Somebody(collector) for _ in range(2))
    for one in (neighbour, person):
        one.act()
    assert sampled(database_url) & pieces(person.words)
    person.delete()
    found = sampled(database_url)
    assert found & pieces(neighbour.lasting)
    assert found & pieces(person.words) == set()


def sampled(url: str) -> set[bytes]:
    """Analyze all tables and return which pieces the statistics hold."""
    with psycopg.connect(url) as server:
        server.execute("ANALYZE")
        rows = server.execute("SELECT concat(most_common_vals, histogram_bounds, most_common_elems) FROM pg_stats").fetchall()
    return pieces_in(text.encode() for (text,) in rows)
