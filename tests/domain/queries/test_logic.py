"""Two-valued logic: with an unknown a positive comparison is false and a negative one true; a value of the wrong type is unknown."""

from itertools import product
from typing import Any

from collector.values.query_tree import NEGATIVE, OPERATORS, PRESENCE, SPANS
from tests.support.asking import Asking

X, DUE = "custom_attributes.x", "custom_attributes.due_at"
A_VALUE: dict[str, Any] = {
    **dict.fromkeys(("=", "!="), "a"), **dict.fromkeys((">", "<", ">=", "<="), 1), **dict.fromkeys(("~", "!~", "^", "$"), "a"),
    "IN": ["a", 1, True], "NIN": ["a", 1, True],
}  # fmt: skip
A_TIME: dict[str, Any] = {
    **dict.fromkeys(("=", "!=", ">", "<", ">=", "<="), 1_790_000_000), "IN": [1_790_000_000], "NIN": [1_790_000_000],
    **dict.fromkeys(("before", "after", "on"), "2026-09-21"), **dict.fromkeys(SPANS, 1),
}  # fmt: skip
A_COUNT: dict[str, Any] = {**dict.fromkeys(("=", "!=", ">", "<", ">=", "<="), 1), "IN": [1, 2.5], "NIN": [1, 2.5]}


def rule(operator: str, value: Any = None, field: str = X) -> dict[str, Any]:
    return {"field": field, "operator": operator} | ({} if value is None else {"value": value})


def negated(asked: dict[str, Any]) -> dict[str, Any]:
    return {"operator": "NOT", "value": [asked]}


def test_every_operator_is_among_those_tried_here() -> None:
    assert set(A_VALUE) | PRESENCE == OPERATORS["any"]
    assert set(A_TIME) | PRESENCE == OPERATORS["time"]
    assert set(A_COUNT) | PRESENCE == OPERATORS["count"]


def test_with_an_unknown_attribute_a_positive_comparison_is_false_and_a_negative_one_true(asking: Asking) -> None:
    asking.having(X, unknown=None)
    fields = (X, "custom_attributes.never_sent", "email", "company.name", "owner_id", "location.country", "tag_id", "ios_app_name")
    for operator, field in product(A_VALUE, fields):
        asked = rule(operator, A_VALUE[operator], field)
        assert asking.found(asked) == ({"unknown"} if operator in NEGATIVE else set()), asked
        assert asking.found(negated(asked)) == (set() if operator in NEGATIVE else {"unknown"}), asked


def test_with_an_unknown_time_a_positive_comparison_is_false_and_a_negative_one_true(asking: Asking) -> None:
    asking.having(X, unknown=None)
    where = [{"field": "metadata.due_at", "operator": "has_any_value"}]
    subjects: list[dict[str, Any]] = [
        {"field": DUE}, {"field": "signed_up_at"}, {"field": "last_seen_at"}, {"field": "last_contacted_at"},
        {"event": "never", "field": "first"}, {"event": "never", "field": "last"}, {"event": "never", "field": "last", "within_days": 3},
        {"event": "never", "field": "first", "where": where}, {"message": "none", "field": "seen"},
    ]  # fmt: skip
    for operator, subject in product(A_TIME, subjects):
        asked = {**subject, "operator": operator, "value": A_TIME[operator]}
        assert asking.found(asked) == ({"unknown"} if operator in NEGATIVE else set()), asked
        assert asking.found(negated(asked)) == (set() if operator in NEGATIVE else {"unknown"}), asked


def test_the_count_of_a_missing_event_is_0_and_never_unknown(asking: Asking) -> None:
    asking.having(X, somebody=None)
    scopes: list[dict[str, Any]] = [{}, {"within_days": 3}, {"where": [{"field": "metadata.a", "operator": "=", "value": 1}]}]
    for operator, more in product(A_COUNT, scopes):
        holds = operator in {"<", "<=", "!=", "NIN"}
        asked = {"event": "never", "field": "count", "operator": operator, "value": A_COUNT[operator], **more}
        assert asking.found(asked) == ({"somebody"} if holds else set()), asked
        assert asking.found({"event": "never", "field": "count", "operator": "has_any_value", **more}) == {"somebody"}
        assert asking.found({"event": "never", "field": "count", "operator": "is_unknown", **more}) == set()


