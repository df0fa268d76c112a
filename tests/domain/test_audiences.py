from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain.audiences import PersonFacts, Total, matches, measure_over, where_matches
from collector.values.days import day_bounds
from collector.values.queries import parse, parse_where

NOW = 1_772_366_400_000  # 2026-03-01T12:00:00Z
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
NOTHING = PersonFacts()
BUDAPEST = ZoneInfo("Europe/Budapest")


def holds(query, facts=NOTHING, zone=UTC):
    return matches(parse(query, retention_days=90), facts, NOW, zone)


def attribute(operator, value, stored, field="custom_attributes.x"):
    facts = NOTHING if stored is None else PersonFacts(attributes={field: stored})
    return holds({"field": field, "operator": operator, "value": value}, facts)


def event(field, operator, value=None, name="a", **more):
    rule = {"event": name, "field": field, "operator": operator, **more}
    return rule if value is None else rule | {"value": value}


def happened(**totals):
    return PersonFacts(totals=totals)


def where(field, operator, value, metadata, zone=UTC):
    rules = parse_where([{"field": field, "operator": operator, "value": value}], field="where")
    return where_matches(rules, metadata, NOW, zone)


# two-valued

POSITIVE = [("=", "a"), ("IN", ["a"]), (">", 1), ("<", 1), (">=", 1), ("<=", 1), ("~", "a"), ("^", "a"), ("$", "a")]
NEGATIVE = [("!=", "a"), ("NIN", ["a"]), ("!~", "a")]


@pytest.mark.parametrize(("operator", "value"), POSITIVE)
def test_a_positive_comparison_with_an_unknown_is_false(operator, value):
    assert not attribute(operator, value, None)


@pytest.mark.parametrize(("operator", "value"), NEGATIVE)
def test_a_negative_comparison_with_an_unknown_is_true(operator, value):
    assert attribute(operator, value, None)


@pytest.mark.parametrize(("operator", "value"), [("~", "1"), ("^", "1"), ("$", "1")])
def test_text_operators_find_a_number_unknown(operator, value):
    assert not attribute(operator, value, 1)
    assert attribute("!~", value, 1)


@pytest.mark.parametrize("stored", ["5", True])
@pytest.mark.parametrize("operator", [">", "<", ">=", "<="])
def test_order_finds_what_is_no_number_unknown(stored, operator):
    assert not attribute(operator, 1, stored)


def test_numbers_and_numeric_text_differ():
    assert not attribute("=", 1, "1")
    assert not attribute("IN", ["1"], 1)
    assert attribute("!=", "1", 1)


def test_a_boolean_is_no_number():
    assert not attribute("=", 1, True)
    assert not attribute("IN", [0, 1], False)
    assert attribute("=", True, True)
    assert attribute("IN", [True], True)


def test_a_whole_number_equals_itself_with_a_point():
    assert attribute("=", 3.0, 3)
    assert attribute("IN", [3.0], 3)


def test_whole_numbers_are_exact_beyond_2_53():
    assert not attribute("=", 2**53, 2**53 + 1)
    assert attribute(">", 2**53, 2**53 + 1)


def test_unknown_and_known():
    known = PersonFacts(attributes={"email": "a@b"})
    assert holds({"field": "email", "operator": "is_unknown"})
    assert not holds({"field": "email", "operator": "is_unknown"}, known)
    assert holds({"field": "email", "operator": "has_any_value"}, known)


# text


@pytest.mark.parametrize(
    ("operator", "value", "stored"),
    [
        ("~", "STRASSE", "Alte Straße 5"),
        ("^", "straße", "STRASSE 5"),
        ("~", "i\u0307stanbul", "İSTANBUL"),
        ("$", "CAFÉ", "cafe\u0301"),
        ("~", "😀", "a😀b"),
        ("~", "", "anything"),
    ],
)
def test_contains_starts_and_ends_compare_folded(operator, value, stored):
    assert attribute(operator, value, stored)


def test_equality_and_sets_heed_case():
    assert not attribute("=", "pro", "Pro")
    assert not attribute("IN", ["pro"], "Pro")


# groups

TRUE = {"field": "email", "operator": "is_unknown"}
FALSE = {"field": "email", "operator": "has_any_value"}


@pytest.mark.parametrize(
    ("operator", "rules", "expected"),
    [
        ("AND", [TRUE, TRUE], True),
        ("AND", [TRUE, FALSE], False),
        ("OR", [FALSE, TRUE], True),
        ("OR", [FALSE, FALSE], False),
        ("NOT", [FALSE, FALSE], True),
        ("NOT", [FALSE, TRUE], False),
        ("NOT", [TRUE], False),
    ],
)
def test_not_holds_where_none_holds(operator, rules, expected):
    assert holds({"operator": operator, "value": rules}) is expected


def test_the_deepest_query_is_evaluated():
    query = TRUE
    for _ in range(199):
        query = {"operator": "NOT", "value": [query]}
    assert not holds(query)


# several values


