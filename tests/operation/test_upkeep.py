"""A serving process prunes by itself; `prune` does it at once, also beside it."""

import json
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector import upkeep
from collector.domain import pruning
from collector.services import build
from collector.settings import Settings, load_settings
from collector.storage.database import Database
from collector.storage.slices import WEEK
from collector.upkeep import Upkeep, seconds_until
from collector.values.clock import DAY, HOUR, MINUTE, system_clock
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.processes import run_command
from tests.support.servers import Collector
from tests.support.world import lead, user, world

RETENTION = 90 * DAY


@pytest.fixture
def aged(database_url: str) -> dict[str, Any]:
    """A database that a collector wrote long ago: a user seen a year ago, and a lead that nobody saw since then."""
    key = "a key that is long enough for tests"
    with world(database_url, FakeClock(system_clock() - 400 * DAY), secret_key=(key,)) as old:
        old.send(user(), *(old.event("old") for _ in range(5)))
        old.send(lead("silent"), old.event("old"))
        site = old.site.id
    return {"url": database_url, "environ": {"DATABASE_URL": database_url, "SECRET_KEY": key}, "site": site}


def states(url: str) -> dict[str, Any]:
    database = Database(url)
    try:
        with database.read() as connection:
            return {
                "closed": connection.value("SELECT count(*) FROM slices WHERE state = 'closed'"),
                "pruned": connection.value("SELECT count(*) FROM slices WHERE state = 'pruned'"),
                "events": connection.value("SELECT count(*) FROM events"),
                "counts": connection.rows("SELECT count, own_count, base_count FROM totals"),
                "identities": [row[0] for row in connection.rows("SELECT value FROM identities")],
            }
    finally:
        database.close()


def test_prune_takes_old_weeks_and_silent_leads_away_and_keeps_the_totals(aged: dict[str, Any], tmp_path: Path) -> None:
    done = run_command(["collector", "prune", "--force"], tmp_path, aged["environ"])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["leads"] == 1
    assert report["moved"] == 5
    found = states(aged["url"])
    assert (found["closed"], found["events"]) == (0, 0)
    assert found["pruned"] == report["dropped"] > 0
    assert found["counts"] == [(5, 5, 5)]
    assert found["identities"] == ["u-1"]


def test_prune_does_not_believe_a_clock_that_all_that_is_stored_speaks_against(aged: dict[str, Any], tmp_path: Path) -> None:
    before = states(aged["url"])
    done = run_command(["collector", "prune"], tmp_path, aged["environ"])
    assert done.returncode == 1
    assert "the newest event is 400 days old" in done.stderr
    assert "prune --force" in done.stderr
    report = json.loads(done.stdout)
    assert {report[what] for what in ("leads", "closed", "dropped", "moved")} == {0}
    assert states(aged["url"]) == before
    told = run_command(["collector", "doctor"], tmp_path, aged["environ"])
    assert told.returncode == 1
    assert "upkeep: expected clock done each night" in told.stdout


@pytest.mark.parametrize("words", [("prune",), ("prune", "--force")], ids=" ".join)
def test_a_shell_with_shorter_settings_takes_nothing_away(aged: dict[str, Any], tmp_path: Path, words: tuple[str, ...]) -> None:
    """However long ago a collector told its own: it may have been stopped for days when the operator prunes."""
    collectors = Settings(
        database_url=aged["url"], secret_key=(aged["environ"]["SECRET_KEY"],), retention_days=500, lead_retention_days=600
    )
    services = build(collectors, FakeClock(system_clock() - 30 * DAY))
    upkeep.tell_settings(services, services.written.transact)
    services.close()
    before = states(aged["url"])
    done = run_command(["collector", *words], tmp_path, aged["environ"])
    assert done.returncode == 1
    assert "LEADLIGHT_RETENTION_DAYS is 90 here and 500 for a collector" in done.stderr
    assert "LEADLIGHT_LEAD_RETENTION_DAYS is 395 here and 600 for a collector" in done.stderr
    assert "--shorten" in done.stderr
    assert states(aged["url"]) == before
    as_they = {**aged["environ"], "LEADLIGHT_RETENTION_DAYS": "500", "LEADLIGHT_LEAD_RETENTION_DAYS": "600"}
    assert run_command(["collector", "prune", "--force"], tmp_path, as_they).returncode == 0
    assert states(aged["url"])["events"] == before["events"]
    done = run_command(["collector", "prune", "--force", "--shorten"], tmp_path, aged["environ"])
    assert done.returncode == 0, done.stderr
    assert states(aged["url"])["events"] == 0


