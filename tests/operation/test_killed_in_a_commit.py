"""Whoever is killed in the midst of a commit has acknowledged nothing of it; asked for again, it is done once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Answer
from tests.support.envelopes import envelope, new_event, new_lead
from tests.support.held import PATIENCE_SECONDS, HeldCollector, held_on_postgresql, held_on_sqlite
from tests.support.load import reading
from tests.support.processes import run_command
from tests.support.servers import Collector

LOOKS = 10
BEFORE = 4
"""Events by which whoever writes, each of several, knows the name and the week: then the next one's commit is the only one."""


@pytest.fixture
def held(start_collector: Callable[..., Collector], database_url: str, tmp_path: Path) -> Iterator[HeldCollector]:
    """A collector whose commits can be held."""
    on_sqlite = database_url.startswith("sqlite")
    with (
        held_on_sqlite(start_collector, database_url, tmp_path) if on_sqlite else held_on_postgresql(start_collector, database_url) as made
    ):
        yield made


def kill_in_the_commit(held: HeldCollector, ask: Callable[[], Answer]) -> None:
    """Ask, kill the collector when that is about to be committed, and start it again; nobody was told that it is done."""
    wait = held.hold()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            wait()
        except AssertionError as error:
            raise AssertionError(f"{error}; the answer was {asked.result(PATIENCE_SECONDS)}") from None
        for _ in range(LOOKS):  # an answer that did not wait for the commit would have come before these, which ask the database too
            assert held.collector.client.api("GET", "/contacts").status == 200
        early = asked.result().text if asked.done() else None
        held.collector.kill()
        assert early is None, f"acknowledged before the commit: {early}"
        assert isinstance(asked.exception(), OSError), "nobody can answer who is dead"
    held.start()


def test_events_of_a_browser(held: HeldCollector) -> None:
    event, sender = new_event("saved"), new_lead()

    def track(item: dict[str, Any]) -> Answer:
        return held.collector.client.post_json("/collect", envelope(held.collector.site_key, sender, item))

    for _ in range(BEFORE):
        assert track(new_event("saved")).status == 202
    kill_in_the_commit(held, lambda: track(event))
    assert [track(event).json["duplicates"] for _ in range(2)] == [0, 1]
    check(held.collector, {"saved": BEFORE + 1})


def test_a_merge(held: HeldCollector) -> None:
    sender, client = new_lead(), held.collector.client
    assert client.post_json("/collect", envelope(held.collector.site_key, sender, new_event("saved"))).status == 202
    user = client.api("POST", "/contacts", {"role": "user", "external_id": "ada"}).json
    contacts = {one["role"]: one for one in client.api("GET", "/contacts").json["data"]}
    assert contacts.keys() == {"lead", "user"}, "acknowledged before the commit"
    lead = contacts["lead"]

    def merge() -> Answer:
        return client.api("POST", "/contacts/merge", {"from": lead["id"], "into": user["id"]})

    kill_in_the_commit(held, merge)
    assert client.api("GET", "/merges").json["data"] == []
    assert [merge().status for _ in range(2)] == [200, 200]
    assert len(client.api("GET", "/merges").json["data"]) == 1
    check(held.collector, {"saved": 1})


def check(collector: Collector, counts: dict[str, int]) -> None:
    """Make sure that these events are counted, and that the doctor finds nothing."""
    with reading(collector.database_url) as connection:
        sql = "SELECT n.text, sum(t.own_count) FROM totals t JOIN names n ON n.site = t.site AND n.id = t.name GROUP BY n.text"
        assert {name: int(count) for name, count in connection.rows(sql)} == counts
    done = run_command(["collector", "doctor"], collector.folder, collector.environ)
    assert done.returncode == 0, done.stdout + done.stderr
