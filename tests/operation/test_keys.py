"""SECRET_KEY over several collectors: what one says that lacks a key, and how a key is changed while all of them serve."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.envelopes import envelope, new_event
from tests.support.load import Load, reading, stored
from tests.support.processes import run_command
from tests.support.servers import ORIGIN, Collector

OLD, NEW = "the old key that is long enough", "the new key that is long enough"
StartCollector = Callable[..., Collector]


def new_lead() -> str:
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


def collect(collector: Collector, site_key: str, *items: dict[str, Any], lead: str | None = None, **fields: Any) -> Any:
    return collector.client.post_json("/collect", envelope(site_key, lead or new_lead(), *(items or (new_event(),)), **fields))


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
        assert done.returncode == (2 if words == "doctor" else 1)
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
        loads = [Load(collector, browsers=1) for collector in fleet]
        for keys in (f"{NEW},{OLD}", f"{OLD},{NEW}", NEW):
            if keys == NEW:
                for _ in range(2):  # it may be done again, as after an interruption
                    done = run_command(["collector", "rekey"], fleet[0].folder, fleet[0].environ)
                    assert done.returncode == 0, done.stderr
            for collector, other, load in zip(fleet, fleet[::-1], loads, strict=True):
                serve_again(collector, keys)
                for one in fleet:
                    assert one.client.get("/readyz").status == 200
                assert collect(other, add_site(collector, keys)["site_key"]).status == 202
                deleted_here_is_deleted_there(collector, other)
                deleted_here_is_deleted_there(other, collector)
                load.wait_for_acknowledged(20)
        for load in loads:
            load.finish()
            assert load.wrong == [], load.summary()
            assert load.acknowledged == load.sent.keys()
        for collector in fleet:
            assert "cannot be served" not in collector.program.errors
        done = run_command(["collector", "doctor"], fleet[0].folder, fleet[0].environ)
        assert done.returncode == 0, done.stdout + done.stderr
        with reading(fleet[0].database_url) as connection:
            found = stored(connection)
        assert [found[event] for load in loads for event in load.acknowledged if found[event] != 1] == []


def deleted_here_is_deleted_there(here: Collector, there: Collector) -> None:
    """Make sure that one collector knows by its keys whom another one has deleted."""
    # Tracked a minute ago: what takes a while to arrive is taken for younger by as much, as a wrong clock would make it.
    user, lead, late = secrets.token_hex(8), new_lead(), new_event(ago=60_000)
    assert collect(here, here.site_key, lead=lead, user={"id": user}).status == 202
    query = {"query": {"field": "external_id", "operator": "=", "value": user}}
    (contact,) = here.client.api("POST", "/contacts/search", query).json["data"]
    assert here.client.api("DELETE", f"/contacts/{contact['id']}").status == 200
    answer = collect(there, there.site_key, late, lead=lead, user={"id": user})
    assert [refused["code"] for refused in answer.json["refused"]] == ["person_deleted"], answer.text
