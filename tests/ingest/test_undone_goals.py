"""A merge that is undone leaves both persons the goals that each has reached alone, whoever looked for them meanwhile."""

from typing import Any

import pytest

from collector.domain import goals, merging, pruning
from collector.domain.goals import Receipt, met
from collector.goal_keeper import GoalKeeper
from collector.ingest.goals_asked import ask_parted
from collector.values.clock import DAY, HOUR
from tests.domain.test_deletion import erase
from tests.ingest.test_messages import create, numbers
from tests.support.browserless import Tracker
from tests.support.world import World

pytestmark = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)

USER = ("user", "u-1")
BOUGHT = {"event": "bought", "field": "count", "operator": ">", "value": 0}
LATELY = {**BOUGHT, "within_days": 2}
PRO = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}


class Pair:
    """A visitor who got a message with a goal, and who becomes one person with a user that is known already."""

    def __init__(self, world: World, visitor: Tracker) -> None:
        self.world = world
        self.visitor = visitor
        self.lead = ("lead", visitor.lead.partition(".")[0])
        world.send(USER, world.event())
        visitor.view()

    def ask(self, query: dict[str, Any] = BOUGHT) -> None:
        goal = {"query": query, "days": 7}
        self.message = create(self.world, goal=goal, ignore_caps=True, frequency={"type": "every_time"})
        self.claim()

    def claim(self) -> None:
        self.visitor.view()
        assert self.visitor.claim(self.message)["message"]

    def sign_in(self) -> None:
        self.world.clock.advance(HOUR)
        self.visitor.identify("u-1")
        self.visitor.view()

    def sign_out(self) -> None:
        self.visitor.user = None

    def buy(self, who: tuple[str, str], ago: int = 0) -> None:
        event = self.world.event("bought", at=self.world.clock() - ago)
        assert self.world.send(who, event, browser=False).events == [True]

    def look(self) -> None:
        keeper = GoalKeeper(self.world.services)
        keeper.look(self.world.clock())
        keeper.stop()

    def undo(self) -> None:
        world, site = self.world, self.world.site.id
        ((line,),) = world.rows("SELECT id FROM merges WHERE outcome = 'merged' AND undone_at IS NULL")
        assert world.services.writer.run(site, lambda tx: merging.undo(tx, site, line, world.clock()))
        ask_parted(world.services, world.site, line, world.clock())
        self.sign_out()

    def of(self, who: tuple[str, str]) -> list[str]:
        """What became of the goal, receipt by receipt."""
        sql = (
            "SELECT CASE WHEN d.goal_at IS NOT NULL THEN 'met' WHEN d.goal_before = 0 THEN 'open' ELSE 'before' END FROM deliveries d "
            "JOIN identities i ON i.site = d.site AND i.id = d.identity WHERE i.site = ? AND i.principal_id = ? ORDER BY d.claimed_at"
        )
        return [row[0] for row in self.world.rows(sql, self.world.site.id, self.world.person(who).id)]


@pytest.fixture
def pair(tracker: Tracker, world: World) -> Pair:
    return Pair(world, tracker)


def test_what_the_user_had_done_before_does_not_stand_in_the_visitors_way(pair: Pair) -> None:
    pair.ask()
    pair.buy(USER, ago=30 * DAY)
    pair.sign_in()
    pair.look()
    assert pair.of(USER) == ["before"]
    pair.undo()
    pair.look()
    assert pair.of(pair.lead) == ["open"]
    pair.visitor.collect(pair.visitor.event("bought"))
    pair.look()
    assert pair.of(pair.lead) == ["met"]
    assert numbers(pair.world, pair.message)["goal"] == 1


def test_what_the_user_did_reaches_nothing_for_the_visitor(pair: Pair) -> None:
    pair.ask()
    pair.sign_in()
    pair.buy(USER)
    pair.look()
    assert pair.of(USER) == ["met"]
    pair.undo()
    assert pair.of(pair.lead) == ["open"]
    pair.look()
    assert pair.of(pair.lead) == ["open"]
    assert numbers(pair.world, pair.message)["goal"] == 0


def test_what_the_visitor_did_reaches_nothing_for_the_user(pair: Pair) -> None:
    pair.ask()
    pair.sign_in()
    pair.claim()
    pair.buy(pair.lead)
    pair.look()
    assert pair.of(USER) == ["met", "met"]
    pair.undo()
    pair.look()
    assert (pair.of(pair.lead), pair.of(USER)) == (["met"], ["open"])


def test_undone_after_its_days_the_goal_is_asked_of_each_as_of_their_end(pair: Pair) -> None:
    pair.ask()
    pair.sign_in()
    pair.claim()
    pair.buy(pair.lead)
    pair.look()
    pair.world.clock.advance(40 * DAY)
    pair.buy(USER)
    pair.look()
    pair.undo()
    pair.look()
    assert (pair.of(pair.lead), pair.of(USER)) == (["met"], ["open"])


def test_found_after_its_days_of_both_it_is_asked_of_each_alone(pair: Pair) -> None:
    """They had ended before the two became one, and the user's deed lay in them."""
    pair.ask()
    pair.world.clock.advance(3 * DAY)
    pair.buy(USER)
    pair.world.clock.advance(5 * DAY)
    pair.sign_in()
    pair.look()
    pair.look()
    pair.undo()
    pair.look()
    assert pair.of(pair.lead) == ["open"]


