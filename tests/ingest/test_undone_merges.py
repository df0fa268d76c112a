"""A merge that is undone gives both persons back what was theirs of messages too: deliveries, answers, goals, decisions."""

from typing import Any

import pytest

from collector.domain import answers, decisions, deliveries, merging
from collector.goal_keeper import GoalKeeper
from collector.storage.database import Connection
from collector.values.clock import HOUR
from tests.domain.test_deletion import contents, erase
from tests.ingest.test_answers import PLAN, answer, key, shown
from tests.ingest.test_messages import create
from tests.support.browserless import Tracker
from tests.support.world import World

pytestmark = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)


class Two:
    """A visitor who answered one message before signing in, and another one as the user who was known already."""

    def __init__(self, world: World, visitor: Tracker) -> None:
        self.world = world
        self.lead = key(visitor)
        world.send(("user", "u-1"), world.event())
        self.first = self.ask(visitor, "before", "bought")
        visitor.collect(visitor.event("bought"))
        self.keep()
        visitor.identify("u-1")
        world.clock.advance(HOUR)
        self.second = self.ask(visitor, "after", "subscribed")
        visitor.collect(visitor.event("subscribed"))
        self.keep()

    def ask(self, visitor: Tracker, text: str, event: str) -> str:
        goal = {"query": {"event": event, "field": "count", "operator": ">", "value": 0}, "days": 7}
        content = {"title": "Tell us", "question": PLAN}
        message = create(self.world, content=content, ignore_caps=True, goal=goal)
        delivery = shown(visitor, message)
        assert answer(visitor, message, delivery, text)["accepted"] == 1
        visitor.view()  # it was answered: a decision to keep
        return message

    def keep(self) -> None:
        """Look for goals, and write decisions down, as the threads do."""
        keeper = GoalKeeper(self.world.services)
        keeper.look(self.world.clock())
        keeper.stop()
        self.world.services.decisions.write()

    def undo(self) -> None:
        ((line,),) = self.world.rows("SELECT id FROM merges WHERE outcome = 'merged'")
        undone = self.world.services.writer.run(
            self.world.site.id, lambda tx: merging.undo(tx, self.world.site.id, line, self.world.clock())
        )
        assert undone

    def of(self, who: tuple[str, str]) -> dict[str, Any]:
        """What is somebody's: messages received, answered and with the goal met, decided about, what was answered to each, the plan."""
        world, site = self.world, self.world.site.id
        person = world.person(who).id
        with world.services.database.read() as connection:
            ids = dict(connection.rows("SELECT id, public_id FROM auto_messages"))
            had = deliveries.of_person(connection, site, person)
            told = {ids[number]: _answers(connection, site, number, person) for number in ids}
            decided = {ids[one.message] for one in decisions.of_person(connection, site, person)}
        return {
            "received": {ids[one.message] for one in had},
            "met": {ids[one.message] for one in had if one.goal_at is not None},
            "answers": {message: texts for message, texts in told.items() if texts},
            "decided": decided,
            "plan": world.attributes(who).get("custom_attributes.plan"),
            "events": world.counts(who).get("message-answered", 0),
        }


def _answers(connection: Connection, site: int, message: int, person: int) -> list[Any]:
    return [text for who, text, _ in answers.answers(connection, site, message, 10, 0)[0] if who == person]


@pytest.fixture
def two(tracker: Tracker, world: World) -> Two:
    return Two(world, tracker)


def test_together_both_are_one_persons(two: Two) -> None:
    found = two.of(("user", "u-1"))
    assert found["received"] == found["met"] == {two.first, two.second}
    assert found["answers"] == {two.first: ["before"], two.second: ["after"]}
    assert found["decided"] >= {two.first}
    assert (found["plan"], found["events"]) == ("after", 2)


def test_undone_each_has_what_was_its_own(two: Two) -> None:
    two.undo()
    visitor, user = two.of(two.lead), two.of(("user", "u-1"))
    assert (visitor["received"], user["received"]) == ({two.first}, {two.second})
    assert (visitor["met"], user["met"]) == ({two.first}, {two.second})
    assert (visitor["answers"], user["answers"]) == ({two.first: ["before"]}, {two.second: ["after"]})
    assert (visitor["plan"], user["plan"]) == ("before", "after")
    assert (visitor["events"], user["events"]) == (1, 1)
    assert two.first in visitor["decided"]


def test_undone_and_deleted_the_other_keeps_everything(two: Two) -> None:
    two.undo()
    kept = two.of(two.lead)
    assert erase(two.world, ("user", "u-1"))
    assert two.of(two.lead) == kept
    whole = contents(two.world)
    assert all("after" not in str(row) for table, rows in whole.items() if table != "auto_messages" for row in rows)
    assert any("before" in str(row) for rows in whole.values() for row in rows)