def test_a_positive_rule_asks_for_any_tag_and_a_negative_one_for_none():
    tagged = PersonFacts(attributes={"tag_id": ("1", "2")})
    assert holds({"field": "tag_id", "operator": "=", "value": "2"}, tagged)
    assert not holds({"field": "tag_id", "operator": "!=", "value": "2"}, tagged)
    assert holds({"field": "tag_id", "operator": "!=", "value": "3"}, tagged)
    assert holds({"field": "tag_id", "operator": "has_any_value"}, tagged)


# times


def signed_up(operator, value, age_ms, zone=UTC):
    at = (NOW - age_ms) / 1_000
    return holds({"field": "signed_up_at", "operator": operator, "value": value}, PersonFacts(attributes={"signed_up_at": at}), zone)


@pytest.mark.parametrize(
    ("operator", "age_ms", "expected"),
    [
        ("more_than_days_ago", 2 * DAY, False),
        ("more_than_days_ago", 2 * DAY + 1, True),
        ("less_than_days_ago", 2 * DAY, False),
        ("less_than_days_ago", 2 * DAY - 1, True),
        ("less_than_days_ago", 0, True),
        ("less_than_days_ago", -1, False),
        ("exactly_days_ago", 2 * DAY - 1, False),
        ("exactly_days_ago", 2 * DAY, True),
        ("exactly_days_ago", 3 * DAY - 1, True),
        ("exactly_days_ago", 3 * DAY, False),
        ("exactly_hours_ago", 3 * HOUR - 1, True),
        ("exactly_minutes_ago", 2 * 60 * SECOND, True),
        ("more_than_hours_ago", 2 * HOUR + 1, True),
        ("less_than_minutes_ago", 119 * SECOND, True),
        ("in_less_than_days", -2 * DAY, False),
        ("in_less_than_days", -2 * DAY + 1, True),
        ("in_less_than_days", 1, False),
        ("in_more_than_days", -2 * DAY, False),
        ("in_more_than_days", -2 * DAY - 1, True),
        ("in_more_than_days", 5 * DAY, False),
        ("in_more_than_hours", -3 * HOUR, True),
    ],
)
def test_relative_days_are_rolling_24_hours(operator, age_ms, expected):
    assert signed_up(operator, 2, age_ms) is expected


def test_an_unknown_time_meets_no_relative_time():
    assert not holds({"field": "signed_up_at", "operator": "more_than_days_ago", "value": 0})
    assert not holds({"field": "signed_up_at", "operator": "before", "value": "2030-01-01"})


def test_order_of_times_is_by_instant():
    assert signed_up(">", "2026-03-01T11:59:59Z", 0)
    assert not signed_up(">", "2026-03-01T12:00:00Z", 0)
    assert signed_up("=", NOW // 1_000, 0)


def test_a_text_under_a_date_is_unknown():
    assert not holds({"field": "signed_up_at", "operator": "has_any_value"}, PersonFacts(attributes={"signed_up_at": "soon"}))


def on(day, moment, zone):
    at_ms = int(datetime.fromisoformat(moment).timestamp() * 1_000)
    facts = happened(a=Total(1, at_ms, at_ms))
    return {name for name in ("before", "on", "after") if holds(event("last", name, day), facts, zone)}


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-28T22:59:59Z", {"before"}),
        ("2026-02-28T23:00:00Z", {"on"}),
        ("2026-03-01T22:59:59Z", {"on"}),
        ("2026-03-01T23:00:00Z", {"after"}),
    ],
)
def test_days_are_those_of_the_sites_zone(moment, expected):
    assert on("2026-03-01", moment, BUDAPEST) == expected


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Budapest", "2026-03-29", 23),
        ("Europe/Budapest", "2026-10-25", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),  # the clock goes forward at midnight
        ("America/Havana", "2026-11-01", 25),  # midnight comes twice
        ("Pacific/Apia", "2011-12-30", 0),  # left out
    ],
)
def test_daylight_saving_makes_days_longer_and_shorter(zone, day, hours):
    begin, end = day_bounds(date.fromisoformat(day), ZoneInfo(zone))
    assert (end - begin) / HOUR == hours


@given(st.dates(), st.sampled_from(["UTC", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "America/Havana"]))
def test_each_day_ends_where_the_next_one_begins(day, zone):
    begin, end = day_bounds(day, ZoneInfo(zone))
    assert begin <= end
    if day != date.max:
        assert day_bounds(day + timedelta(days=1), ZoneInfo(zone))[0] == end


# events


def test_a_missing_event_has_count_0_and_unknown_times():
    assert holds(event("count", "=", 0))
    assert holds(event("count", "<", 1))
    assert holds(event("first", "is_unknown"))
    assert not holds(event("last", "more_than_days_ago", 0))


def test_more_than_two_reports():
    query = event("count", ">", 2)
    assert not holds(query, happened(a=Total(2, 1, 2)))
    assert holds(query, happened(a=Total(3, 1, 2)))


def test_the_first_report_more_than_five_days_ago():
    query = event("first", "more_than_days_ago", 5)
    assert holds(query, happened(a=Total(2, NOW - 6 * DAY, NOW)))
    assert not holds(query, happened(a=Total(2, NOW - 4 * DAY, NOW)))


