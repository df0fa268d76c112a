import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.queries import parse, parse_where
from collector.values.query_tree import (
    AttributeRule,
    EventMeasure,
    EventRule,
    Group,
    MessageMeasure,
    MessageRule,
    needs,
    to_json,
)
from tests.values.strategies import JSON, objects


def tree(raw):
    return parse(raw, retention_days=90)


def refused(raw):
    with pytest.raises(Refusal) as caught:
        tree(raw)
    assert caught.value.code == Reason.QUERY_INVALID
    return caught.value


def rule(field="email", operator="=", value="a"):
    return {"field": field, "operator": operator, "value": value}


def count(operator=">", value=2, **more):
    return {"event": "created-report", "field": "count", "operator": operator, "value": value, **more}


EVERY_RULE = [
    rule(),
    rule("custom_attributes.plan", "!=", "pro"),
    rule("custom_attributes.plan", "IN", ["pro", 1, True, 2.5]),
    rule("custom_attributes.plan", "NIN", ["pro"]),
    rule("custom_attributes.seats", ">=", 5),
    rule("company.name", "~", "Straße"),
    rule("name", "!~", ""),
    rule("name", "^", "É"),
    rule("name", "$", "x"),
    {"field": "email", "operator": "is_unknown"},
    {"field": "email", "operator": "has_any_value"},
    rule("signed_up_at", ">", 1_700_000_000),
    rule("signed_up_at", "<=", "2026-03-01T10:00:00Z"),
    rule("signed_up_at", "before", "2026-03-01"),
    rule("signed_up_at", "after", "2026-03-01"),
    rule("signed_up_at", "on", "2026-03-01"),
    rule("custom_attributes.trial_ends_at", "in_less_than_days", 3),
    rule("custom_attributes.trial_ends_at", "in_more_than_hours", 0.5),
    rule("last_seen_at", "more_than_days_ago", 5),
    rule("last_seen_at", "less_than_minutes_ago", 5),
    rule("last_seen_at", "exactly_hours_ago", 5),
    rule("signed_up_at", "<", {"event": "checked-out", "field": "first"}),
    rule("page_view_count", ">", {"event": "checked-out", "field": "count"}),
    count(),
    count("IN", [1, 2]),
    count("=", {"event": "exported-report", "field": "count", "within_days": 7}),
    count(within_days=30, where=[rule("metadata.plan", "=", "pro"), rule("metadata.price.amount", ">", 100)]),
    count(where=[rule("metadata.price", "IN", [{"amount": 5, "currency": "eur"}, 7])]),
    count(where=[rule("metadata.price", ">", {"amount": 5, "currency": "eur"}), rule("metadata.paid_at", "less_than_days_ago", 3)]),
    {"event": "added-to-cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}},
    {"event": "added-to-cart", "field": "first", "operator": "is_unknown"},
    {"event": "added-to-cart", "field": "first", "operator": "more_than_days_ago", "value": 5},
    {"message": "m1", "field": "seen", "operator": "has_any_value"},
    {"message": "m1", "field": "clicked", "operator": ">", "value": {"message": "m2", "field": "dismissed"}},
    {"operator": "AND", "value": [rule(), {"operator": "OR", "value": [rule(), {"operator": "NOT", "value": [rule(), count()]}]}]},
]


@pytest.mark.parametrize("raw", EVERY_RULE)
def test_a_query_is_written_as_it_was_read(raw):
    node = tree(raw)
    assert to_json(node) == raw
    assert tree(to_json(node)) == node


def test_each_kind_of_rule_has_its_node():
    assert isinstance(tree(rule()), AttributeRule)
    assert isinstance(tree(count()), EventRule)
    assert isinstance(tree({"message": "m", "field": "goal", "operator": "is_unknown"}), MessageRule)
    assert isinstance(tree({"operator": "NOT", "value": [rule()]}), Group)


def test_equality_with_null_asks_whether_anything_is_known():
    assert tree(rule("email", "=", None)) == tree({"field": "email", "operator": "is_unknown"})
    assert tree(rule("email", "!=", None)) == tree({"field": "email", "operator": "has_any_value"})


def test_names_are_cleaned_as_they_were_when_stored():
    assert tree(rule("custom_attributes. cafe\u0301 ")).field == "custom_attributes.café"
    assert tree(count() | {"event": " cafe\u0301 "}).measure.event == "café"


REFUSED = [
    (None, "query"),
    ([], "query"),
    ({}, "query"),
    ({"operator": "XOR", "value": [rule()]}, "query.operator"),
    ({"operator": "and", "value": [rule()]}, "query.operator"),
    ({"operator": "AND", "value": []}, "query.value"),
    ({"operator": "AND", "value": rule()}, "query.value"),
    ({"operator": "AND", "value": [rule(), rule(operator="is")]}, "query.value[1].operator"),
    ({"operator": "AND", "value": [{"operator": "NOT", "value": [5]}]}, "query.value[0].value[0]"),
    (rule("plan"), "query.field"),
    (rule("custom_attributes."), "query.field"),
    (rule("custom_attributes.a.b"), "query.field"),
    (rule(5), "query.field"),
    (rule() | {"extra": 1}, "query"),
    ({"field": "email", "operator": "="}, "query.value"),
    (rule(operator="is_unknown"), "query.value"),
    (rule(value={"a": 1}), "query.value"),
    (rule(value="a\x00"), "query.value"),
    (rule(operator="~", value=5), "query.value"),
    (rule(operator=">", value="5"), "query.value"),
    (rule(operator="IN", value="a"), "query.value"),
    (rule(operator="IN", value=[]), "query.value"),
    (rule(operator="IN", value=["a", None]), "query.value[1]"),
    (rule(operator="IN", value=["a"] * 1001), "query.value"),
    (rule(operator="more_than_days_ago", value=5), "query.operator"),
    (rule("signed_up_at", "~", "2026"), "query.operator"),
    (rule("signed_up_at", ">", "soon"), "query.value"),
    (rule("signed_up_at", ">", 1_700_000_000_000), "query.value"),
    (rule("signed_up_at", ">", "1700000000000"), "query.value"),
    (rule("signed_up_at", ">", "17.5"), "query.value"),
    (rule("signed_up_at", ">", "१७"), "query.value"),
    (rule("signed_up_at", "on", "2026-02-30"), "query.value"),
    (rule("signed_up_at", "on", "2026-03-01T00:00"), "query.value"),
    (rule("signed_up_at", "more_than_days_ago", -1), "query.value"),
    (rule("signed_up_at", "more_than_days_ago", True), "query.value"),
    (rule("signed_up_at", "more_than_days_ago", "5"), "query.value"),
    (rule("signed_up_at", "more_than_days_ago", float("nan")), "query.value"),
    (rule("signed_up_at", ">", {"event": "x", "field": "count"}), "query.value.field"),
    (count(value={"event": "x", "field": "last"}), "query.value.field"),
    (count(value={"message": "x", "field": "seen"}), "query.value.field"),
    (count(value="2"), "query.value"),
    (count(value=True), "query.value"),
    (count("~", "2"), "query.operator"),
    (count() | {"field": "total"}, "query.field"),
    (count() | {"event": ""}, "query.event"),
    (count(within_days=91), "query.within_days"),
    (count(within_days=0), "query.within_days"),
    (count(within_days=True), "query.within_days"),
    (count(value={"event": "x", "field": "count", "within_days": 91}), "query.value.within_days"),
    (count(where={}), "query.where"),
    (count(where=[rule("plan")]), "query.where[0].field"),
    (count(where=[rule("metadata.a"), rule("metadata.a.b")]), "query.where[1].field"),
    (count(where=[rule("metadata.a", "=", {"amount": 1})]), "query.where[0].value.currency"),
    (count(where=[rule("metadata.a", "IN", ["x", {"amount": 1}])]), "query.where[0].value[1].currency"),
    (count(where=[rule("metadata.a", "=", {"url": "https://example.com/", "value": "x"})]), "query.where[0].value"),
    (count(where=[rule("metadata.a", "IN", [{"url": "https://example.com/", "value": "x"}])]), "query.where[0].value[0]"),
    (rule("signed_up_at", ">", "2026-02-30"), "query.value"),
    (rule("signed_up_at", "IN", [1, "0001-13-01"]), "query.value[1]"),
    (count(where=[rule("metadata.a", "=", {"event": "x", "field": "count"})]), "query.where[0].value.event"),
    ({"message": 5, "field": "seen", "operator": "is_unknown"}, "query.message"),
    ({"message": "m", "field": "sent", "operator": "is_unknown"}, "query.field"),
    ({"operator": "AND"}, "query.value"),
    ({"field": "email"}, "query.operator"),
    ({"field": "email", "operator": None, "value": 1}, "query.operator"),
    ({"value": 1}, "query"),
    (rule("custom_attributes.a\x00"), "query.field"),
    (rule(value="\ud800"), "query.value"),
    (rule(value="a" * 2_049), "query.value"),
    (rule(value=10**1_100), "query.value"),
    (rule(operator="^", value=None), "query.value"),
    (rule(operator=">", value=True), "query.value"),
    (rule(operator=">", value=float("inf")), "query.value"),
    (rule(operator="IN", value=["a", "b\x00"]), "query.value[1]"),
    (rule(operator="IN", value=[{"amount": 1, "currency": "eur"}]), "query.value[0]"),
    (rule("signed_up_at", "IN", [1, "soon"]), "query.value[1]"),
    (rule("signed_up_at", "=", True), "query.value"),
    (rule("signed_up_at", "in_less_than_days", 10**8), "query.value"),
    (rule("signed_up_at", "<", {"field": "last"}), "query.value"),
    (rule("segment_id", "~", "a"), "query.operator"),
    (count() | {"event": 5}, "query.event"),
    (count() | {"event": "a" * 121}, "query.event"),
    (count() | {"field": None}, "query.field"),
    (count(within_days="7"), "query.within_days"),
    (count(within_days=1.5), "query.within_days"),
    (count(where=[5]), "query.where[0]"),
    (count(where=[{"field": "metadata.a"}]), "query.where[0].operator"),
    (count(where=[rule("metadata.a$b")]), "query.where[0].field"),
    (count(where=[rule("metadata.a", "more_than_days_ago", 5)]), "query.where[0].operator"),
    (count(where=[rule("metadata.due_at", "~", "2026")]), "query.where[0].operator"),
    (count(where=[rule("metadata.due_at", ">", "soon")]), "query.where[0].value"),
    (count(where=[rule("metadata.a", "=", {"amount": 1.5, "currency": "eur"})]), "query.where[0].value.amount"),
    (count(where=[rule("metadata.a", "=", {"amount": 1, "currency": "euro"})]), "query.where[0].value.currency"),
    (count(where=[rule("metadata.a", "=", {"amount": 1, "currency": "eur", "more": 2})]), "query.where[0].value.more"),
    (count(where=[rule("metadata.a") | {"within_days": 5}]), "query.where[0]"),
    ({"message": "", "field": "seen", "operator": "is_unknown"}, "query.message"),
    ({"message": "m", "operator": "is_unknown"}, "query.field"),
    ({"message": "m", "field": "seen", "operator": "~", "value": "a"}, "query.operator"),
    ({"message": "m", "field": "seen", "operator": "is_unknown", "where": []}, "query"),
]


@pytest.mark.parametrize(("raw", "field"), REFUSED)
def test_an_error_names_its_place(raw, field):
    assert refused(raw).field == field


MISSING = object()
ALLOWED = "expected |allowed|at most|Expected |A key is|An amount is|A currency is|beside amount|divide it"


def found_at(raw, field):
    """Return what stands at a path."""
    found = raw
    for key, place in re.findall(r"\.([a-z_]+)|\[([0-9]+)\]", field):
        found = found.get(key, MISSING) if key else found[int(place)]
    return found


def as_said(found):
    if isinstance(found, list):
        return f"a list of {len(found)}" if found else "an empty list"
    return "nothing" if found is MISSING else shown(found)


@pytest.mark.parametrize(("raw", "field"), REFUSED)
def test_an_error_says_what_stood_there_and_what_is_allowed(raw, field):
    message, found = refused(raw).message, found_at(raw, field)
    key = re.match('There is a key "([a-z_]+)"', message)
    assert key[1] in found if key else message.startswith(f"There is {as_said(found)}")
    assert re.search(ALLOWED, message)


def test_an_error_about_an_operator_names_all_that_are_allowed_there():
    message = refused(rule(operator="is")).message
    assert message == 'There is "is"; expected one of != !~ $ < <= = > >= IN NIN ^ has_any_value is_unknown ~.'
    assert refused(count("~", "2")).message == 'There is "~"; expected one of != < <= = > >= IN NIN has_any_value is_unknown.'


def test_two_hundred_nodes_are_allowed_and_no_more():
    assert len(tree({"operator": "AND", "value": [rule()] * 199}).value) == 199
    assert refused({"operator": "AND", "value": [rule()] * 200}).field == "query.value[199]"


def test_conditions_and_measures_count_as_nodes():
    assert refused(count(where=[rule("metadata.a")] * 200)).field == "query.where[199]"


def nested(depth):
    query = rule()
    for _ in range(depth):
        query = {"operator": "NOT", "value": [query]}
    return query


def test_depth_is_bounded_by_the_nodes_alone():
    assert to_json(tree(nested(199))) == nested(199)
    refused(nested(900))


def test_needs_say_all_that_has_to_be_loaded():
    asked = needs(
        tree({"operator": "AND", "value": [rule(), count(), count(where=[rule("metadata.plan")])]}),
        tree(rule("signed_up_at", "<", {"message": "m1", "field": "seen"})),
        tree(count(value={"event": "other", "field": "count", "within_days": 7})),
    )
    assert asked.attributes == {"email", "signed_up_at"}
    assert asked.totals == {"created-report"}
    assert [(measure.event, measure.within_days) for measure in asked.measures] == [("created-report", None), ("other", 7)]
    assert asked.messages == {"m1"}


def test_count_first_and_last_of_the_same_events_are_measured_once():
    where = [rule("metadata.plan")]
    last = {"event": "created-report", "field": "last", "operator": "is_unknown", "where": where}
    assert len(needs(tree({"operator": "AND", "value": [count(where=where), last]})).measures) == 1


def test_conditions_that_python_takes_for_equal_are_measured_apart():
    rules = [count(where=[rule("metadata.a", "=", value)]) for value in (1, True)]
    assert len(needs(tree({"operator": "AND", "value": rules})).measures) == 2


def test_currencies_ask_without_case():
    def operand(value):
        return parse_where([rule("metadata.price.currency", "=", value)], field="where")[0].test.operand

    assert operand("EUR") == operand("eur") == "eur"


def test_measures_without_conditions_read_totals():
    assert not EventMeasure("x", "count").over_timeline
    assert tree(count(within_days=1)).measure.over_timeline
    assert tree({"message": "m", "field": "seen", "operator": "is_unknown"}).measure == MessageMeasure("m", "seen")


QUERY_LIKE = st.recursive(
    objects("field", "operator", "value", "event", "message", "where", "within_days") | st.sampled_from(EVERY_RULE),
    lambda inner: st.fixed_dictionaries({"operator": st.sampled_from(["AND", "OR", "NOT", "="]), "value": st.lists(inner, max_size=3)}),
    max_leaves=6,
)
NEARLY_RIGHT = st.builds(
    lambda base, key, value: {**base, key: value},
    st.sampled_from(EVERY_RULE),
    st.sampled_from(["field", "operator", "value", "event", "message", "where", "within_days"]),
    JSON,
)


@given(QUERY_LIKE | NEARLY_RIGHT | JSON)
def test_any_json_is_parsed_or_refused_with_a_field(raw):
    try:
        node = tree(raw)
    except Refusal as refusal:
        assert refusal.code == Reason.QUERY_INVALID
        assert refusal.field.startswith("query")
        refusal.field.encode()
        refusal.message.encode()
        return
    assert tree(to_json(node)) == node
    needs(node)


def test_the_lists_of_a_query_hold_so_many_values_together() -> None:
    rule = {"event": "x", "field": "count", "operator": "IN", "value": list(range(1_000))}
    assert parse({"operator": "OR", "value": [rule] * 20}, retention_days=90)
    with pytest.raises(Refusal) as refused:
        parse({"operator": "OR", "value": [rule] * 21}, retention_days=90)
    assert (refused.value.field, "at most 20,000" in refused.value.message) == ("query.value[20].value", True)
