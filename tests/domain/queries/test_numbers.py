"""Numbers are exact whatever their size, differ from numeric texts, and a boolean is no number. Lists may hold all of them."""

from typing import Any

import pytest

from tests.support.asking import Asking
from tests.support.world import lead

X = "custom_attributes.x"
EDGE = 2**53


def rule(operator: str, value: Any, field: str = X) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


CASES: list[tuple[str, Any, set[str]]] = [
    ("=", EDGE, {"edge", "double"}),
    ("=", float(EDGE), {"edge", "double"}),
    ("=", EDGE + 1, {"above"}),
    ("=", EDGE - 1, {"below"}),
    (">", EDGE, {"above", "large"}),
    (">=", EDGE, {"edge", "double", "above", "large"}),
    ("<", EDGE, {"below", "small"}),
    ("<=", EDGE, {"below", "edge", "double", "small"}),
    (">", EDGE - 1, {"edge", "double", "above", "large"}),
    ("<", EDGE + 1, {"below", "edge", "double", "small"}),
    ("<=", float(EDGE), {"below", "edge", "double", "small"}),
    ("IN", [EDGE, 1], {"edge", "double"}),
    ("IN", [EDGE + 1, float(EDGE + 2)], {"above"}),
    ("NIN", [EDGE], {"below", "above", "large", "small"}),
    ("=", 10**30, {"large"}),
    ("=", 1e30, set()),  # the nearest double is another number
    ("<", 1e30 * 1.0001, {"below", "edge", "double", "above", "large", "small"}),
    (">", 10**400, set()),
    (">", -(10**400), {"below", "edge", "double", "above", "large"}),
    ("<=", -(10**400), {"small"}),
]


SUMS = {"below": EDGE - 1, "edge": EDGE, "double": float(EDGE), "above": EDGE + 1, "large": 10**30, "small": -(10**400)}


def test_whole_numbers_of_attributes_are_exact_beyond_2_53(asking: Asking) -> None:
    asking.having(X, **SUMS)
    for operator, value, expected in CASES:
        assert asking.found(rule(operator, value)) == expected, (operator, value)


def test_whole_numbers_of_metadata_are_exact_beyond_2_53(asking: Asking) -> None:
    asking.doing("paid", **{name: [{"sum": number}] for name, number in SUMS.items()})
    for operator, value, expected in CASES:
        where = [rule(operator, value, "metadata.sum")]
        assert asking.found({"event": "paid", "field": "count", "operator": ">", "value": 0, "where": where}) == expected, where


MIXED = {
    "one": 1, "real": 1.0, "text": "1", "yes": True, "zero": 0, "negative": -0.0, "no": False, "word": "true", "half": 0.5, "unknown": None,
}  # fmt: skip
EVERYBODY = set(MIXED)


BY_TYPE: list[tuple[str, Any, set[str]]] = [
    ("=", 1, {"one", "real"}),
    ("=", 1.0, {"one", "real"}),
    ("=", "1", {"text"}),
    ("=", True, {"yes"}),
    ("=", "true", {"word"}),
    ("=", 0, {"zero", "negative"}),
    ("=", -0.0, {"zero", "negative"}),
    ("=", False, {"no"}),
    ("!=", 1, EVERYBODY - {"one", "real"}),
    ("!=", "1", EVERYBODY - {"text"}),
    ("!=", True, EVERYBODY - {"yes"}),
    (">", 0, {"one", "real", "half"}),
    (">=", 0, {"one", "real", "zero", "negative", "half"}),
    ("<", 1, {"zero", "negative", "half"}),
    ("<=", 1, {"one", "real", "zero", "negative", "half"}),
    ("~", "1", {"text"}),
    ("^", "T", {"word"}),
    ("$", "E", {"word"}),
    ("!~", "1", EVERYBODY - {"text"}),
    ("IN", [1, "true"], {"one", "real", "word"}),
    ("IN", [True, "1"], {"yes", "text"}),
    ("IN", [True, 1], {"yes", "one", "real"}),
    ("IN", [False, 0.5], {"no", "half"}),
    ("IN", ["2", 2, False, "x"], {"no"}),
    ("NIN", [1, True], EVERYBODY - {"one", "real", "yes"}),
    ("NIN", ["1", 0, False], EVERYBODY - {"text", "zero", "negative", "no"}),
]


def test_attributes_are_compared_by_type(asking: Asking) -> None:
    asking.having(X, **MIXED)
    for operator, value, expected in BY_TYPE:
        assert asking.found(rule(operator, value)) == expected, (operator, value)


def test_metadata_are_compared_by_type(asking: Asking) -> None:
    asking.doing("paid", **{name: [{} if one is None else {"x": one}] for name, one in MIXED.items()})
    for operator, value, expected in BY_TYPE:
        where = [rule(operator, value, "metadata.x")]
        assert asking.found({"event": "paid", "field": "count", "operator": "=", "value": 1, "where": where}) == expected, where


def test_a_list_may_be_as_long_as_a_thousand_values_of_any_type(asking: Asking) -> None:
    asking.having(X, **MIXED)
    long = [*range(5, 900), *(f"text {number}" for number in range(100)), True, "1", 0.5]
    assert asking.found(rule("IN", long)) == {"yes", "text", "half"}
    assert asking.found(rule("NIN", long)) == EVERYBODY - {"yes", "text", "half"}


@pytest.mark.parametrize("field", ["session_count", "page_view_count"])
def test_numbers_that_are_worked_out_are_never_unknown(asking: Asking, field: str) -> None:
    asking.having(X, none=1)
    for name, number in (("one", 1), ("two", 2)):
        for place in range(number):
            asking.world.send(lead(name), asking.world.event(visit=f"01a2104a-324e-7080-a9b1-02515962ad{place:02x}"))
    cases: list[tuple[str, Any, set[str]]] = [
        ("=", 0, {"none"}),
        ("=", 1.0, {"one"}),
        ("=", "1", set()),
        ("=", True, set()),
        ("!=", 1, {"none", "two"}),
        (">", 1, {"two"}),
        (">=", 0.5, {"one", "two"}),
        ("<", 10**400, {"none", "one", "two"}),
        ("IN", [2, "1", True], {"two"}),
        ("NIN", [0], {"one", "two"}),
        ("~", "1", set()),
        ("!~", "1", {"none", "one", "two"}),
        ("has_any_value", None, {"none", "one", "two"}),
    ]
    for operator, value, expected in cases:
        asked = {"field": field, "operator": operator} | ({} if value is None else {"value": value})
        assert asking.found(asked) == expected, asked
