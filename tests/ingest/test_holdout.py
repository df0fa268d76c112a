"""Holdout and goal: who is kept without a message to compare, and who did what it was for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.domain import goals
from collector.domain.auto_messages import AutoMessage
from collector.domain.goals import Receipt, met
from collector.domain.names import Names
from collector.domain.sites import Site
from collector.goal_keeper import GoalKeeper
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR, MINUTE
from tests.ingest.test_edited_messages import edit
from tests.ingest.test_messages import create, numbers, offered
from tests.support.browserless import Tracker
from tests.support.world import World

pytestmark = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)

BOUGHT = {"event": "bought", "field": "count", "operator": ">", "value": 0}
GOAL = {"query": BOUGHT, "days": 7}


@pytest.fixture
def keeper(world: World) -> Iterator[GoalKeeper]:
    """Looks when it is told."""
    running = GoalKeeper(world.services)
    yield running
    running.stop()


def test_who_is_held_out_gets_nothing_and_counts_as_matched(tracker: Tracker, world: World) -> None:
    message = create(world, holdout_percent=100)
    assert offered(tracker.view()) == [message]
    assert tracker.claim(message) == {"message": None, "reason": "holdout"}
    found = numbers(world, message)
    assert (found["matched"], found["held_out"], found["sent"]) == (1, 1, 0)
    assert found["holdout"] == {"percent": 100, "people": 1, "goal": 0}


def test_a_lost_answer_to_somebody_held_out_notes_nothing_twice(tracker: Tracker, world: World) -> None:
    message = create(world, holdout_percent=100, frequency={"type": "every_time"}, ignore_caps=True)
    tracker.view()
    assert [tracker.claim(message, nonce="the-same-nonce")["reason"] for _ in range(2)] == ["holdout", "holdout"]
    with world.services.database.read() as connection:
        assert connection.value("SELECT count(*) FROM deliveries") == 1


def test_what_is_held_out_uses_the_caps_as_a_show_would(tracker: Tracker, world: World) -> None:
    held_out, other = create(world, holdout_percent=100, priority=1), create(world)
    tracker.view()
    tracker.claim(held_out)
    assert tracker.claim(other) == {"message": None, "reason": "caps"}


def test_who_is_held_out_until_acted_is_held_out_once(tracker: Tracker, world: World) -> None:
    message = create(world, holdout_percent=100)
    tracker.view()
    assert tracker.claim(message)["reason"] == "holdout"
    world.clock.advance(HOUR)
    assert offered(tracker.view()) == []


def test_a_holdout_is_a_share_of_the_people(new_tracker: Callable[..., Tracker], world: World) -> None:
    message = create(world, holdout_percent=50)
    reasons = []
    for _ in range(40):
        one = new_tracker()
        one.view()
        reasons.append(one.claim(message).get("reason"))
    assert 5 < reasons.count("holdout") < 35  # of 40, with the chance of one in ten million to be elsewhere
    assert set(reasons) == {None, "holdout"}


@pytest.mark.parametrize("first", ["shown", "holdout"])
def test_of_two_arms_that_become_one_person_the_first_stays(new_tracker: Callable[..., Tracker], world: World, first: str) -> None:
    message = create(world, holdout_percent=50, frequency={"type": "every_time"}, ignore_caps=True)
    one = _of_arm(first, message, new_tracker)
    world.clock.advance(MINUTE)
    other = _of_arm("holdout" if first == "shown" else "shown", message, new_tracker)
    before = numbers(world, message)
    for device in (one, other):
        device.identify("u-1")
        device.view()
    after = numbers(world, message)
    kept, lost = ("sent", "held_out") if first == "shown" else ("held_out", "sent")
    assert (after[kept], after[lost]) == (before[kept], before[lost] - 1)
    world.clock.advance(HOUR)
    other.view()
    assert (other.claim(message).get("reason") or "shown") == first


def _of_arm(arm: str, message: str, new_tracker: Callable[..., Tracker]) -> Tracker:
    """Return a visitor who was found to be of an arm."""
    while True:
        one = new_tracker()
        one.view()
        if (one.claim(message).get("reason") or "shown") == arm:
            return one


def reached(world: World, message: str) -> int:
    return int(numbers(world, message)["goal"])


def test_a_goal_is_met_by_what_is_done_after_the_receipt(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    assert tracker.claim(message)["message"]
    keeper.look(world.clock())
    assert reached(world, message) == 0
    world.clock.advance(DAY)
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 1


def test_what_was_done_before_the_receipt_does_not_count(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.collect(tracker.event("bought"))
    tracker.view()
    tracker.claim(message)
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 0


def test_after_its_days_a_goal_is_not_met_any_more(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    tracker.claim(message)
    world.clock.advance(8 * DAY)
    keeper.look(world.clock())
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 0


def test_a_goal_met_twice_keeps_its_first_time(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    tracker.claim(message)
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    first = world.clock()
    world.clock.advance(DAY)
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    with world.services.database.read() as connection:
        assert connection.value("SELECT goal_at FROM deliveries") == first


def test_another_goal_is_not_met_by_what_was_done_before_the_receipt(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal={"query": {**BOUGHT, "event": "subscribed"}, "days": 7})
    tracker.collect(tracker.event("bought"))
    tracker.view()
    tracker.claim(message)
    edit(world, message, goal=GOAL)
    keeper.look(world.clock())
    assert reached(world, message) == 0


def test_a_new_text_leaves_the_goal_as_it_is(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    tracker.claim(message)
    edit(world, message, content={"title": "Goodbye", "body": "Later."})
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 1


def test_a_goal_that_cannot_be_looked_for_keeps_no_other_from_it(
    tracker: Tracker, world: World, keeper: GoalKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [create(world, goal=GOAL, ignore_caps=True) for _ in range(2)]
    tracker.view()
    for message in messages:
        tracker.claim(message)
    tracker.collect(tracker.event("bought"))
    looked_for: list[str] = []

    def first_fails(connection: Connection, site: Site, names: Names, message: AutoMessage, *rest: Any) -> list[Receipt]:
        looked_for.append(message.public_id)
        if len(looked_for) == 1:
            raise ValueError(message.public_id)
        return met(connection, site, names, message, *rest)

    monkeypatch.setattr(goals, "met", first_fails)
    keeper.look(world.clock())
    assert [reached(world, message) for message in looked_for] == [0, 1]


def test_a_goal_of_a_visitor_is_met_by_the_user_it_becomes(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    tracker.claim(message)
    tracker.identify("u-1")
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 1


def test_the_goal_is_counted_for_both_arms_and_compared(new_tracker: Callable[..., Tracker], world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL, holdout_percent=50)
    arms = []
    for _ in range(12):
        one = new_tracker()
        one.view()
        arms.append(one.claim(message).get("reason") or "shown")
        one.collect(one.event("bought"))
    keeper.look(world.clock())
    found = numbers(world, message)
    assert found["goal"] == found["sent"] == arms.count("shown")
    assert found["holdout"] == {"percent": 50, "people": arms.count("holdout"), "goal": arms.count("holdout")}
    assert found["lift"]["difference"] == 0
    assert found["lift"]["in_words"].startswith("Too small to tell")


def test_a_goal_can_be_asked_for_in_a_query(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL, frequency={"type": "once"})
    thanks = create(world, audience={"message": message, "field": "goal", "operator": "has_any_value"}, ignore_caps=True)
    tracker.view()
    tracker.claim(message)
    tracker.collect(tracker.event("bought"))
    assert offered(tracker.view()) == []
    keeper.look(world.clock())
    assert offered(tracker.view()) == [thanks]
