"""What was decided about messages that were meant for somebody: noted beside the answer, written later, kept for 30 days."""

from collections.abc import Callable

import pytest

from collector.decision_keeper import DecisionKeeper
from collector.domain import decisions
from collector.domain.decisions import KEPT
from collector.values.clock import DAY, HOUR, MINUTE
from tests.domain.test_deletion import erase, upkeep
from tests.ingest.test_messages import PRICING_OFTEN, create, offered
from tests.support.browserless import Tracker
from tests.support.world import World, user

pytestmark = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)


def kept(world: World) -> list[tuple[str, int]]:
    """What is stored: outcome and how often, by time."""
    world.services.decisions.write()
    return [(outcome, times) for outcome, times in world.rows("SELECT outcome, times FROM decisions ORDER BY hour, outcome")]


def test_alike_decisions_of_one_hour_are_one_row(tracker: Tracker, world: World) -> None:
    create(world)
    for _ in range(5):
        tracker.view()
    assert kept(world) == [("offered", 5)]
    for _ in range(3):
        tracker.view()
    assert kept(world) == [("offered", 8)]
    world.clock.advance(HOUR)
    tracker.view()
    assert kept(world) == [("offered", 8), ("offered", 1)]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"schedule": {"ends_at": 1}}, "schedule"),
        ({"frequency": {"type": "once"}, "ignore_caps": True}, "frequency"),
        ({}, "caps"),
    ],
)
def test_the_rule_that_holds_a_meant_message_back_is_kept(tracker: Tracker, world: World, fields: dict[str, object], outcome: str) -> None:
    once = create(world, frequency={"type": "once"}, ignore_caps=True, priority=5)
    tracker.view()
    tracker.claim(once)
    world.services.decisions.write()
    world.clock.advance(MINUTE)
    if outcome != "frequency":
        create(world, **fields)
    assert offered(tracker.view()) == []
    assert (outcome, 1) in kept(world)


def test_what_is_not_meant_for_somebody_is_not_kept(tracker: Tracker, world: World) -> None:
    create(world, audience=PRICING_OFTEN)
    create(world, page={"field": "path", "operator": "is", "value": "/pricing"})
    create(world, trigger={"type": "event", "event": "saved", "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]})
    create(world, audience=PRICING_OFTEN, schedule={"ends_at": 1})
    create(world, state="draft")
    tracker.view("/")
    tracker.collect(tracker.event("saved", metadata={"plan": "free"}))
    assert kept(world) == []


def test_a_claim_that_another_message_overtook_is_kept(tracker: Tracker, world: World) -> None:
    first, second = create(world), create(world)
    tracker.view()
    tracker.claim(first)
    assert tracker.claim(second)["reason"] == "caps"
    assert kept(world) == [("caps", 1), ("offered", 1), ("offered", 1)]


def test_a_claim_without_a_value_for_its_text_is_kept(tracker: Tracker, world: World) -> None:
    message = create(world, content={"title": "Hello, {{first_name}}"})
    tracker.view()
    assert tracker.claim(message)["reason"] == "content"
    assert kept(world) == [("content", 1), ("offered", 1)]


def test_trouble_with_writing_fails_no_answer_and_serving_goes_on(
    tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise RuntimeError

    message = create(world)
    keeper = DecisionKeeper(world.services)
    with monkeypatch.context() as broken:
        broken.setattr(decisions, "_write", fail)
        assert offered(tracker.view()) == [message]
        keeper.write()
    assert "decisions on messages were not kept" in caplog.text
    assert offered(tracker.view()) == [message]
    keeper.stop()
    assert world.rows("SELECT outcome, times FROM decisions") == [("offered", 1)]


def test_what_waits_is_bounded(tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_PENDING", 3)
    message = create(world)
    for _ in range(5):
        assert offered(tracker.view()) == [message]
    assert kept(world) == [("offered", 3)]


def test_what_is_written_at_once_is_bounded(tracker: Tracker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_ROWS", 2)
    for _ in range(4):
        create(world)
    tracker.view()
    tracker.view()
    assert kept(world) == [("offered", 2), ("offered", 2)]


def test_upkeep_drops_what_is_older_than_thirty_days(tracker: Tracker, world: World) -> None:
    create(world)
    tracker.view()
    assert kept(world) == [("offered", 1)]
    world.clock.advance(KEPT - HOUR)
    tracker.view()
    upkeep(world)
    assert kept(world) == [("offered", 1), ("offered", 1)]
    world.clock.advance(3 * HOUR)
    upkeep(world)
    assert kept(world) == [("offered", 1)]


def test_they_go_with_the_person_who_is_deleted_and_do_not_come_after_it(
    tracker: Tracker, new_tracker: Callable[[], Tracker], world: World
) -> None:
    create(world)
    tracker.view()
    tracker.identify("u-1")
    tracker.view()
    other = new_tracker()
    other.view()
    assert len(kept(world)) == 3
    tracker.view()  # noted, and not written yet
    world.clock.advance(DAY)
    assert erase(world, user("u-1"))
    assert kept(world) == [("offered", 1)]
