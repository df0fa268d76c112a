"""Queries as large as they may be: 200 rules side by side or inside each other, long lists, and as many different things asked for."""

from typing import Any

import pytest

from collector.domain import segments
from collector.values.errors import Refusal
from collector.values.queries import MAX_LIST, MAX_LISTED, MAX_NODES
from tests.support.asking import Asking

X = "custom_attributes.x"
WHERE = [{"field": "metadata.a", "operator": "is_unknown"}]


def group(operator: str, rules: list[Any]) -> dict[str, Any]:
    return {"operator": operator, "value": rules}


def known(field: str) -> dict[str, Any]:
    return {"field": field, "operator": "has_any_value"}


def did(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "field": "count", "operator": ">", "value": 0, **more}


def test_groups_may_be_as_deep_as_there_are_nodes(asking: Asking) -> None:
    asking.having(X, a=1, b=None)
    for depth, expected in ((MAX_NODES - 2, {"a"}), (MAX_NODES - 1, {"b"})):
        query = known(X)
        for _ in range(depth):
            query = group("NOT", [query])
        assert asking.found(query) == expected


def test_groups_of_every_kind_may_stand_inside_each_other(asking: Asking) -> None:
    asking.having(X, a=2**60, b=None)
    query: dict[str, Any] = {"field": X, "operator": ">", "value": 2**60 - 1}
    for number in range(MAX_NODES // 3):
        query = (group("AND", [query, {"field": X, "operator": "!~", "value": "z"}]), group("OR", [did("never"), query]))[number % 2]
    assert asking.found(query) == {"a"}
    assert asking.found(group("NOT", [query])) == {"b"}


def test_200_rules_about_one_thing(asking: Asking) -> None:
    asking.having(X, a=1, b="a", c=None)
    rules = [{"field": X, "operator": "!=", "value": number} for number in range(2, MAX_NODES + 1)]
    assert asking.found(group("AND", rules)) == {"a", "b", "c"}
    assert asking.found(group("NOT", rules)) == set()


def test_200_different_attributes(asking: Asking) -> None:
    fields = [f"custom_attributes.x{number}" for number in range(MAX_NODES - 1)]
    asking.world.set(("user", "all"), dict.fromkeys(fields, "a"), browser=False)
    asking.world.set(("user", "last"), {fields[-1]: "a"}, browser=False)
    asking.having(X, none=None)
    assert asking.found(group("AND", [known(field) for field in fields])) == {"all"}
    assert asking.found(group("OR", [known(field) for field in fields])) == {"all", "last"}
    assert asking.found(group("NOT", [known(field) for field in fields])) == {"none"}
    assert asking.found(group("AND", [{"field": field, "operator": "~", "value": "A"} for field in fields])) == {"all"}


def test_200_different_events(asking: Asking) -> None:
    names = [f"event {number}" for number in range(MAX_NODES - 1)]
    asking.world.send(("user", "all"), *[asking.world.event(name) for name in names], browser=False)
    asking.world.send(("user", "last"), asking.world.event(names[-1]), browser=False)
    asking.having(X, none=None)
    assert asking.found(group("AND", [did(name) for name in names])) == {"all"}
    assert asking.found(group("OR", [did(name) for name in names])) == {"all", "last"}
    assert asking.found(group("NOT", [did(name) for name in names])) == {"none"}
    after = {"event": names[0], "field": "last", "operator": ">="}
    rules = [{**after, "value": {"event": name, "field": "last"}} for name in names[: MAX_NODES // 2 - 1]]
    assert asking.found(group("AND", rules)) == {"all"}


def test_as_many_measures_over_the_timeline_as_there_may_be(asking: Asking) -> None:
    asking.doing("saved", all=[0], none=[])
    within = [did("saved", within_days=days) for days in range(1, 91)]
    assert asking.found(group("AND", within)) == {"all"}
    conditions = [did("saved", where=[{**WHERE[0], "field": f"metadata.a{number}"}]) for number in range((MAX_NODES - 1) // 2)]
    assert asking.found(group("AND", conditions)) == {"all"}
    assert asking.found(group("NOT", conditions)) == {"none"}


def test_200_different_messages(asking: Asking) -> None:
    asking.having(X, a=1)
    rules = [{"message": f"message {number}", "field": "seen", "operator": "is_unknown"} for number in range(MAX_NODES - 1)]
    assert asking.found(group("AND", rules)) == {"a"}


def test_lists_may_be_long_and_many(asking: Asking) -> None:
    asking.having(X, a=5, b="text 7", c=True, d=None)
    most = MAX_LISTED // MAX_LIST
    numbers = [{"field": X, "operator": "IN", "value": [*range(1, MAX_LIST), number + 2_000]} for number in range(most)]
    texts = [{"field": X, "operator": "NIN", "value": [f"text {number}" for number in range(MAX_LIST)]} for _ in range(most)]
    assert asking.found(group("AND", numbers)) == {"a"}
    assert asking.found(group("AND", texts)) == {"a", "c", "d"}
    assert asking.found(group("OR", [*numbers[: most // 2], *texts[: most // 2]])) == {"a", "c", "d"}
    dates = [{"field": "signed_up_at", "operator": "NIN", "value": [*range(MAX_LIST)]} for _ in range(most)]
    assert asking.found(group("AND", dates)) == {"a", "b", "c", "d"}
    counts = [{"event": "saved", "field": "count", "operator": "NIN", "value": [*range(1, MAX_LIST)]} for _ in range(most)]
    assert asking.found(group("AND", counts)) == {"a", "b", "c", "d"}
    segments = segments_of(asking, *(group("AND", rules) for rules in (numbers, texts, dates, counts)))
    assert asking.found({"field": "segment_id", "operator": "IN", "value": segments}) == {"a", "b", "c", "d"}


def test_a_query_about_many_segments_stands_for_all_their_rules(asking: Asking) -> None:
    asking.having(X, a=1, b=None)
    rules = group("AND", [did(f"event {number}") for number in range(MAX_NODES - 1)])
    asked = {"field": "segment_id", "operator": "IN", "value": segments_of(asking, rules, known(X), *([rules] * 3))}
    assert asking.found(asked) == {"a"}
    assert asking.found({**asked, "operator": "NIN"}) == {"b"}


def test_how_much_a_query_with_its_segments_may_be_is_bounded_however_often_it_names_them(asking: Asking) -> None:
    asking.having(X, a=1, b=None)
    # Each rule about the segment is one, and the segment's 99 rules with their group are a hundred.
    (large,) = segments_of(asking, group("OR", [known(X)] * 99))
    named = {"field": "segment_id", "operator": "=", "value": large}
    largest = group("AND", [*[named] * 9, *[known(X)] * (segments.MOST_NODES - 1 - 9 * 101)])
    assert asking.found(largest) == {"a"}
    for too_much in (group("AND", [*largest["value"], known(X)]), group("AND", [named] * (MAX_NODES - 1))):
        with pytest.raises(Refusal, match="allowed are 1,000"):
            asking.found(too_much)


def test_how_deep_a_query_with_its_segments_may_be_is_bounded(asking: Asking) -> None:
    asking.having(X, a=1, b=None)
    inner: dict[str, Any] = known(X)
    for _ in range(99):
        inner = group("AND", [inner])
    (deep,) = segments_of(asking, inner)
    asked: dict[str, Any] = {"field": "segment_id", "operator": "=", "value": deep}
    for _ in range(segments.DEEPEST - 101):
        asked = group("AND", [asked])
    assert asking.found(asked) == {"a"}
    with pytest.raises(Refusal, match="inside each other"):
        asking.found(group("NOT", [asked]))


def segments_of(asking: Asking, *queries: Any) -> list[str]:
    """Make a segment of each of these queries and return their ids."""
    world = asking.world
    made = []
    for number, raw in enumerate(queries):
        query, name = segments.clean_query(raw, 90), f"Segment {number}"
        made.append(
            world.services.writer.run(
                world.site.id,
                lambda tx, name=name, query=query: segments.create(
                    tx, world.site.id, world.services.row_ids, name, query, lambda tx, site: [], world.clock()
                ),
            ).public_id
        )
    return made
