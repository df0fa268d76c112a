"""Each verdict explains itself, and names the nearest change that would turn it."""

import json
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collector.domain.audiences import PersonFacts, Total, matches
from collector.domain.explanation import explain
from collector.domain.nearest_change import MOST_RULES, Nearest, nearest_change
from collector.domain.outlook import (
    ActsOnMessage,
    Happens,
    Outlook,
    SetsAttribute,
    SignsUp,
    Visits,
    Waits,
    sort_out,
)
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.queries import parse
from collector.values.query_tree import Group, needs

NOW = 1_772_366_400_000  # 2026-03-01T12:00:00Z
RETENTION = 90 * DAY
MISSING: Any = object()


def happened(*ages_ms: int) -> Total:
    return Total(len(ages_ms), NOW - max(ages_ms), NOW - min(ages_ms))


def event(name: str, field: str, operator: str, value: Any = MISSING, **more: Any) -> dict[str, Any]:
    return {"event": name, "field": field, "operator": operator, **({} if value is MISSING else {"value": value}), **more}


def attribute(name: str, operator: str, value: Any = MISSING) -> dict[str, Any]:
    return {"field": name, "operator": operator, **({} if value is MISSING else {"value": value})}


def group(operator: str, *rules: Any) -> dict[str, Any]:
    return {"operator": operator, "value": list(rules)}


def last(name: str) -> dict[str, Any]:
    return {"event": name, "field": "last"}


# The tree


def said(query: Any, zone: Any = UTC, **known: Any) -> Any:
    return explain(parse(query, retention_days=90), PersonFacts(**known), NOW, zone, {"m1": "Hello"})


