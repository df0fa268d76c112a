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
from tests.support.asking import Asking
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


def test_whoever_is_held_out_reaches_the_goal_of_no_message(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    """Their goal stands beside the message's, to compare; a query and the number of the message mean whoever had it."""
    message = create(world, goal=GOAL, holdout_percent=100)
    tracker.view()
    assert tracker.claim(message)["reason"] == "holdout"
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert (numbers(world, message)["goal"], numbers(world, message)["holdout"]["goal"]) == (0, 1)
    assert Asking(world).found({"message": message, "field": "goal", "operator": "has_any_value"}) == set()


@pytest.mark.parametrize("first", ["shown", "holdout"])
def test_the_arm_that_was_first_says_whose_goal_it_is(
    new_tracker: Callable[..., Tracker], world: World, keeper: GoalKeeper, first: str
) -> None:
    message = create(world, goal=GOAL, holdout_percent=50, frequency={"type": "every_time"}, ignore_caps=True)
    one = _of_arm(first, message, new_tracker)
    world.clock.advance(MINUTE)
    other = _of_arm("holdout" if first == "shown" else "shown", message, new_tracker)
    for device in (one, other):
        device.identify("u-1")
        device.view()
    world.clock.advance(DAY)
    other.collect(other.event("bought"))
    keeper.look(world.clock())
    found = Asking(world).found({"message": message, "field": "goal", "operator": "has_any_value"})
    assert (reached(world, message), found) == ((1, {"u-1"}) if first == "shown" else (0, set()))


def test_whoever_reaches_a_goal_is_found_by_it(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.view()
    assert tracker.claim(message)["message"]
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert len(Asking(world).found({"message": message, "field": "goal", "operator": "has_any_value"})) == reached(world, message) == 1


def test_what_was_done_before_the_receipt_does_not_count(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.collect(tracker.event("bought"))
    tracker.view()
    tracker.claim(message)
    tracker.collect(tracker.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 0


def test_what_a_visitor_had_done_as_the_customer_it_turns_out_to_be_does_not_count(
    tracker: Tracker, new_tracker: Callable[..., Tracker], world: World, keeper: GoalKeeper
) -> None:
    message = create(world, goal=GOAL)
    tracker.identify("customer")
    tracker.collect(tracker.event("bought"))
    world.clock.advance(40 * DAY)
    elsewhere = new_tracker()
    elsewhere.view()
    assert elsewhere.claim(message)["message"]
    world.clock.advance(HOUR)
    elsewhere.identify("customer")
    elsewhere.view()
    for _ in range(2):
        keeper.look(world.clock())
        assert reached(world, message) == 0
    elsewhere.collect(elsewhere.event("bought"))
    keeper.look(world.clock())
    assert reached(world, message) == 0, "it had been met before"


def test_what_was_done_before_the_receipt_and_is_told_after_it_does_not_count(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    message = create(world, goal=GOAL)
    tracker.identify("customer")
    tracker.view()
    done = world.clock()
    world.clock.advance(MINUTE)
    assert tracker.claim(message)["message"]
    world.clock.advance(MINUTE)
    world.send(("user", "customer"), world.event("bought", at=done), browser=False)
    keeper.look(world.clock())
    assert reached(world, message) == 0


def test_an_attribute_that_changed_after_the_receipt_was_not_so_before_it(tracker: Tracker, world: World, keeper: GoalKeeper) -> None:
    """What it had been is known no more afterwards, and the claim knew."""
    not_free = {"field": "custom_attributes.plan", "operator": "!=", "value": "free"}
    message = create(world, goal={"query": not_free, "days": 7})
    tracker.identify("customer")
    tracker.view()
    world.set(("user", "customer"), {"custom_attributes.plan": "free"}, browser=False)
    assert tracker.claim(message)["message"]
    world.clock.advance(HOUR)
    world.set(("user", "customer"), {"custom_attributes.plan": "pro"}, browser=False)
    keeper.look(world.clock())
    assert reached(world, message) == 1


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


def look_after_a_restart(world: World) -> None:
    """Look as a collector does that was not there for a while."""
    keeper = GoalKeeper(world.services)
    try:
        keeper.look(world.clock())
    finally:
        keeper.stop()


def goal_times(world: World) -> list[int | None]:
    with world.services.database.read() as connection:
        return [row[0] for row in connection.rows("SELECT goal_at FROM deliveries ORDER BY identity")]


class TestNobodyLookedForAWhile:
    @pytest.fixture
    def shown(self, tracker: Tracker, world: World, keeper: GoalKeeper) -> int:
        """When somebody got a message whose goal is looked for."""
        message = create(world, goal=GOAL)
        tracker.view()
        tracker.claim(message)
        keeper.look(world.clock())
        return world.clock()

    def test_a_goal_that_was_met_meanwhile_is_found_once(self, tracker: Tracker, world: World, shown: int) -> None:
        world.clock.advance(2 * DAY)
        tracker.collect(tracker.event("bought"))
        world.clock.advance(30 * DAY)
        tracker.collect(tracker.event("bought"))
        look_after_a_restart(world)
        assert goal_times(world) == [shown + 7 * DAY]
        world.clock.advance(DAY)
        look_after_a_restart(world)
        assert goal_times(world) == [shown + 7 * DAY]

    @pytest.mark.usefixtures("shown")
    def test_what_was_done_after_its_days_does_not_count(self, tracker: Tracker, world: World) -> None:
        world.clock.advance(8 * DAY)
        tracker.collect(tracker.event("bought"))
        world.clock.advance(DAY)
        look_after_a_restart(world)
        assert goal_times(world) == [None]

    def test_what_was_done_in_its_days_and_arrives_after_them_counts(self, tracker: Tracker, world: World, shown: int) -> None:
        world.clock.advance(6 * DAY)
        offline = tracker.event("bought")
        world.clock.advance(2 * DAY)
        look_after_a_restart(world)
        assert goal_times(world) == [None]
        world.clock.advance(HOUR)
        tracker.collect(offline)
        look_after_a_restart(world)
        assert goal_times(world) == [shown + 7 * DAY]

    @pytest.mark.parametrize(
        ("query", "counts"),
        [
            ({**BOUGHT, "operator": ">", "value": 1}, False),
            ({**BOUGHT, "operator": "=", "value": 1}, False),  # it is two by now: what held for a while only is seen by who looks then
            ({"event": "bought", "field": "count", "within_days": 5, "operator": ">", "value": 0}, True),
            ({"field": "custom_attributes.plan", "operator": "=", "value": "pro"}, False),
            ({"field": "page_view_count", "operator": ">", "value": 2}, False),
        ],
        ids=["more often", "just once", "lately", "an attribute", "views"],
    )
    def test_what_was_known_at_the_end_of_its_days_decides(
        self, tracker: Tracker, world: World, keeper: GoalKeeper, query: dict[str, Any], counts: bool
    ) -> None:
        message = create(world, goal={"query": query, "days": 7})
        tracker.view()
        tracker.claim(message)
        keeper.look(world.clock())
        end = world.clock() + 7 * DAY
        world.clock.advance(4 * DAY)
        tracker.collect(tracker.event("bought"))
        world.clock.advance(4 * DAY)
        tracker.collect(tracker.event("bought"))
        tracker.view()
        tracker.view()
        world.set(("lead", tracker.lead.split(".")[0]), {"plan": "pro"})
        look_after_a_restart(world)
        assert goal_times(world) == [end if counts else None]

    def test_who_becomes_part_of_another_while_it_is_looked_for_keeps_nobody_else_from_it(
        self, new_tracker: Callable[..., Tracker], world: World, keeper: GoalKeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message, trackers = create(world, goal=GOAL), [new_tracker() for _ in range(2)]
        for one in trackers:
            one.view()
            one.claim(message)
        world.clock.advance(DAY)
        for one in trackers:
            one.collect(one.event("bought"))
        world.clock.advance(7 * DAY)
        rows = Connection.rows
        trackers[0].identify("u-1")
        meanwhile = [trackers[0].view]

        def overtaken(self: Connection, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
            found = rows(self, sql, parameters)
            if "d.goal_at IS NULL" in sql and meanwhile:
                meanwhile.pop()()
            return found

        monkeypatch.setattr(Connection, "rows", overtaken)
        keeper.look(world.clock())
        assert not meanwhile
        assert reached(world, message) == 1
        world.clock.advance(HOUR)
        keeper.look(world.clock())
        assert reached(world, message) == 2
