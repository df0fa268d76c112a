"""Events: count, first and last, over all time or over the timeline with conditions, and one measure beside another."""

from itertools import product
from typing import Any

import pytest

from collector.values.clock import DAY, HOUR
from collector.values.errors import Refusal
from tests.domain.queries.conftest import NOW
from tests.support.asking import Asking
from tests.support.world import lead, user


def count(operator: str, value: Any, event: str = "saved", **more: Any) -> dict[str, Any]:
    return {"event": event, "field": "count", "operator": operator, "value": value, **more}


def when(event: str, field: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"event": event, "field": field, "operator": operator, **more} | ({} if value is None else {"value": value})


SCOPES: list[dict[str, Any]] = [{}, {"within_days": 30}, {"where": [{"field": "metadata.a", "operator": "is_unknown"}]}]


def test_a_count_is_compared_with_a_number_and_a_missing_event_counts_0(asking: Asking) -> None:
    asking.doing("saved", never=[], once=[5], twice=[5, 6], thrice=[5, 6, 7])
    cases: list[tuple[str, Any, set[str]]] = [
        ("=", 0, {"never"}), ("!=", 2, {"never", "once", "thrice"}), (">", 1, {"twice", "thrice"}), (">=", 2, {"twice", "thrice"}),
        ("<", 1, {"never"}), ("<=", 1.5, {"never", "once"}), ("IN", [0, 2], {"never", "twice"}), ("NIN", [0, 2], {"once", "thrice"}),
        ("=", 1.0, {"once"}), (">", -1, {"never", "once", "twice", "thrice"}), ("<", 10**400, {"never", "once", "twice", "thrice"}),
    ]  # fmt: skip
    for (operator, value, expected), more in product(cases, SCOPES):
        assert asking.found(count(operator, value, **more)) == expected, (operator, value, more)


def test_first_and_last_are_the_earliest_and_the_latest_whatever_the_order_of_arrival(asking: Asking) -> None:
    asking.doing("saved", ada=[2 * DAY, 5 * DAY, DAY])
    assert asking.found(when("saved", "first", "exactly_days_ago", 5)) == {"ada"}
    assert asking.found(when("saved", "last", "exactly_days_ago", 1)) == {"ada"}


def test_a_merged_person_has_what_all_its_identities_did(asking: Asking) -> None:
    world = asking.world
    world.send(lead("visitor"), world.event("saved", at=NOW - 5 * DAY), world.event("saved", at=NOW - 3 * DAY))
    world.send(user("ada"), world.event("saved"), lead=lead("visitor"))
    for more in SCOPES:
        assert asking.found(count("=", 3, **more)) == {"ada"}
        assert asking.found(when("saved", "first", "more_than_days_ago", 4, **more)) == {"ada"}


# Over the timeline


def test_a_window_holds_what_is_younger_than_its_days_to_the_millisecond(asking: Asking) -> None:
    asking.doing("saved", inside=[2 * DAY - 1], at=[2 * DAY], outside=[2 * DAY + 1])
    assert asking.found(count(">", 0, within_days=2)) == {"inside"}
    assert asking.found(count("=", 0, within_days=2)) == {"at", "outside"}
    where = [{"field": "metadata.a", "operator": "is_unknown"}]
    assert asking.found(count(">", 0, within_days=2, where=where)) == {"inside"}


def test_a_window_has_no_end_in_the_future(asking: Asking) -> None:
    """A server's clock may be an hour ahead; its event counts at once, but is not yet so many days old."""
    asking.doing("saved", ahead=[-HOUR])
    for more in SCOPES:
        assert asking.found(count("=", 1, **more)) == {"ahead"}
        assert asking.found(when("saved", "last", "less_than_days_ago", 1, **more)) == set()
        assert asking.found(when("saved", "last", "in_less_than_days", 1, **more)) == {"ahead"}