def test_again_there_is_nothing_to_do(aged: dict[str, Any], tmp_path: Path) -> None:
    run_command(["collector", "prune", "--force"], tmp_path, aged["environ"])
    again = json.loads(run_command(["collector", "prune", "--force"], tmp_path, aged["environ"]).stdout)
    assert again.pop("left") == []
    assert set(again.values()) == {0}


def test_a_serving_process_prunes_by_itself(start_collector: Callable[..., Collector], aged: dict[str, Any]) -> None:
    settings = {"SECRET_KEY": aged["environ"]["SECRET_KEY"]}
    collector = start_collector(database_url=aged["url"], settings=settings)
    assert collector.client.post_json("/collect", envelope(collector.site_key, f"{'a' * 22}.{'a' * 22}", new_event("new"))).status == 202
    collector.stop()
    collector.environ["LEADLIGHT_UPKEEP_DELAY_SECONDS"] = "0"
    collector.start()
    deadline = time.monotonic() + 60
    while states(aged["url"])["events"] > 1 and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    found = states(aged["url"])
    assert (found["events"], sorted(found["counts"]), set(found["identities"])) == (1, [(1, 1, 0), (5, 5, 5)], {"u-1", "a" * 22})


def test_each_night_a_serving_process_does_a_round(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock begins with a week. Eight days later the first week is due, as it ends a day after what the timeline then began with."""
    clock = FakeClock((system_clock() - 1_000 * DAY) // WEEK * WEEK)
    done, seconds = threading.Semaphore(0), queue.Queue[float]()

    def wait_for_the_night(now_ms: int, hour: int) -> float:
        done.release()
        return seconds.get()

    monkeypatch.setattr(upkeep, "seconds_until", wait_for_the_night)
    monkeypatch.setattr(upkeep, "_SPREAD_SECONDS", 0)
    pruned = []
    with world(database_url, clock, upkeep_delay_seconds=0) as shop:
        shop.send(user(), shop.event("old"))
        clock.advance(7 * DAY)
        serving = Upkeep(shop.services)
        try:
            for _ in range(9):
                assert done.acquire(timeout=60), "there was no round"
                assert shop.rows("SELECT at FROM upkeep WHERE part = 'round'") == [(clock(),)]
                pruned.append(shop.rows("SELECT count(*) FROM slices WHERE state = 'pruned'")[0][0])
                clock.advance(DAY)
                shop.send(user(), shop.event("new"))
                seconds.put(0.001)
        finally:
            seconds.put(3_600)
            serving.stop()
    assert pruned == [0, *[1] * 7, 2]


def test_two_prunes_at_once_do_not_meet(aged: dict[str, Any], tmp_path: Path) -> None:
    results: list[Any] = []
    run = threading.Thread(target=lambda: results.append(run_command(["collector", "prune", "--force"], tmp_path, aged["environ"])))
    run.start()
    results.append(run_command(["collector", "prune", "--force"], tmp_path, aged["environ"]))
    run.join()
    left = [json.loads(done.stdout)["left"] for done in results]
    assert [done.returncode for done in results] == [int(bool(parts)) for parts in left], [done.stderr for done in results]
    assert left.count([]) >= 1
    assert states(aged["url"])["counts"] == [(5, 5, 5)]


@pytest.mark.parametrize("engine", ["postgresql"])
def test_prune_says_that_another_process_is_at_the_weeks(aged: dict[str, Any], tmp_path: Path) -> None:
    database = Database(aged["url"])
    with database.alone(pruning._LOCK) as alone:
        assert alone
        done = run_command(["collector", "prune", "--force"], tmp_path, aged["environ"])
    database.close()
    report = json.loads(done.stdout)
    assert (done.returncode, report["left"], report["failed"], report["dropped"]) == (1, ["weeks"], 0, 0)


def test_the_night_begins_at_the_hour_of_the_setting() -> None:
    midnight = 20_000 * DAY
    assert seconds_until(midnight + 2 * HOUR + 59 * MINUTE, 3) == 60
    assert seconds_until(midnight + 3 * HOUR, 3) == 24 * 3_600
    assert seconds_until(midnight + 4 * HOUR, 3) == 23 * 3_600
    assert load_settings({}).upkeep_hour == 3
