"""Queries as large as they may be: 200 rules side by side or inside each other, long lists, and as many different things asked for."""

from typing import Any

from collector.domain import segments
from collector.values.queries import MAX_LIST, MAX_NODES
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
    numbers = [{"field": X, "operator": "IN", "value": [*range(1, MAX_LIST), number + 2_000]} for number in range(70)]
    texts = [{"field": X, "operator": "NIN", "value": [f"text {number}" for number in range(MAX_LIST)]} for _ in range(70)]
    assert asking.found(group("AND", numbers)) == {"a"}
    assert asking.found(group("AND", texts)) == {"a", "c", "d"}
    assert asking.found(group("OR", [*numbers, *texts])) == {"a", "c", "d"}
    dates = [{"field": "signed_up_at", "operator": "NIN", "value": [*range(MAX_LIST)]} for _ in range(70)]
    assert asking.found(group("AND", dates)) == {"a", "b", "c", "d"}
    counts = [{"event": "saved", "field": "count", "operator": "NIN", "value": [*range(1, MAX_LIST)]} for _ in range(70)]
    assert asking.found(group("AND", counts)) == {"a", "b", "c", "d"}


def test_a_query_about_many_segments_stands_for_all_their_rules(asking: Asking) -> None:
    world = asking.world
    asking.having(X, a=1, b=None)
    rules = group("AND", [did(f"event {number}") for number in range(MAX_NODES - 1)])
    made = [
        world.services.writer.run(
            world.site.id,
            lambda tx, name=f"Segment {number}", query=query: segments.create(
                tx, world.site.id, world.services.row_ids, name, segments.clean_query(query, 90), world.clock()
            ),
        )
        for number, query in enumerate([rules, known(X), *([rules] * 5)])
    ]
    asked = {"field": "segment_id", "operator": "IN", "value": [one.public_id for one in made]}
    assert asking.found(asked) == {"a"}
    assert asking.found({**asked, "operator": "NIN"}) == {"b"}
