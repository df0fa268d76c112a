"""SECRET_KEY over several collectors: what one says that lacks a key, and how a key is changed while all of them serve."""

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.envelopes import envelope, new_event
from tests.support.load import Load, check_acknowledged
from tests.support.processes import run_command
from tests.support.servers import ORIGIN, Collector

OLD, NEW = "the old key that is long enough", "the new key that is long enough"
StartCollector = Callable[..., Collector]


def new_lead() -> str:
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


def collect(collector: Collector, site_key: str, *items: dict[str, Any], lead: str | None = None) -> Any:
    return collector.client.post_json("/collect", envelope(site_key, lead or new_lead(), *(items or (new_event(),))))


def serve_again(collector: Collector, keys: str) -> None:
    collector.stop()
    collector.environ["SECRET_KEY"] = keys
    collector.start()


def add_site(collector: Collector, keys: str) -> dict[str, str]:
    """Make a site as another collector with these keys would."""
    environ, collector.environ = collector.environ, {**collector.environ, "SECRET_KEY": keys}
    try:
        return collector.init("Another", [ORIGIN])
    finally:
        collector.environ = environ


class TestAKeyIsMissing:
    @pytest.fixture
    def behind(self, start_collector: StartCollector) -> tuple[Collector, dict[str, str]]:
        """A collector, and a site that was made with a key that it does not have."""
        collector = start_collector(settings={"SECRET_KEY": OLD})
        return collector, add_site(collector, f"{OLD},{NEW}")

    def test_that_site_is_told_to_come_again_and_why(self, behind: tuple[Collector, dict[str, str]]) -> None:
        collector, site = behind
        answers = [
            collect(collector, site["site_key"]),
            collector.client.request("GET", "/api/contacts", headers={"Authorization": f"Bearer {site['access_token']}"}),
        ]
        for answer in answers:
            assert (answer.status, answer.json["errors"][0]["code"]) == (503, "key_missing")
            assert answer.headers["Retry-After"] == "5"
        assert f"site {site['site_key']} cannot be served: SECRET_KEY does not fit" in collector.program.errors
        assert "Traceback" not in collector.program.errors

    def test_other_sites_are_served(self, behind: tuple[Collector, dict[str, str]]) -> None:
        assert collect(behind[0], behind[0].site_key).status == 202

    def test_load_balancers_are_told_and_it_comes_back_with_the_key(self, behind: tuple[Collector, dict[str, str]]) -> None:
        collector, site = behind
        answer = collector.client.get("/readyz")
        assert (answer.status, answer.json["checks"]["secret_key"]) == (503, False)
        serve_again(collector, f"{OLD},{NEW}")
        assert collector.client.get("/readyz").status == 200
        assert collect(collector, site["site_key"]).status == 202

    @pytest.mark.parametrize("words", ["serve --port 0", "doctor", "rekey", "prune"])
    def test_it_does_not_start_and_says_so_in_one_line(self, behind: tuple[Collector, dict[str, str]], words: str) -> None:
        done = run_command(["collector", *words.split()], behind[0].folder, behind[0].environ)
        assert done.returncode == 1
        assert "a key that they were stored with is not in its ring" in done.stderr
        assert "Traceback" not in done.stderr


class TestAKeyIsChanged:
    """In the order that OPERATING.md gives, one collector after the other, while both have visitors."""

    @pytest.fixture
    def fleet(self, start_collector: StartCollector) -> list[Collector]:
        first = start_collector(settings={"SECRET_KEY": OLD})
        second = start_collector(database_url=first.database_url, folder=first.folder, settings={"SECRET_KEY": OLD})
        second.site = first.site
        return [first, second]

    def test_nobody_is_refused_or_lost_and_who_was_deleted_stays_deleted(self, fleet: list[Collector]) -> None:
        loads = [Load(collector, browsers=4) for collector in fleet]
        for keys in (f"{NEW},{OLD}", f"{OLD},{NEW}"):
            for place, collector in enumerate(fleet):
                serve_again(collector, keys)
                check_both_ways(collector, fleet[1 - place])
                loads[place].wait_for_acknowledged(50)
        for _ in range(2):  # interrupted or not, it may be done again
            done = run_command(["collector", "rekey"], fleet[0].folder, fleet[0].environ)
            assert done.returncode == 0, done.stderr
        for place, collector in enumerate(fleet):
            serve_again(collector, NEW)
            check_both_ways(collector, fleet[1 - place])
            loads[place].wait_for_acknowledged(50)
        for collector, load in zip(fleet, loads, strict=True):
            load.finish()
            assert load.wrong == [], load.summary()
            assert load.acknowledged == load.sent
            check_acknowledged(collector, load)
            assert "KeyMissing" not in collector.program.errors
            assert "cannot be served" not in collector.program.errors


def check_both_ways(one: Collector, other: Collector) -> None:
    """Make sure that each of two collectors serves what the other makes, and refuses what is older than a deletion by the other."""
    for here, there in ((one, other), (other, one)):
        assert here.client.get("/readyz").status == 200
        made = here.init("Another", [ORIGIN])
        assert collect(there, made["site_key"]).status == 202
        lead, before = new_lead(), new_event(at=time.time_ns() // 1_000_000 - 1_000)
        assert collect(here, made["site_key"], lead=lead).status == 202
        delete(here, made)
        answer = collect(there, made["site_key"], before, lead=lead)
        assert [refused["code"] for refused in answer.json["refused"]] == ["person_deleted"], answer.text


def delete(collector: Collector, site: Mapping[str, str]) -> None:
    """Delete everybody of a site."""
    access = {"Authorization": f"Bearer {site['access_token']}"}
    for contact in collector.client.request("GET", "/api/contacts", headers=access).json["data"]:
        assert collector.client.request("DELETE", f"/api/contacts/{contact['id']}", headers=access).status == 200
