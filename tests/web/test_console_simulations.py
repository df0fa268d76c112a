"""A message simulated in the console: begun, watched, cancelled, and its result read with what it takes for granted."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from collector import processes
from collector.domain.auto_messages import AutoMessage
from collector.values.clock import DAY
from tests.support.clock import FakeClock
from tests.support.world import lead
from tests.web.test_console_support import Console, Parsed, console


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds the processes of simulations that begin."""
    start = processes.start

    def begin(module: str) -> Any:
        process = start(module)
        os.kill(process.pid, signal.SIGSTOP)
        return process

    monkeypatch.setattr(processes, "start", begin)


def path(message: AutoMessage) -> str:
    return f"/messages/{message.public_id}/simulation"


def begin(on: Console, message: AutoMessage, days: str = "7") -> str:
    """Begin one and return where it is shown."""
    answer = on.post(path(message), {"days": days})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].removeprefix("/console")


def words(page: str) -> str:
    return " ".join(" ".join(Parsed(page).words).split())


def test_a_simulation_is_read_day_by_day_with_what_it_takes_for_granted(on: Console) -> None:
    page = '{"url":"https://shop.example/"}'
    for name in ("a", "b"):
        on.world.send(lead(name), on.world.event(at=on.clock() - DAY, page=page))
    message = on.message(state="draft", name="<b>Hello</b>")
    assert path(message) in on.page(f"/messages/{message.public_id}")
    assert path(message) in on.page(f"/messages/{message.public_id}/live")
    assert "90 days" in words(on.page(path(message)))
    where = begin(on, message)
    for thread in threading.enumerate():
        if thread.name == "simulation":
            thread.join()
    read = on.page(where)
    assert "2 people would have got it, 2 times in all" in words(read)
    assert "Nobody had got any message before the first day." in words(read)
    assert "2026-09-20 2 2 0" in words(read)
    assert "<b>Hello</b>" not in read
    assert "data-again" not in read
    listed = on.page(path(message))
    assert where in listed
    assert "Done 2 2" in words(listed)


@pytest.mark.usefixtures("held")
def test_one_under_way_shows_its_progress_and_is_cancelled(on: Console) -> None:
    message = on.message()
    where = begin(on, message)
    read = on.page(where)
    assert "0 % done." in words(read)
    assert "data-again" in read
    answer = on.post(path(message), {"days": "7"})
    assert answer.status_code == 409
    assert "under way" in words(answer.text)
    assert on.post(f"{where}/cancel").status_code == 303
    assert "It was cancelled." in words(on.page(where))
    assert on.post(f"{where}/cancel").status_code == 303


def test_what_cannot_be_rewound_is_said_at_its_place(on: Console) -> None:
    message = on.message(audience={"field": "updated_at", "operator": "less_than_days_ago", "value": 3})
    answer = on.post(path(message), {"days": "7"})
    assert answer.status_code == 422
    assert "At audience.field :" in words(answer.text)


@pytest.mark.parametrize("days", ["0", "91", "x", ""])
def test_days_are_whole(on: Console, days: str) -> None:
    assert on.post(path(on.message()), {"days": days}).status_code == 400


def test_there_is_no_other_sites_simulation(on: Console) -> None:
    message = on.message(on.world.new_site("Other"))
    assert on.get(path(message)).status_code == 404
    assert on.post(path(message), {"days": "7"}).status_code == 404
    assert on.get(f"{path(on.message())}/abc").status_code == 404
