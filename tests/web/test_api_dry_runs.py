"""Simulations by REST: begun, watched, cancelled, refused; they write nothing that serving reads."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import processes
from collector.domain import past, simulation_runs
from collector.upkeep import Report, round_of
from collector.values.clock import DAY, HOUR, MINUTE
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.web.test_api_support import Rest, problem, serving

SMALLEST = {"name": "Hello", "type": "popup", "content": {"body": "Hello"}}
PAGE = '{"url":"https://shop.example/pricing"}'


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


def made(rest: Rest, **fields: Any) -> str:
    answer = rest.post("/auto_messages", {**SMALLEST, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def begun(rest: Rest, message: str, **fields: Any) -> str:
    answer = rest.post(f"/auto_messages/{message}/dry_run", fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def run(rest: Rest, message: str, run_id: str) -> dict[str, Any]:
    answer = rest.get(f"/auto_messages/{message}/dry_run/{run_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def ended(rest: Rest, message: str, run_id: str) -> dict[str, Any]:
    """Return a run when it has ended."""
    for thread in threading.enumerate():
        if thread.name == "simulation":
            thread.join()
    return run(rest, message, run_id)


def look(world: World, name: str, at: int) -> None:
    world.send(lead(name), world.event(at=at, page=PAGE))


@pytest.fixture
def held() -> Iterator[Callable[[], None]]:
    """Holds the processes of simulations that begin (SIGSTOP) until it is called."""
    stopped: list[int] = []
    start = processes.start

    def begin(module: str) -> Any:
        process = start(module)
        os.kill(process.pid, signal.SIGSTOP)
        stopped.append(process.pid)
        return process

    def let_go() -> None:
        while stopped:
            os.kill(stopped.pop(), signal.SIGCONT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start", begin)
        yield let_go


def test_who_would_have_got_it_and_when(rest: Rest) -> None:
    world, now = rest.world, rest.clock()
    look(world, "a", now - 3 * DAY)
    look(world, "a", now - 3 * DAY + HOUR)
    look(world, "a", now - DAY)
    look(world, "b", now - DAY)
    look(world, "c", now - 20 * DAY)
    message = made(rest, audience={"event": "page-view", "field": "count", "operator": ">", "value": 0})
    answer = rest.post(f"/auto_messages/{message}/dry_run", {"days": 10})
    assert (answer.status_code, answer.json["state"], answer.json["progress"]) == (202, "running", 0)
    found = ended(rest, message, answer.json["id"])
    assert (found["state"], found["progress"], found["people"], found["times"], found["held_out"]) == ("done", 100, 2, 4, 0)
    days = {day["day"]: (day["people"], day["times"]) for day in found["per_day"]}
    assert len(days) == 11
    assert {day: numbers for day, numbers in days.items() if numbers != (0, 0)} == {"2026-09-18": (1, 2), "2026-09-20": (2, 2)}
    assert found["assumptions"][0] == "What people did reached the collector when it happened, one thing after the other."
    assert all(sentence.endswith(".") for sentence in found["assumptions"])
    assert rest.get(f"/auto_messages/{message}/dry_run").json["data"] == [found]


def test_ninety_days_unless_it_is_said(rest: Rest) -> None:
    message = made(rest)
    found = ended(rest, message, begun(rest, message))
    assert (found["days"], len(found["per_day"]), found["state"]) == (90, 91, "done")


def test_the_timeline_bounds_the_days(database_url: str, clock: FakeClock) -> None:
    with serving(database_url, clock, retention_days=30) as rest:
        message = made(rest)
        assert problem(rest.post(f"/auto_messages/{message}/dry_run", {"days": 31})) == (400, "field_invalid", "days")
        assert ended(rest, message, begun(rest, message))["days"] == 30


@pytest.mark.parametrize("days", [0, 91, -1, 1.5, "7", True])
def test_days_are_whole_and_within_the_timeline(rest: Rest, days: Any) -> None:
    assert problem(rest.post(f"/auto_messages/{made(rest)}/dry_run", {"days": days})) == (400, "field_invalid", "days")


def test_live_messages_of_today_take_turns(rest: Rest) -> None:
    look(rest.world, "a", rest.clock() - DAY)
    message = made(rest)
    made(rest, name="First", state="live", priority=1)
    found = ended(rest, message, begun(rest, message))
    assert (found["people"], found["times"]) == (0, 0)


RULE = {"event": "page-view", "field": "count", "operator": ">", "value": 0}
SEEN = {"message": "m", "field": "seen", "operator": "is_unknown"}
MOVES = {"field": "custom_attributes.last_order_at", "operator": "more_than_days_ago", "value": 3}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"trigger": {"type": "manual"}}, "trigger.type"),
        ({"audience": SEEN}, "audience.message"),
        ({"audience": {"operator": "AND", "value": [RULE, {**SEEN, "field": "clicked"}]}}, "audience.value[1].message"),
        ({"audience": {"event": "a", "field": "last", "operator": ">", "value": {"message": "m", "field": "seen"}}}, "audience.value"),
        ({"audience": {"operator": "NOT", "value": [{"operator": "OR", "value": [RULE, MOVES]}]}}, "audience.value[0].value[1].field"),
        ({"audience": {"field": "updated_at", "operator": "less_than_days_ago", "value": 3}}, "audience.field"),
    ],
)  # fmt: skip
def test_what_cannot_be_rewound_is_refused_at_its_place(rest: Rest, fields: dict[str, Any], place: str) -> None:
    other = made(rest)
    message = made(rest, **json.loads(json.dumps(fields).replace('"m"', json.dumps(other))))
    assert problem(rest.post(f"/auto_messages/{message}/dry_run", {})) == (422, "not_rewindable", place)
    assert rest.get(f"/auto_messages/{message}/dry_run").json["data"] == []


def test_a_segment_that_cannot_be_rewound_is_refused_where_it_is_asked_for(rest: Rest) -> None:
    segment = rest.post("/segments", {"name": "Buyers", "query": {"operator": "AND", "value": [RULE, MOVES]}}).json["id"]
    asked = {"operator": "OR", "value": [RULE, {"field": "segment_id", "operator": "=", "value": segment}]}
    message = made(rest, audience=asked)
    assert problem(rest.post(f"/auto_messages/{message}/dry_run", {})) == (422, "not_rewindable", "audience.value[1]")


def test_live_messages_that_cannot_be_rewound_are_named(rest: Rest) -> None:
    look(rest.world, "a", rest.clock() - DAY)
    made(rest, name="By hand", state="live", trigger={"type": "manual"}, priority=3)
    made(rest, name="Buyers", state="live", audience=MOVES, priority=3)
    message = made(rest)
    found = ended(rest, message, begun(rest, message))
    assert found["people"] == 1
    assert any("By hand, Buyers" in sentence or "Buyers, By hand" in sentence for sentence in found["assumptions"])


def test_one_at_a_time_for_each_site(rest: Rest, held: Callable[[], None]) -> None:
    message, other, third = made(rest), rest.other_site(), rest.other_site()
    first = begun(rest, message)
    assert problem(rest.post(f"/auto_messages/{message}/dry_run", {})) == (409, "simulation_running", None)
    begun(other, made(other))
    answer = third.post(f"/auto_messages/{made(third)}/dry_run", {})
    assert problem(answer) == (503, "overloaded", None)
    assert answer.headers["Retry-After"]
    held()
    assert ended(rest, message, first)["state"] == "done"
    again = begun(rest, message)
    held()
    assert ended(rest, message, again)["state"] == "done"


def test_a_cancelled_one_ends_at_once(rest: Rest, held: Callable[[], None]) -> None:
    message = made(rest)
    number = begun(rest, message)
    (process,) = rest.world.services.simulations.processes()
    answer = rest.send("DELETE", f"/auto_messages/{message}/dry_run/{number}")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert ended(rest, message, number)["state"] == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    begun(rest, message)


def test_what_has_ended_is_not_cancelled(rest: Rest) -> None:
    message = made(rest)
    number = begun(rest, message)
    done = ended(rest, message, number)
    assert rest.send("DELETE", f"/auto_messages/{message}/dry_run/{number}").json == done


def test_a_killed_process_is_a_failed_run(rest: Rest, held: Callable[[], None]) -> None:
    message = made(rest)
    number = begun(rest, message)
    (process,) = rest.world.services.simulations.processes()
    os.kill(process, signal.SIGKILL)
    found = ended(rest, message, number)
    assert (found["state"], found["reason"], found["people"]) == ("failed", simulation_runs.KILLED, None)


def test_a_process_that_ends_before_it_has_its_task_is_a_failed_run(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    message = made(rest)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        number = begun(rest, message)
    found = ended(rest, message, number)
    assert (found["state"], found["reason"]) == ("failed", simulation_runs.KILLED)


def test_files_beside_a_collector_are_none_of_its_modules(rest: Rest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("msgspec", "secrets", "collector"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    message = made(rest)
    assert ended(rest, message, begun(rest, message))["state"] == "done"


def test_one_whose_collector_is_gone_has_failed(rest: Rest) -> None:
    services, message = rest.world.services, made(rest)
    (number,) = [row[0] for row in rest.world.rows("SELECT id FROM auto_messages")]
    left: Any = services.writer.run(0, lambda tx: simulation_runs.begin(tx, rest.world.site.id, number, 1, 90, rest.clock()))
    assert run(rest, message, left.id)["state"] == "running"
    rest.clock.advance(simulation_runs.SILENCE + 1)
    found = run(rest, message, left.id)
    assert (found["state"], found["reason"]) == ("failed", simulation_runs.SILENT)
    assert ended(rest, message, begun(rest, message))["state"] == "done"
    assert run(rest, message, left.id)["state"] == "failed"


@pytest.mark.usefixtures("held")
def test_a_collector_that_stops_says_so(database_url: str, clock: FakeClock) -> None:
    with serving(database_url, clock) as rest:
        begun(rest, made(rest))
    with serving(database_url, clock) as rest:
        assert rest.world.rows("SELECT state, reason FROM simulations") == [("failed", simulation_runs.STOPPED)]


def test_progress_is_told(rest: Rest, held: Callable[[], None]) -> None:
    message = made(rest)
    number = begun(rest, message)
    site = rest.world.site.id
    rest.clock.advance(MINUTE // 2)
    assert rest.world.services.writer.run(0, lambda tx: simulation_runs.beat(tx, site, number, 42, rest.clock()))
    assert (run(rest, message, number)["state"], run(rest, message, number)["progress"]) == ("running", 42)
    rest.clock.advance(MINUTE // 2)
    assert run(rest, message, number)["state"] == "running"
    held()
    assert ended(rest, message, number)["progress"] == 100


TABLES = ("deliveries", "decisions", "events", "totals", "attributes", "visits", "identities", "auto_messages", "names", "delivery_links")


def test_nothing_is_written_but_the_run(rest: Rest) -> None:
    look(rest.world, "a", rest.clock() - DAY)
    rest.world.send(user(), rest.world.event(at=rest.clock() - HOUR, page=PAGE), lead=lead("a"))
    message = made(rest)
    made(rest, name="Live", state="live")
    before = {table: sorted(map(repr, rest.world.rows(f"SELECT * FROM {table}"))) for table in TABLES}
    assert ended(rest, message, begun(rest, message))["times"] >= 0
    assert {table: sorted(map(repr, rest.world.rows(f"SELECT * FROM {table}"))) for table in TABLES} == before
    assert rest.get(f"/auto_messages/{message}/stats").json["sent"] == 0


def test_other_sites_are_not_looked_at(rest: Rest) -> None:
    look(rest.world, "a", rest.clock() - DAY)
    other = rest.other_site()
    message = made(other)
    number = begun(other, message)
    found = ended(other, message, number)
    assert (found["looked_at"], found["people"]) == (0, 0)
    assert problem(rest.get(f"/auto_messages/{message}/dry_run/{number}")) == (404, "not_found", None)
    assert problem(rest.send("DELETE", f"/auto_messages/{message}/dry_run/{number}")) == (404, "not_found", None)
    own = made(rest)
    assert problem(rest.get(f"/auto_messages/{own}/dry_run/{number}")) == (404, "not_found", None)


def test_runs_go_after_some_days(rest: Rest) -> None:
    message, services = made(rest), rest.world.services
    number = begun(rest, message)
    ended(rest, message, number)
    for _ in round_of(services, services.written.transact, Report(), trusted=True):
        pass
    assert run(rest, message, number)["state"] == "done"
    rest.clock.advance(simulation_runs.KEPT + 1)
    for _ in round_of(services, services.written.transact, Report(), trusted=True):
        pass
    assert rest.get(f"/auto_messages/{message}/dry_run/{number}").status_code == 404


def test_runs_go_with_their_message(rest: Rest) -> None:
    message = made(rest)
    ended(rest, message, begun(rest, message))
    assert rest.send("DELETE", f"/auto_messages/{message}").status_code == 200
    assert rest.world.rows("SELECT id FROM simulations") == []


def test_only_so_many_events_are_in_memory(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """People are read a few at a time, and in parts where they did much; whoever did too much is left out, and counted."""
    monkeypatch.setattr(past, "PEOPLE", 4)
    monkeypatch.setattr(past, "EVENTS", 6)
    monkeypatch.setattr(past, "MOST", 8)
    world, now = rest.world, rest.clock()
    for number in range(11):
        world.send(lead(f"p-{number}"), *(world.event(at=now - DAY + one, page=PAGE) for one in range(number)))
    wanted = past.Wanted([])
    everybody = past.everybody(world.services.database, world.services.names, world.site.id, wanted, now - 90 * DAY, now - 90 * DAY)
    parts = [part for part in everybody if not isinstance(part, int)]
    assert sorted(len(person.events) for part in parts for person in part) == list(range(1, 9))
    assert max(sum(len(person.events) for person in part) for part in parts) <= 8
    assert max(len(part) for part in parts) <= 4