def test_a_value_of_the_wrong_type_is_compared_as_if_it_were_unknown(asking: Asking) -> None:
    asking.having(X, number=5, flag=True, text="5", unknown=None)
    for operator, value in ((">", 1), ("<", 9), (">=", 5), ("<=", 5)):
        assert asking.found(rule(operator, value)) == {"number"}
        assert asking.found(negated(rule(operator, value))) == {"flag", "text", "unknown"}
    for operator in ("~", "^", "$"):
        assert asking.found(rule(operator, "5")) == {"text"}
        assert asking.found(negated(rule(operator, "5"))) == {"number", "flag", "unknown"}
    assert asking.found(rule("!~", "5")) == {"number", "flag", "unknown"}


def test_what_is_no_time_is_unknown_under_the_name_of_one(asking: Asking) -> None:
    """Nobody can send such a value; another system may have left it."""
    asking.having(DUE, text="2026-09-21", flag=True)
    for operator, value in A_TIME.items():
        assert asking.found(rule(operator, value, DUE)) == ({"text", "flag"} if operator in NEGATIVE else set()), operator
    assert asking.found(rule("is_unknown", field=DUE)) == {"text", "flag"}


def test_whatever_was_sent_is_known_and_what_was_unset_is_unknown(asking: Asking) -> None:
    asking.having(X, empty="", zero=0, no=False, never=None, unset="a")
    asking.world.set(("user", "unset"), {X: None}, browser=False)
    assert asking.found(rule("has_any_value")) == {"empty", "zero", "no"}
    assert asking.found(rule("is_unknown")) == {"never", "unset"}
    assert asking.found(rule("!=") | {"value": None}) == {"empty", "zero", "no"}
    assert asking.found(rule("=") | {"value": None}) == {"never", "unset"}


PEOPLE = {"both": "ab", "first": "a", "second": "b", "none": "c", "unknown": None}
A, B = rule("~", "a"), rule("~", "b")


def test_not_over_several_rules_holds_where_none_of_them_holds(asking: Asking) -> None:
    asking.having(X, **PEOPLE)
    cases: list[tuple[str, list[Any], set[str]]] = [
        ("AND", [A, B], {"both"}),
        ("OR", [A, B], {"both", "first", "second"}),
        ("NOT", [A, B], {"none", "unknown"}),
        ("NOT", [A], {"second", "none", "unknown"}),
        ("NOT", [negated(A), negated(B)], {"both"}),
        ("NOT", [rule("!~", "a")], {"both", "first"}),
        ("AND", [negated(A), B], {"second"}),
        ("OR", [negated(A), B], {"both", "second", "none", "unknown"}),
        ("NOT", [{"operator": "AND", "value": [A, B]}], {"first", "second", "none", "unknown"}),
        ("NOT", [{"operator": "OR", "value": [A, B]}], {"none", "unknown"}),
        ("NOT", [rule("is_unknown"), A], {"second", "none"}),
    ]
    for operator, rules, expected in cases:
        assert asking.found({"operator": operator, "value": rules}) == expected, (operator, rules)


def test_a_rule_and_its_negation_never_hold_together_and_one_always_does(asking: Asking) -> None:
    everybody = {"text": "a", "long": "bab", "number": 1, "real": 0.5, "flag": True, "unknown": None}
    asking.having(X, **everybody)
    for operator in set(A_VALUE) - NEGATIVE:
        asked = rule(operator, A_VALUE[operator])
        others = set(everybody) - asking.found(asked)
        assert asking.found(negated(asked)) == others, operator
        opposite = {"=": "!=", "IN": "NIN", "~": "!~"}.get(operator)
        assert opposite is None or asking.found(rule(opposite, A_VALUE[operator])) == others, operator