CART = event("last", ">", {"event": "checked-out", "field": "last"}, name="cart")


@pytest.mark.parametrize(
    ("cart", "checkout", "expected"),
    [(None, None, False), (5, None, True), (None, 5, False), (5, 4, True), (4, 5, False), (5, 5, False)],
)
def test_cart_after_the_last_checkout(cart, checkout, expected):
    totals = {name: Total(1, at, at) for name, at in (("cart", cart), ("checked-out", checkout)) if at is not None}
    assert holds(CART, PersonFacts(totals=totals)) is expected


@pytest.mark.parametrize(("operator", "expected"), [(">", True), (">=", True), ("!=", True), ("<", False), ("<=", False), ("=", False)])
def test_a_missing_measure_is_older_than_everything(operator, expected):
    query = event("last", operator, {"event": "missing", "field": "last"})
    assert holds(query, happened(a=Total(1, -5, -5))) is expected


def test_counts_compare_with_counts():
    query = event("count", ">", {"event": "b", "field": "count"})
    assert holds(query, happened(a=Total(1, 1, 1)))
    assert not holds(query, happened(a=Total(1, 1, 1), b=Total(1, 1, 1)))


def test_a_measure_over_the_timeline_is_taken_from_what_was_measured():
    query = parse(event("count", ">", 1, within_days=7), retention_days=90)
    measured = PersonFacts(totals={"a": Total(9, 1, 2)}, measures={query.measure.key: Total(1, 1, 1)})
    assert not matches(query, measured, NOW, UTC)


def test_a_measure_that_was_not_loaded_is_an_error_and_no_guess():
    with pytest.raises(KeyError):
        holds(event("count", "=", 0, within_days=7))


# messages


def test_what_a_person_did_with_a_message_is_a_time():
    seen = PersonFacts(messages={"m": {"seen": NOW - 2 * DAY}})
    rule = {"message": "m", "field": "seen", "operator": "more_than_days_ago", "value": 1}
    assert holds(rule, seen)
    assert not holds(rule)
    assert holds({"message": "m", "field": "clicked", "operator": "is_unknown"}, seen)


def test_an_event_after_a_message_was_seen():
    query = event("last", ">", {"message": "m", "field": "seen"})
    assert holds(query, PersonFacts(totals={"a": Total(1, 5, 5)}, messages={"m": {"seen": 4}}))
    assert not holds(query, PersonFacts(totals={"a": Total(1, 5, 5)}, messages={"m": {"seen": 6}}))


# metadata


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("metadata.plan", "=", "pro", True),
        ("metadata.Plan", "=", "pro", True),
        ("metadata.plan", "~", "PR", True),
        ("metadata.missing", "=", "pro", False),
        ("metadata.missing", "!=", "pro", True),
        ("metadata.seats", ">", 4, True),
        ("metadata.price.amount", ">=", 500, True),
        ("metadata.price.currency", "=", "EUR", True),
        ("metadata.price", ">", {"amount": 499, "currency": "EUR"}, True),
        ("metadata.price", ">", {"amount": 1, "currency": "JPY"}, False),
        ("metadata.price", "!=", {"amount": 500, "currency": "jpy"}, True),
        ("metadata.price", "=", {"amount": 500, "currency": "eur"}, True),
        ("metadata.price", ">", 1, False),
        ("metadata.order.value", "=", "Order 7", True),
        ("metadata.order.url", "^", "https://", True),
        ("metadata.plan.value", "=", "pro", False),
        ("metadata.paid_at", "less_than_days_ago", 1, True),
        ("metadata.paid_at", "on", "2026-03-01", True),
    ],
)
def test_metadata_of_every_type(field, operator, value, expected):
    metadata = {
        "plan": "pro",
        "seats": 5,
        "price": {"amount": 500, "currency": "eur"},
        "order": {"url": "https://a.b", "value": "Order 7"},
        "paid_at": NOW // 1_000 - 60,
    }
    assert where(field, operator, value, metadata) is expected


def test_all_conditions_must_hold():
    rules = parse_where(
        [{"field": "metadata.a", "operator": "=", "value": 1}, {"field": "metadata.b", "operator": "=", "value": 2}], field="where"
    )
    assert where_matches(rules, {"a": 1, "b": 2}, NOW, UTC)
    assert not where_matches(rules, {"a": 1, "b": 3}, NOW, UTC)


def measured(events, **more):
    return measure_over(events, parse(event("count", ">", 0, **more), retention_days=90).measure, NOW, UTC)


def test_a_measure_counts_the_events_that_meet_the_conditions():
    events = [(5, {"plan": "pro"}), (9, {"plan": "free"}), (3, {"plan": "pro"})]
    assert measured(events, where=[{"field": "metadata.plan", "operator": "=", "value": "pro"}]) == Total(2, 3, 5)


def test_a_window_holds_ages_below_its_days():
    events = [(NOW - 2 * DAY, {}), (NOW - 2 * DAY + 1, {}), (NOW, {})]
    assert measured(events, within_days=2) == Total(2, NOW - 2 * DAY + 1, NOW)


def test_nothing_measured_is_never():
    assert measured([], within_days=2) == Total(0, None, None)