@pytest.mark.parametrize(
    ("query", "known", "words"),
    [
        (
            event("created-report", "count", ">", 2),
            {"totals": {"created-report": happened(DAY, HOUR)}},
            "“created-report” happened 2 times, expected more than 2.",
        ),
        (
            event("created-report", "count", ">", 2),
            {"totals": {"created-report": happened(DAY, HOUR, 0)}},
            "“created-report” happened 3 times, as expected: more than 2.",
        ),
        (event("paid", "count", "=", 0), {}, "“paid” never happened, as expected: 0."),
        (
            event("paid", "last", "more_than_days_ago", 5),
            {"totals": {"paid": happened(3 * DAY)}},
            "The last “paid” was 26 Feb 2026, 12:00 (3 days ago), expected more than 5 days ago.",
        ),
        (
            event("paid", "last", "more_than_days_ago", 5),
            {},
            "“paid” never happened, so there is no last one, expected more than 5 days ago.",
        ),
        (
            event("cart", "last", ">", last("paid")),
            {"totals": {"cart": happened(2 * DAY), "paid": happened(DAY)}},
            "The last “cart” was 27 Feb 2026, 12:00 (2 days ago), expected later than the last “paid” (28 Feb 2026, 12:00 (1 day ago)).",
        ),
        (
            event("cart", "last", ">", last("paid")),
            {"totals": {"cart": happened(2 * DAY)}},
            "The last “cart” was 27 Feb 2026, 12:00 (2 days ago), as expected: later than the last “paid” (never).",
        ),
        (
            attribute("custom_attributes.plan", "=", "pro"),
            {"attributes": {"custom_attributes.plan": "free"}},
            "“plan” is “free”, expected “pro”.",
        ),
        (attribute("custom_attributes.plan", "=", "pro"), {}, "“plan” is unknown, expected “pro”."),
        (
            attribute("custom_attributes.seats", ">", 1_000),
            {"attributes": {"custom_attributes.seats": "2000"}},
            "“seats” is “2000”, expected more than 1,000.",
        ),
        (attribute("email", "~", "@example"), {}, "Email is unknown, expected a text that contains “@example”."),
        (
            attribute("signed_up_at", "after", "2026-02-01"),
            {"attributes": {"signed_up_at": "soon"}},
            "Signed up at is “soon”, which is no time, expected after 2026-02-01.",
        ),
        (
            attribute("last_seen_at", ">", "2026-02-27T12:00:00Z"),
            {"attributes": {"last_seen_at": NOW // 1000 - 86_400}},
            "Last visit is 28 Feb 2026, 12:00 (1 day ago), as expected: later than 27 Feb 2026, 12:00.",
        ),
        (
            {"message": "m1", "field": "clicked", "operator": "has_any_value"},
            {},
            "The message “Hello” was not clicked by this person, expected anything known.",
        ),
    ],
)
def test_a_rule_says_what_was_found_and_what_was_expected(query: Any, known: Any, words: str) -> None:
    assert said(query, **known).in_words == words


def test_times_are_those_of_the_sites_zone() -> None:
    words = said(event("paid", "last", "has_any_value"), ZoneInfo("Europe/Berlin"), totals={"paid": happened(DAY)}).in_words
    assert words == "The last “paid” was 28 Feb 2026, 13:00 (1 day ago), as expected: anything known."


def test_the_tree_is_parallel_to_the_query_with_typed_values() -> None:
    query = group("AND", event("paid", "count", ">", 2), group("NOT", attribute("custom_attributes.plan", "=", "pro")))
    tree = said(query, totals={"paid": happened(DAY)}, attributes={"custom_attributes.plan": "pro"}).as_json()
    assert (tree["operator"], tree["holds"], tree["in_words"]) == ("AND", False, "All of 2 rules have to hold; none does.")
    count, negated = tree["value"]
    assert count == {
        **event("paid", "count", ">", 2),
        "holds": False,
        "expected": "more than 2",
        "actual": {"type": "count", "value": 1, "text": "1"},
        "in_words": "“paid” happened 1 time, expected more than 2.",
    }
    assert (negated["holds"], negated["in_words"]) == (False, "None of 1 rule may hold; 1 does.")
    assert negated["value"][0]["actual"] == {"type": "text", "value": "pro", "text": "“pro”"}


def test_an_instant_is_given_in_unix_seconds_and_in_words() -> None:
    explained = said(event("cart", "first", "<", last("paid")), totals={"cart": happened(DAY)}).as_json()
    assert explained["actual"] == {"type": "time", "value": NOW // 1000 - 86_400, "text": "28 Feb 2026, 12:00 (1 day ago)"}
    assert explained["compared_with"] == {"type": "unknown", "value": None, "text": "never"}


def test_the_deepest_query_explains_itself() -> None:
    query = event("paid", "count", ">", 0)
    for _ in range(199):
        query = group("NOT", query)
    node = parse(query, retention_days=90)
    json.dumps(explain(node, PersonFacts(), NOW, UTC).as_json())
    assert ahead(query).change is not None


# The nearest change


def ahead(query: Any, timeline: dict[str, list[tuple[int, dict[str, Any]]]] | None = None, **known: Any) -> Nearest:
    """The nearest change for somebody; `timeline` holds (age in ms, metadata) by event name. It is tried before it is returned."""
    node = parse(query, retention_days=90)
    events = {name: [(NOW - age, metadata) for age, metadata in happened] for name, happened in (timeline or {}).items()}
    totals = {name: happened(*(age for age, _ in entries)) for name, entries in (timeline or {}).items()}
    outlook = Outlook(
        zone=UTC,
        retention_ms=RETENTION,
        series=sort_out(needs(node).measures, events, UTC),
        message_names={"m1": "Hello", "m3": "Draft"},
        message_actions={"m1": {"seen", "dismissed"}},
        **{"attributes": {"role": "user"}, "totals": totals, **known},
    )
    nearest = nearest_change(node, outlook, NOW, UTC)
    if nearest.change is not None:
        after, at_ms = outlook.after_all(nearest.change.steps, NOW)
        assert matches(node, after.facts(at_ms), at_ms, UTC) is not matches(node, outlook.facts(NOW), NOW, UTC)
    return nearest


def change(query: Any, *arguments: Any, **known: Any) -> tuple[list[Any], str]:
    made = ahead(query, *arguments, **known).change
    assert made is not None
    return list(made.steps), made.in_words


def refusal(query: Any, *arguments: Any, **known: Any) -> str:
    nearest = ahead(query, *arguments, **known)
    assert nearest.change is None
    assert nearest.why_none is not None
    return nearest.why_none


PRICING = [{"field": "metadata.path", "operator": "=", "value": "/pricing"}]


def test_one_more_event() -> None:
    totals = {"created-report": happened(DAY, HOUR)}
    assert change(event("created-report", "count", ">", 2), totals=totals) == ([Happens("created-report")], "one more “created-report”")


def test_several_more_events() -> None:
    assert change(event("created-report", "count", ">=", 5)) == ([Happens("created-report", 5)], "5 “created-report”")


def test_several_events_follow_each_other() -> None:
    assert change(event("paid", "last", ">", {"event": "paid", "field": "first"}))[0] == [Happens("paid", 2)]


def test_one_more_view_of_a_page() -> None:
    timeline = {"page-view": [(HOUR, {"path": "/pricing"}), (DAY, {"path": "/pricing"}), (DAY, {"path": "/"})]}
    steps, words = change(event("page-view", "count", ">", 2, where=PRICING), timeline)
    assert (steps, words) == ([Happens("page-view", 1, {"path": "/pricing"})], "one more view of /pricing")


def test_an_event_meets_conditions_of_every_type() -> None:
    where = [
        {"field": "metadata.plan", "operator": "^", "value": "pro"},
        {"field": "metadata.seats", "operator": ">", "value": 4},
        {"field": "metadata.price", "operator": ">=", "value": {"amount": 500, "currency": "EUR"}},
        {"field": "metadata.order.value", "operator": "=", "value": "Order 7"},
        {"field": "metadata.paid_at", "operator": "less_than_days_ago", "value": 1},
        {"field": "metadata.coupon", "operator": "is_unknown"},
    ]
    (step,), words = change(event("upgraded", "count", ">", 0, where=where))
    assert {key: step.metadata[key] for key in ("plan", "seats", "price")} == {
        "plan": "pro",
        "seats": 5,
        "price": {"amount": 500, "currency": "eur"},
    }
    assert "coupon" not in step.metadata
    assert words.startswith("one “upgraded” with plan “pro” and seats 5 and price EUR 5.00 and order Order 7 and paid_at ")


def test_waiting_says_until_when_and_for_what() -> None:
    steps, words = change(event("report", "last", "more_than_days_ago", 5), totals={"report": happened(2 * DAY)})
    assert steps == [Waits(NOW + 3 * DAY + 1)]
    assert words == "waiting until 4 Mar 2026, 12:00 (in 3 days), when the last “report” is more than 5 days ago"


def test_an_event_leaves_its_window_in_time() -> None:
    timeline: Any = {"report": [(6 * DAY, {}), (2 * DAY, {}), (DAY, {})]}
    steps, words = change(event("report", "count", "<", 2, within_days=7), timeline)
    assert steps == [Waits(NOW + 5 * DAY)]
    assert words == "waiting until 6 Mar 2026, 12:00 (in 5 days), when the count of “report” in the last 7 days is less than 2"


@pytest.mark.parametrize(
    ("operator", "value", "begins"),
    [
        ("on", "2026-03-04", NOW + 2 * DAY + 12 * HOUR),
        ("after", "2026-03-03", NOW + 2 * DAY + 12 * HOUR),
        (">", NOW // 1000 + 3 * DAY // 1000, NOW + 3 * DAY + 1),
        (">=", NOW // 1000 + 3 * DAY // 1000, NOW + 3 * DAY),
    ],
)
@pytest.mark.parametrize("known", [{}, {"totals": {"paid": happened(DAY)}}], ids=["never", "before"])
def test_what_is_asked_for_later_is_done_then(operator: str, value: Any, begins: int, known: Any) -> None:
    steps, words = change(event("paid", "last", operator, value), **known)
    assert steps == [Waits(begins), Happens("paid")]
    assert words.startswith("waiting until 4 Mar 2026, 00:00" if isinstance(value, str) else "waiting until 4 Mar 2026, 12:00")


def test_what_holds_until_a_day_ends_then() -> None:
    steps, _ = change(event("paid", "last", "before", "2026-03-04"), totals={"paid": happened(DAY)})
    assert steps == [Waits(NOW + 2 * DAY + 12 * HOUR), Happens("paid")]


def test_a_visit_may_come_later_too() -> None:
    view = [Happens("page-view")]
    assert change(attribute("last_active_at", "on", "2026-03-04"), active_at=NOW)[0] == [Waits(NOW + 2 * DAY + 12 * HOUR), *view]


def test_what_is_too_far_ahead_is_not_called_impossible() -> None:
    words = refusal(event("paid", "last", "on", "2096-03-04"))
    assert words.startswith("No few steps were found") and words.endswith("no event within ten years was found to change that.")


def test_time_passes_for_the_other_rules_too() -> None:
    """Waiting alone would turn the first rule and lose the second."""
    query = group("AND", event("report", "last", "more_than_days_ago", 5), event("page-view", "last", "less_than_days_ago", 1))
    steps, words = change(query, totals={"report": happened(2 * DAY), "page-view": happened(0)})
    assert steps == [Waits(NOW + 3 * DAY), Happens("page-view")]
    assert words.endswith("is more than 5 days ago, then one more page view")


def test_after_the_last_of_another_event_nothing_of_that_may_follow() -> None:
    totals = {"cart": happened(2 * DAY), "paid": happened(DAY)}
    assert change(event("cart", "last", ">", last("paid")), totals=totals) == ([Happens("cart")], "one more “cart”, and no “paid” after it")


def test_in_the_right_order() -> None:
    query = group("AND", event("cart", "last", ">", last("paid")), event("paid", "count", ">", 0))
    assert change(query)[0] == [Happens("paid"), Happens("cart")]


def test_one_event_may_serve_two_rules() -> None:
    query = group("AND", event("page-view", "count", ">", 0), event("page-view", "count", ">", 0, where=PRICING))
    assert change(query) == ([Happens("page-view", 1, {"path": "/pricing"})], "one view of /pricing")


def test_an_attribute_is_set() -> None:
    query = attribute("custom_attributes.plan", "=", "pro")
    assert change(query) == ([SetsAttribute("custom_attributes.plan", "pro")], "setting “plan” to “pro”")


@pytest.mark.parametrize(
    ("operator", "value", "words"),
    [
        ("!=", "free", "setting “plan” to any other text"),
        ("is_unknown", MISSING, "removing “plan”"),
        ("IN", ["basic", "pro"], "setting “plan” to “basic”"),
        (">", 7, "setting “plan” to 8"),
        ("$", "pro", "setting “plan” to “pro”"),
    ],
)
def test_a_value_that_fits(operator: str, value: Any, words: str) -> None:
    assert change(attribute("custom_attributes.plan", operator, value), attributes={"custom_attributes.plan": "free"})[1] == words


def test_rules_about_one_attribute_are_met_by_one_value() -> None:
    query = group("AND", attribute("custom_attributes.seats", ">", 3), attribute("custom_attributes.seats", "<", 5))
    assert change(query) == ([SetsAttribute("custom_attributes.seats", 4)], "setting “seats” to 4")


def test_an_email_is_one() -> None:
    assert change(attribute("email", "$", "@shop.example"))[1] == "setting email to “somebody@shop.example”"


def test_a_message_is_seen() -> None:
    query = {"message": "m1", "field": "seen", "operator": "has_any_value"}
    assert change(query) == ([ActsOnMessage("m1", "seen")], "seeing the message “Hello”")


def test_a_visitor_signs_up() -> None:
    assert change(attribute("role", "=", "user"), attributes={"role": "lead"}) == ([SignsUp()], "signing up")


def test_the_last_visit_counts_when_it_has_ended() -> None:
    """Whoever comes back is here, and was last seen before; only half an hour later was this the last visit."""
    visits = Visits(1, NOW - 40 * DAY, NOW - 40 * DAY, None)
    steps, _ = change(attribute("last_seen_at", "less_than_days_ago", 30), visits=visits)
    assert steps == [Happens("page-view"), Waits(NOW + 30 * MINUTE)]


def test_more_visits_are_half_an_hour_apart() -> None:
    steps, _ = change(attribute("session_count", ">", 1))
    assert [type(step) for step in steps] == [Happens, Waits, Happens]


def test_either_is_enough_and_the_nearer_is_named() -> None:
    """Waiting comes before events, and both before attributes."""
    setting, doing = attribute("custom_attributes.plan", "=", "pro"), event("report", "count", ">", 0)
    waiting = event("paid", "last", "more_than_days_ago", 5)
    totals = {"paid": happened(2 * DAY)}
    assert change(group("OR", setting, doing, waiting), totals=totals)[0] == [Waits(NOW + 3 * DAY + 1)]
    assert change(group("OR", setting, doing))[0] == [Happens("report")]


def test_all_that_is_missing_and_nothing_more() -> None:
    query = group(
        "AND",
        event("report", "count", ">", 2),
        event("paid", "count", "=", 0),
        attribute("custom_attributes.plan", "=", "pro"),
        group("OR", event("invited", "count", ">", 3), event("shared", "count", ">", 0)),
    )
    steps, words = change(query, totals={"report": happened(DAY, HOUR)})
    assert words == "one more “report”, then setting “plan” to “pro”, then one “shared”"
    assert len(steps) == 3


def test_not_holds_no_longer_where_one_rule_is_met() -> None:
    query = group("NOT", event("paid", "count", ">", 0), event("report", "count", ">", 5))
    assert change(query) == ([Happens("paid")], "one “paid”")


def test_what_holds_is_ended() -> None:
    query = group("AND", event("report", "count", ">", 0), event("paid", "count", "=", 0))
    assert change(query, totals={"report": happened(DAY)}) == ([Happens("paid")], "one “paid”")


# No change


def test_what_happened_cannot_be_undone() -> None:
    assert refusal(event("paid", "count", "=", 0), totals={"paid": happened(DAY)}) == (
        "This cannot be made to hold any more: “paid” happened 1 time, expected 0; "
        "what happened cannot be undone, and what is still to come does not change that."
    )


def test_the_first_one_stays_the_first() -> None:
    words = refusal(event("paid", "first", "before", "2026-01-01"), totals={"paid": happened(DAY)})
    assert words.startswith("This cannot be made to hold any more: The first “paid” was 28 Feb 2026, 12:00 (1 day ago), expected before")


def test_all_alternatives_are_named_where_none_is_left() -> None:
    query = group("OR", event("paid", "count", "=", 0), attribute("role", "=", "lead"))
    words = refusal(query, totals={"paid": happened(DAY)})
    assert "“paid” happened 1 time, expected 0" in words
    assert "Role is “user”, expected “lead”; that is nothing that anybody sets or does" in words


def test_a_message_that_is_gone_is_not_seen_any_more() -> None:
    assert "there is no such message any more" in refusal({"message": "m2", "field": "seen", "operator": "has_any_value"})


def test_rules_that_contradict_each_other() -> None:
    query = group("AND", attribute("custom_attributes.plan", "=", "pro"), attribute("custom_attributes.plan", "=", "free"))
    assert refusal(query).endswith("its rules get in each other’s way.")


def test_nothing_is_asked_for_a_million_times() -> None:
    assert "more than 1,000 more of an event are not thought of" in refusal(event("paid", "count", ">", 10**6))


def test_what_segments_come_to_is_not_searched_without_end() -> None:
    segment = parse(group("OR", *(event("paid", "count", ">", number) for number in range(150))), retention_days=90)
    outlook = Outlook(zone=UTC, retention_ms=RETENTION, attributes={"role": "user"})
    assert nearest_change(Group("AND", (segment,) * 2), outlook, NOW, UTC).change is not None
    nearest = nearest_change(Group("AND", (segment,) * 150), outlook, NOW, UTC)
    assert nearest.why_none == f"With its segments the query has 22,500 rules; a change is looked for among {MOST_RULES}."


def test_a_large_query_on_a_long_history_is_answered() -> None:
    """Bounded, whatever is asked."""
    timeline: Any = {"page-view": [(hour * HOUR, {"path": f"/{hour % 7}"}) for hour in range(1, 2_000)]}
    rules = [
        group(
            "NOT",
            event(
                "page-view",
                "count",
                ">",
                number,
                within_days=number + 1,
                where=[{"field": "metadata.path", "operator": "=", "value": f"/{number % 9}"}],
            ),
        )
        for number in range(1, 60)
    ]
    nearest = ahead(group("AND", *rules, event("paid", "count", ">", 0)), timeline)
    assert nearest.change is not None or nearest.why_none