def test_who_never_did_it_alone_reaches_what_asks_for_that(pair: Pair) -> None:
    pair.buy(pair.lead, ago=HOUR)
    pair.ask(LATELY | {"operator": "=", "value": 0})
    pair.world.clock.advance(HOUR)
    pair.sign_in()
    pair.buy(USER)
    for _ in range(8):
        pair.world.clock.advance(DAY)
        pair.buy(USER)
        pair.look()
    assert pair.of(USER) == ["open"]
    pair.undo()
    pair.look()
    assert pair.of(pair.lead) == ["met"]


def test_pruned_deeds_of_later_reach_nothing(pair: Pair) -> None:
    pair.ask()
    pair.sign_in()
    pair.buy(USER)
    pair.look()
    pair.world.clock.advance(30 * DAY)
    pair.buy(pair.lead)
    pair.world.clock.advance(400 * DAY)
    pair.undo()
    pair.look()
    assert pair.of(pair.lead) == ["open"]


def test_what_the_visitor_reached_before_signing_in_stays(pair: Pair) -> None:
    """Also where nobody could tell any more: an attribute that is another one by now."""
    pair.ask(PRO)
    pair.world.set(pair.lead, {"custom_attributes.plan": "pro"}, browser=False)
    pair.world.clock.advance(HOUR + 1)
    pair.look()
    pair.world.clock.advance(DAY)
    pair.sign_in()
    pair.world.set(pair.lead, {"custom_attributes.plan": "free"}, browser=False)
    ((before,),) = pair.world.rows("SELECT goal_at FROM deliveries")
    assert before is not None
    pair.undo()
    pair.look()
    assert pair.world.rows("SELECT goal_at FROM deliveries") == [(before,)]


def test_what_the_claim_itself_knew_stays(pair: Pair) -> None:
    pair.buy(pair.lead)
    pair.world.clock.advance(HOUR)
    pair.ask()
    pair.sign_in()
    pair.look()
    pair.undo()
    pair.look()
    assert pair.of(pair.lead) == ["before"]


def test_a_claim_that_knew_the_others_deeds_is_asked_again(pair: Pair) -> None:
    pair.buy(pair.lead)
    pair.world.clock.advance(HOUR)
    pair.ask()
    pair.sign_in()
    pair.claim()
    assert pair.of(USER) == ["before", "before"]
    pair.undo()
    pair.world.clock.advance(HOUR)
    pair.buy(USER)
    pair.world.clock.advance(20 * DAY)
    pair.look()
    assert (pair.of(pair.lead), pair.of(USER)) == (["before"], ["met"])


def test_what_somebody_found_before_it_was_undone_is_not_noted_after_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.ask()
    pair.sign_in()
    pair.buy(USER)
    meanwhile = [pair.undo]

    def overtaken(*asked: Any) -> list[Receipt]:
        found = met(*asked)
        if meanwhile:
            assert found
            meanwhile.pop()()
        return found

    monkeypatch.setattr(goals, "met", overtaken)
    for _ in range(2):
        pair.look()
        assert pair.of(pair.lead) == ["open"]


def test_a_deletion_leaves_the_other_to_be_asked(pair: Pair) -> None:
    pair.ask()
    pair.sign_in()
    pair.buy(USER)
    pair.look()
    pair.undo()
    assert erase(pair.world, USER)
    pair.look()
    pair.look()
    assert pair.of(pair.lead) == ["open"]
    assert pair.world.rows("SELECT part FROM upkeep WHERE part LIKE 'goals of%'") == []


def set_plan(pair: Pair, who: tuple[str, str]) -> None:
    pair.world.set(who, {"custom_attributes.plan": "pro"}, browser=False)


def test_what_nobody_can_tell_any_more_since_it_was_set_anew_stays(pair: Pair) -> None:
    pair.sign_in()
    pair.ask(PRO)
    pair.world.clock.advance(HOUR)
    set_plan(pair, USER)
    pair.look()
    pair.world.clock.advance(HOUR)
    set_plan(pair, USER)  # the same, at another time
    before = pair.world.rows("SELECT goal_at FROM deliveries")
    assert pair.of(USER) == ["met"]
    pair.undo()
    pair.look()
    assert pair.world.rows("SELECT goal_at FROM deliveries") == before


def test_nor_is_anything_forgotten_by_a_timeline_that_is_pruned(pair: Pair) -> None:
    pair.sign_in()
    pair.ask(LATELY)
    pair.world.clock.advance(HOUR)
    pair.buy(USER)
    pair.look()
    services = pair.world.services
    pair.world.clock.advance(services.settings.retention + 30 * DAY)
    now, retention = pair.world.clock(), services.settings.retention
    assert list(pruning.prune(services.written, services.slices, services.written.transact, now, retention))
    before = pair.world.rows("SELECT goal_at FROM deliveries")
    pair.undo()
    pair.look()
    assert pair.world.rows("SELECT goal_at FROM deliveries") == before
