"""Undoing a merge: both persons as if it had not happened."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from collector.domain import merging
from collector.domain.merging import Claim
from collector.values.clock import DAY, HOUR
from tests.domain.test_deletion import is_sound, upkeep
from tests.support.world import World, lead, user

PLAN = "custom_attributes.plan"


def undo(world: World, name: str = "lead-1") -> bool:
    (merge,) = world.rows(
        "SELECT m.id FROM merges m JOIN identities i ON i.site = m.site AND i.id = m.lead "
        "WHERE m.site = ? AND i.value = ? AND m.outcome = 'merged' ORDER BY m.id DESC LIMIT 1",
        world.site.id,
        name,
    )
    return world.services.writer.run(world.site.id, lambda tx: merging.undo(tx, world.site.id, merge[0], world.clock()))


def state(world: World, key: tuple[str, str]) -> dict[str, Any]:
    person = world.person(key)
    events = sorted((event.name, event.at) for event in world.timeline(key))
    return {"totals": world.totals(key), "attributes": world.attributes(key), "events": events, "active": person.active_at}


def visit(world: World, name: str = "page-view") -> Any:
    return world.event(name, visit="01a2104a-324e-7080-a9b1-02515962ad5b")


def test_undone_a_merge_leaves_two_persons_with_what_each_did(world: World) -> None:
    world.send(lead(), visit(world))
    world.set(lead(), {PLAN: "trial"})
    world.clock.advance(HOUR)
    world.send(user(), visit(world, "signed-up"), lead=lead("other"))
    before = state(world, lead().key), state(world, user())
    world.send(user(), lead=lead())
    assert undo(world)
    assert (state(world, lead().key), state(world, user())) == before


def test_later_events_stay_with_the_identity_that_sent_them(world: World) -> None:
    world.send(user(), lead=lead())
    world.send(lead(), visit(world))
    world.send(user(), visit(world, "created-report"), lead=lead())
    undo(world)
    assert world.counts(lead().key) == {"page-view": 1}
    assert world.counts(user()) == {"created-report": 1}


def test_undoing_one_of_two_leads_leaves_the_other(world: World) -> None:
    for name in ("a", "b"):
        world.send(lead(name), visit(world))
        world.send(user(), lead=lead(name))
    undo(world, "a")
    assert world.counts(lead("a").key) == {"page-view": 1}
    assert world.counts(user()) == {"page-view": 1}


def test_it_is_exact_after_the_events_have_left_the_timeline(world: World) -> None:
    for name in ("one", "another"):
        world.send(lead(name), visit(world), world.event("saved"))
        world.clock.advance(HOUR)
    before = {name: world.totals(lead(name).key) for name in ("one", "another")}
    own = world.clock()
    world.send(user(), visit(world), lead=lead("one"))
    world.send(user(), lead=lead("another"))
    world.clock.advance(world.services.settings.retention + 30 * DAY)
    world.send(lead("another"), visit(world))  # late: it keeps the lead, and stays its own
    assert upkeep(world).dropped > 0
    assert world.rows("SELECT count(*) FROM events") == [(1,)]
    assert undo(world, "one")
    assert world.totals(lead("one").key) == before["one"]
    assert world.counts(user()) == {"page-view": 3, "saved": 1}
    assert upkeep(world).failed == 0
    assert undo(world, "another")
    assert world.counts(lead("another").key) == {"page-view": 2, "saved": 1}
    assert world.totals(lead("another").key)["saved"] == before["another"]["saved"]
    assert [(name, one.count, one.first_ms, one.last_ms) for name, one in world.totals(user()).items()] == [("page-view", 1, own, own)]
    assert is_sound(world)


def test_the_pair_stays_apart_and_another_user_may_have_the_lead(world: World) -> None:
    world.send(user(), lead=lead())
    undo(world)
    assert world.send(user(), lead=lead()).claim is Claim.BLOCKED
    assert world.send(user("u-2"), lead=lead()).claim is Claim.MERGED


def test_undone_again_changes_nothing(world: World) -> None:
    world.send(user(), lead=lead())
    assert undo(world)
    assert not undo(world)


def test_an_unknown_merge_is_an_error(world: World) -> None:
    with pytest.raises(LookupError):
        world.services.writer.run(world.site.id, lambda tx: merging.undo(tx, world.site.id, 17, 0))


acts = st.lists(st.tuples(st.sampled_from(("event", "set")), st.sampled_from(("lead", "user", "other")), st.integers(0, 3)), max_size=8)


@settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=acts, between=acts, after=acts)
def test_whatever_happened_an_undone_merge_is_as_if_it_had_not(world: World, before: Any, between: Any, after: Any) -> None:
    states = []
    for merged in (True, False):
        world.site = world.new_site()
        world.send(user(), lead=lead("other"))
        world.send(lead())
        happen(world, before)
        if merged:
            world.send(user(), lead=lead())
        happen(world, between)
        if merged:
            undo(world)
        happen(world, after)
        states.append([{key: value for key, value in state(world, key).items() if key != "active"} for key in (lead().key, user())])
    assert states[0] == states[1]


def happen(world: World, happened: Any) -> None:
    for kind, who, number in happened:
        target: Any = {"lead": lead(), "other": lead("other"), "user": user()}[who]
        more = {"lead": lead("other")} if who == "user" else {}
        if kind == "event":
            world.send(target, world.event(f"event-{number}", at=world.clock() - number), **more)
        else:
            world.set(target, {PLAN: number}, at=world.clock() - number, **more)