def test_without_a_window_totals_reach_further_back_than_the_timeline(asking: Asking) -> None:
    asking.doing("saved", ada=[80 * DAY])
    asking.world.clock.advance(20 * DAY)
    assert asking.found(count("=", 1)) == {"ada"}
    assert asking.found(count("=", 1, within_days=90)) == set()
    assert asking.found(count("=", 1, where=[{"field": "metadata.a", "operator": "is_unknown"}])) == set()


def test_a_window_beyond_the_retention_is_refused_and_the_place_named(asking: Asking) -> None:
    asking.doing("saved", ada=[0])
    assert asking.found(count("=", 1, within_days=90)) == {"ada"}
    asked = {"operator": "NOT", "value": [count("=", 1), count("=", 1, within_days=91)]}
    with pytest.raises(Refusal, match="91; expected whole days from 1 to 90") as caught:
        asking.found(asked)
    assert caught.value.field == "query.value[1].within_days"


# Metadata


ORDERS = {
    "euro": {"plan": "pro", "seats": 5, "price": {"amount": 4_900, "currency": "eur"}, "paid": True, "due_date": NOW // 1_000 + 3_600},
    "yen": {"Plan": "free", "seats": "5", "price": {"amount": 5_000, "currency": "jpy"}, "paid": False, "due_date": NOW // 1_000 - 259_200},
    "linked": {"plan": {"url": "https://shop.example/Straße", "value": "Order 7"}, "page": "https://shop.example/a", "price": 4_900},
    "empty": {},
}  # fmt: skip
EVERYBODY = set(ORDERS)


def compare_where(asking: Asking, *cases: tuple[str, str, Any, set[str]]) -> None:
    asking.doing("ordered", **{name: [metadata] for name, metadata in ORDERS.items()})
    for field, operator, value, expected in cases:
        where = [{"field": f"metadata.{field}", "operator": operator} | ({} if value is None else {"value": value})]
        assert asking.found(count("=", 1, "ordered", where=where)) == expected, where
        assert asking.found(count("=", 1, "ordered", where=where, within_days=90)) == expected, where
        assert asking.found(when("ordered", "last", "has_any_value", where=where)) == expected, where
        assert asking.found(count("=", 0, "ordered", where=where)) == EVERYBODY - expected, where


def test_text_is_found_whatever_the_case_of_its_key(asking: Asking) -> None:
    compare_where(
        asking,
        ("plan", "=", "pro", {"euro"}),
        ("PLAN", "IN", ["free", "none"], {"yen"}),
        ("plan", "!=", "pro", EVERYBODY - {"euro"}),
        ("plan", "^", "PR", {"euro"}),
        ("plan", "has_any_value", None, {"euro", "yen", "linked"}),
        ("plan", "is_unknown", None, {"empty"}),
    )


def test_numbers_and_booleans_of_metadata_are_compared_by_type(asking: Asking) -> None:
    compare_where(
        asking,
        ("seats", "=", 5, {"euro"}),
        ("seats", "=", "5", {"yen"}),
        ("seats", ">", 4.5, {"euro"}),
        ("seats", "NIN", [5], EVERYBODY - {"euro"}),
        ("paid", "=", True, {"euro"}),
        ("paid", "=", False, {"yen"}),
        ("paid", "=", 1, set()),
        ("paid", "!=", True, EVERYBODY - {"euro"}),
    )


def test_money_is_compared_within_its_currency(asking: Asking) -> None:
    compare_where(
        asking,
        ("price", "=", {"amount": 4_900, "currency": "EUR"}, {"euro"}),
        ("price", "!=", {"amount": 4_900, "currency": "eur"}, EVERYBODY - {"euro"}),
        ("price", "IN", [{"amount": 4_900, "currency": "EUR"}, {"amount": 5_000, "currency": "eur"}, 5_000], {"euro"}),
        ("price", "NIN", [{"amount": 4_900, "currency": "eur"}, "pro"], EVERYBODY - {"euro"}),
        ("plan", "IN", ["pro", {"amount": 4_900, "currency": "eur"}], {"euro"}),
        ("price", ">", {"amount": 4_899, "currency": "eur"}, {"euro"}),
        ("price", "<", {"amount": 10_000, "currency": "jpy"}, {"yen"}),
        ("price", ">=", {"amount": 1, "currency": "usd"}, set()),
        ("price", "<=", {"amount": 4_900, "currency": "Eur"}, {"euro"}),
        ("price", ">", 1, {"linked"}),
        ("price", "=", 4_900, {"linked"}),
        ("price", "~", "eur", set()),
        ("price", "!~", "eur", EVERYBODY),
        ("price", "IN", [4_900], {"linked"}),
        ("price.amount", ">", 4_950, {"yen"}),
        ("price.amount", "IN", [4_900, 5_000], {"euro", "yen"}),
        ("price.currency", "=", "EUR", {"euro"}),
        ("price.currency", "IN", ["JPY", "USD"], {"yen"}),
        ("price.currency", "!=", "eur", EVERYBODY - {"euro"}),
        ("price.currency", "^", "J", {"yen"}),
        ("price.currency", "is_unknown", None, {"linked", "empty"}),
    )


def test_a_rich_link_is_compared_by_its_text_or_its_address_and_a_plain_one_as_text(asking: Asking) -> None:
    compare_where(
        asking,
        ("plan.value", "=", "Order 7", {"linked"}),
        ("plan.value", "~", "ORDER", {"linked"}),
        ("plan.value", "!=", "Order 7", EVERYBODY - {"linked"}),
        ("plan.url", "$", "STRASSE", {"linked"}),
        ("plan.url", "has_any_value", None, {"linked"}),
        ("page", "^", "https://", {"linked"}),
    )


def test_dates_of_metadata_are_compared_as_times(asking: Asking) -> None:
    compare_where(
        asking,
        ("due_date", "in_less_than_days", 1, {"euro"}),
        ("due_date", "in_more_than_minutes", 30, {"euro"}),
        ("due_date", "more_than_days_ago", 2, {"yen"}),
        ("due_date", "exactly_days_ago", 3, {"yen"}),
        ("due_date", "on", "2026-09-21", {"euro"}),
        ("due_date", "before", "2026-09-21", {"yen"}),
        ("DUE_DATE", "after", "2026-09-18", {"euro"}),
        ("due_date", ">", NOW // 1_000, {"euro"}),
        ("due_date", "=", NOW // 1_000 + 3_600, {"euro"}),
        ("due_date", "!=", NOW // 1_000 + 3_600, EVERYBODY - {"euro"}),
        ("due_date", "IN", ["2026-09-21T15:13:20Z"], {"euro"}),
        ("due_date", "is_unknown", None, {"linked", "empty"}),
    )


def test_a_part_that_a_value_has_not_is_unknown(asking: Asking) -> None:
    compare_where(
        asking,
        ("seats.amount", "has_any_value", None, set()),
        ("price.url", "!=", "a", EVERYBODY),
        ("price.value", "=", "eur", set()),
    )


def test_one_event_has_to_meet_all_conditions(asking: Asking) -> None:
    asking.doing("ordered", one=[{"plan": "pro", "seats": 5}], two=[{"plan": "pro", "seats": 1}, {"plan": "free", "seats": 5}])
    where = [{"field": "metadata.plan", "operator": "=", "value": "pro"}, {"field": "metadata.seats", "operator": ">", "value": 3}]
    assert asking.found(count(">", 0, "ordered", where=where)) == {"one"}
    assert asking.found(count("=", 2, "ordered", where=[])) == {"two"}


def test_conditions_that_look_alike_are_measured_apart(asking: Asking) -> None:
    asking.doing("ordered", number=[{"a": 1}], flag=[{"a": True}], text=[{"a": "1"}])
    rules = [count(">", 0, "ordered", where=[{"field": "metadata.a", "operator": "=", "value": value}]) for value in (1, True, "1")]
    for rule, expected in zip(rules, ("number", "flag", "text"), strict=True):
        assert asking.found(rule) == {expected}
    assert asking.found({"operator": "OR", "value": rules}) == {"number", "flag", "text"}
    assert asking.found({"operator": "AND", "value": rules}) == set()


# One measure beside another

CARTS: dict[str, tuple[list[int], list[int]]] = {
    "waiting": ([5], [9]), "bought": ([9], [5]), "at_once": ([5], [5]), "never_bought": ([5], []),
    "only_bought": ([], [5]), "neither": ([], []),
}  # fmt: skip


def test_a_missing_measure_counts_as_older_than_everything(asking: Asking) -> None:
    for name, (carts, checkouts) in CARTS.items():
        asking.doing("cart", **{name: carts}).doing("checked-out", **{name: checkouts})
    cases: list[tuple[str, set[str]]] = [
        (">", {"waiting", "never_bought"}),
        (">=", {"waiting", "never_bought", "at_once"}),
        ("<", {"bought"}),
        ("<=", {"bought", "at_once"}),
        ("=", {"at_once"}),
        ("!=", {"waiting", "never_bought", "bought", "only_bought", "neither"}),
    ]
    for (operator, expected), field, more in product(cases, ("first", "last"), SCOPES):
        asked = when("cart", field, operator, {"event": "checked-out", "field": field, **more}, **more)
        assert asking.found(asked) == expected, asked
        assert asking.found({"operator": "NOT", "value": [asked]}) == set(CARTS) - expected, asked


def test_counts_are_compared_with_counts(asking: Asking) -> None:
    asking.doing("cart", a=[1, 2], b=[1], c=[], d=[1]).doing("checked-out", a=[1], b=[1, 2], c=[], d=[1])
    other = {"event": "checked-out", "field": "count"}
    assert asking.found(count(">", other, "cart")) == {"a"}
    assert asking.found(count("<", other, "cart")) == {"b"}
    assert asking.found(count("=", other, "cart")) == {"c", "d"}
    assert asking.found(count("!=", other, "cart")) == {"a", "b"}
    assert asking.found(count(">=", {**other, "event": "never"}, "cart")) == {"a", "b", "c", "d"}
    assert asking.found(count(">", {**other, "within_days": 1}, "cart", where=[{"field": "metadata.a", "operator": "is_unknown"}])) == {"a"}


def test_attributes_are_compared_with_measures(asking: Asking) -> None:
    asking.doing("saved", a=[DAY], b=[DAY, DAY], c=[]).having("custom_attributes.seats", a=2, b=2, c="2")
    asking.having("custom_attributes.due_at", a=NOW // 1_000, b=NOW // 1_000 - 90_000, c=NOW // 1_000)
    seats = {"field": "custom_attributes.seats", "value": {"event": "saved", "field": "count"}}
    assert asking.found({**seats, "operator": ">"}) == {"a"}
    assert asking.found({**seats, "operator": "="}) == {"b"}
    assert asking.found({**seats, "operator": "!="}) == {"a", "c"}
    due = {"field": "custom_attributes.due_at", "value": {"event": "saved", "field": "last"}}
    assert asking.found({**due, "operator": ">"}) == {"a", "c"}
    assert asking.found({**due, "operator": "<"}) == {"b"}
    assert asking.found({"field": "last_seen_at", "operator": ">", "value": {"event": "saved", "field": "last"}}) == set()
    assert asking.found({"field": "page_view_count", "operator": "<", "value": {"event": "saved", "field": "count"}}) == {"a", "b"}


def test_text_is_compared_with_no_measure_but_differs_from_each(asking: Asking) -> None:
    asking.doing("saved", a=[DAY]).having("email", a="a@shop.example", b=None)
    other = {"event": "saved", "field": "count"}
    for field in ("email", "external_id", "role", "email_domain"):
        assert asking.found({"field": field, "operator": "=", "value": other}) == set()
        assert asking.found({"field": field, "operator": "!=", "value": other}) == {"a", "b"}
