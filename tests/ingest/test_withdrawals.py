"""What a page has on show and has to take down: it hears of it with the answer to whatever it sends next."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from collector.values.clock import HOUR, MINUTE
from collector.values.ids import new_uuid7
from collector.values.messages import clean_auto_message
from tests.ingest.test_messages import create, offered
from tests.support.browserless import Tracker
from tests.support.world import World


class Shown:
    """A page that shows a message."""

    def __init__(self, tracker: Tracker, world: World, message: str) -> None:
        self.tracker = tracker
        self.message = message
        self.view = new_uuid7(world.clock())
        self.nonce = secrets.token_urlsafe(16)
        tracker.collect({**tracker.event(), "id": self.view, "view": self.view})
        assert tracker.claim(message, nonce=self.nonce, view=self.view)["message"]

    def does(self, name: str = "click") -> list[str]:
        """Have something happen in the page and return what it is told to take down."""
        return withdrawn(self.tracker.collect(self.tracker.event(name, view=self.view)))


def withdrawn(answer: Any) -> list[str]:
    return [entry["id"] for entry in answer.get("messages", []) if entry["trigger"] == "withdrawn"]


def change(world: World, message: str, **fields: Any) -> None:
    """Change a message as REST does."""

    def merged(version: int, definition: dict[str, Any]) -> Any:
        return clean_auto_message({**definition, **fields}, retention_days=90)

    messages, site = world.services.auto_messages, world.site.id
    world.services.writer.run(site, lambda tx: messages.update(tx, site, message, merged, world.clock()))
    messages.forget(site)


def pause_all(world: World, *, paused: bool = True) -> None:
    world.services.writer.run(world.site.id, lambda tx: world.services.sites.change(tx, world.site.id, messages_paused=paused))
    world.services.sites.forget()


@pytest.fixture
def shown(tracker: Tracker, world: World) -> Shown:
    return Shown(tracker, world, create(world, ignore_caps=True))


@pytest.mark.parametrize("state", ["paused", "archived", "draft"])
def test_what_is_no_longer_live_goes_at_the_next_contact(shown: Shown, world: World, state: str) -> None:
    assert shown.does() == []
    world.clock.advance(MINUTE)
    change(world, shown.message, state=state)
    assert shown.does() == [shown.message]


def test_it_is_said_again_until_the_page_has_heard(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    assert [shown.does(), shown.does()] == [[shown.message]] * 2


def test_what_is_live_again_may_stay(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    change(world, shown.message, state="live")
    assert shown.does() == []


def test_an_edit_takes_nothing_down(shown: Shown, world: World) -> None:
    change(world, shown.message, content={"body": "Other"})
    assert shown.does() == []


def test_what_ran_out_of_its_schedule_goes(tracker: Tracker, world: World) -> None:
    message = create(world, schedule={"ends_at": (world.clock() + HOUR) // 1000})
    shown = Shown(tracker, world, message)
    world.clock.advance(HOUR - 1000)
    assert shown.does() == []
    world.clock.advance(2000)
    assert shown.does() == [message]


def test_all_go_while_all_are_paused(shown: Shown, world: World) -> None:
    pause_all(world)
    assert shown.does() == [shown.message]
    pause_all(world, paused=False)
    assert shown.does() == []


def test_the_report_that_it_was_seen_is_a_contact(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    assert withdrawn(shown.tracker.report(shown.message, shown.nonce, "seen")) == [shown.message]


def test_a_page_that_only_asks_is_told(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    assert withdrawn(shown.tracker.collect(view=shown.view, page={"url": shown.tracker.url})) == [shown.message]


def test_what_the_person_closed_is_not_named(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    assert withdrawn(shown.tracker.report(shown.message, shown.nonce, "dismissed")) == []
    assert shown.does() == []


def test_a_page_that_shows_nothing_is_told_nothing(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    assert withdrawn(shown.tracker.view("/other")) == []
    other = new_uuid7(world.clock())
    assert withdrawn(shown.tracker.collect(shown.tracker.event("click", view=other))) == []


def test_another_visitor_is_told_nothing(shown: Shown, new_tracker: Callable[[], Tracker], world: World) -> None:
    change(world, shown.message, state="paused")
    stranger = new_tracker()
    assert withdrawn(stranger.collect(stranger.event("click", view=shown.view))) == []


def test_a_visitor_who_signed_in_since_is_told(shown: Shown, world: World) -> None:
    shown.tracker.identify("u-1")
    shown.does("signed-in")
    change(world, shown.message, state="paused")
    assert shown.does() == [shown.message]


def test_what_takes_its_place_is_offered_beside_it(shown: Shown, world: World) -> None:
    change(world, shown.message, state="paused")
    second = create(world, trigger={"type": "event", "event": "click"}, ignore_caps=True)
    answer = shown.tracker.collect(shown.tracker.event("click", view=shown.view))
    assert sorted(offered(answer)) == sorted([second, shown.message])
    assert withdrawn(answer) == [shown.message]


def test_a_failure_costs_no_event(shown: Shown, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change(world, shown.message, state="paused")
    monkeypatch.setattr("collector.domain.deliveries.of_person", lambda *_: 1 / 0)
    answer = shown.tracker.collect(shown.tracker.event("click", view=shown.view))
    assert (answer["accepted"], withdrawn(answer)) == (1, [])


def test_nothing_is_read_of_pages_that_opened_after_the_last_withdrawal(
    shown: Shown, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(world, shown.message, state="paused")
    world.clock.advance(48 * HOUR)
    monkeypatch.setattr("collector.domain.deliveries.of_person", lambda *_: pytest.fail("the deliveries were read"))
    shown.view = new_uuid7(world.clock())
    assert shown.does() == []
