"""The law of the ledger: for a fixed order of first claims per lead, whatever else is permuted, repeated or grouped differently,
the same people, totals, attributes and timelines come out, and they are those a naive fold over the raw history gives.
"""

import json
from collections import defaultdict
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from collector.domain.audiences import Total
from collector.domain.tracking import AttributeChange, Event, Submission
from tests.support.world import World, id_at, lead, user

LEADS = ("l-0", "l-1", "l-2")
USERS = ("u-0", "u-1")
NAMES = ("page-view", "created-report")
ATTRIBUTES = ("email", "custom_attributes.plan")

# An act is (kind, lead or user-only, asserted user, payload); `at` are offsets in ms from the clock's time back.
events = st.tuples(st.just("event"), st.sampled_from(LEADS), st.sampled_from((None, *USERS)), st.sampled_from(NAMES), st.integers(0, 9))
changes = st.tuples(
    st.just("change"),
    st.sampled_from(LEADS),
    st.sampled_from((None, *USERS)),
    st.tuples(st.sampled_from(ATTRIBUTES), st.sampled_from(("a", "b", 1, None))),
    st.integers(0, 9),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[Any, ...]], list[list[tuple[Any, ...]]]]:
    """Draw the first claims, a history, and one way in which it may arrive: shuffled, with repeats, cut into groups."""
    first = {name: draw(st.sampled_from(USERS)) for name in draw(st.sets(st.sampled_from(LEADS), min_size=1))}
    facts = draw(st.lists(st.one_of(events, changes), min_size=4, max_size=16))
    # A fact of another user at a lead that nobody claimed yet would be the first claim itself.
    facts = [fact for fact in facts if fact[2] is None or fact[1] in first]
    numbered = [(*fact, number) for number, fact in enumerate(facts)]
    claims = [("claim", name, who, None, 0, -1) for name, who in first.items()]
    early = draw(st.permutations([*claims, *(fact for fact in numbered if fact[2] in (None, first.get(fact[1])))]))
    later = draw(st.permutations([fact for fact in numbered if fact not in early]))
    repeats = draw(st.lists(st.sampled_from([*early, *later]), max_size=4)) if early or later else []
    arrival = [*early, *later, *repeats]
    cuts = sorted(draw(st.sets(st.integers(1, max(len(arrival), 1)), min_size=min(len(arrival), 3), max_size=8)))
    groups = [arrival[start:end] for start, end in zip([0, *cuts], [*cuts, len(arrival)], strict=True)]
    return first, numbered, [group for group in groups if group]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_any_arrival_of_one_history_ends_as_the_naive_fold(world: World, history: Any) -> None:
    first, facts, groups = history
    world.site = world.new_site()
    now = world.clock()
    made = {fact[5]: _event(now, fact) for fact in facts if fact[0] == "event"}
    for group in groups:
        world.services.writer.record(world.site.id, [_submission(act, made, now) for act in group])

    expected = _fold(first, facts, now)
    touched = {act[1] for group in groups for act in group}
    actual = {}
    for name in sorted(touched):
        person = world.person(lead(name).key)
        actual[person.user_id or name] = _state(world, lead(name).key)
    for act_user in sorted({act[2] for group in groups for act in group if act[2] is not None}):
        actual[act_user] = _state(world, user(act_user))
    assert actual == {who: expected[who] for who in actual}


def _event(now: int, fact: tuple[Any, ...]) -> Event:
    return Event(id_at(now - fact[4]), fact[3], now - fact[4])


def _submission(act: tuple[Any, ...], made: dict[int, Event], now: int) -> Submission:
    kind, name, who, payload, at, number = act
    submission = Submission(owner=lead(name).key if who is None else user(who), lead=lead(name))
    if kind == "event":
        submission.events = [made[number]]
    elif kind == "change":
        submission.changes = [AttributeChange({payload[0]: payload[1]}, now - at)]
    return submission


def _state(world: World, key: tuple[str, str]) -> dict[str, Any]:
    return {"totals": world.totals(key), "attributes": world.attributes(key), "events": len(world.timeline(key))}


def _fold(first: dict[str, str], facts: list[tuple[Any, ...]], now: int) -> dict[str, dict[str, Any]]:
    """Work everything out from the raw history, the plain way."""
    times: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    own: dict[tuple[str, str], dict[str, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
    for kind, name, who, payload, at, _ in facts:
        owner = who or name
        person = who or first.get(name, name)
        if kind == "event":
            times[person][payload].append(now - at)
        else:
            own[(person, owner)][payload[0]].append((now - at, json.dumps(payload[1])))
    people: dict[str, dict[str, Any]] = defaultdict(lambda: {"totals": {}, "attributes": {}, "events": 0})
    for person, by_name in times.items():
        people[person]["totals"] = {name: Total(len(at), min(at), max(at)) for name, at in by_name.items()}
        people[person]["events"] = sum(len(at) for at in by_name.values())
    for person in {person for person, _ in own}:
        for attribute in ATTRIBUTES:
            of_user = own[(person, person)].get(attribute, [])
            of_leads = [
                value
                for (whose, owner), values in own.items()
                if whose == person and owner != person
                for value in values.get(attribute, [])
            ]
            candidates = of_user or of_leads
            if candidates and (value := json.loads(max(candidates)[1])) is not None:
                people[person]["attributes"][attribute] = value
    return people
