import copy
import functools
import operator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.values.errors import Problem
from collector.values.messages import clean_auto_message
from tests.values.strategies import JSON, objects

LEAST = {"name": "Hello", "type": "popup", "content": {"body": "Hi"}}
FULL = {
    "name": "Cart",
    "type": "popup",
    "state": "live",
    "content": {
        "title": 'Hi {{first_name | fallback: "there"}}',
        "body": "You left **{{event.metadata.item}}**",
        "image_url": "https://a.b/{{x}}.png",
        "buttons": [
            {"label": "Go", "action": "url", "url": "https://a.b/?q={{x}}", "event": None},
            {"label": "Later", "action": "dismiss", "url": None, "event": None},
            {"label": "Track", "action": "track", "url": None, "event": "liked"},
        ],
        "question": None,
        "position": "center",
        "sender": "Ada",
    },
    "audience": {"operator": "AND", "value": [{"event": "cart", "field": "count", "operator": ">", "value": 2, "within_days": 30}]},
    "page": {"operator": "OR", "value": [{"field": "path", "operator": "starts", "value": "/shop"}]},
    "trigger": {
        "type": "event",
        "seconds": None,
        "percent": None,
        "event": "cart",
        "where": [{"field": "metadata.price.amount", "operator": ">", "value": 100}],
    },
    "frequency": {"type": "every_time", "max": 3, "every_days": 7},
    "priority": 5,
    "ignore_caps": True,
    "schedule": {
        "starts_at": 1_700_000_000,
        "ends_at": 1_800_000_000,
        "hours": [{"days": ["mon", "fri"], "from": "09:00", "to": "17:30"}, {"days": ["sat"], "from": "20:00", "to": "24:00"}],
    },
    "goal": {"query": {"event": "bought", "field": "count", "operator": ">", "value": 0}, "days": 7},
    "holdout_percent": 12.5,
}


_DAYS = ("schedule.hours[0].days", "field_invalid")


def cleaned(raw, **more):
    return clean_auto_message(raw, retention_days=90, **more)


def errors(raw):
    with pytest.raises(Problem) as caught:
        cleaned(raw)
    assert caught.value.status == 400
    return {(error.field, error.code.value) for error in caught.value.errors}


def with_content(**content):
    return LEAST | {"content": {"body": "Hi", **content}}


def with_button(**button):
    return with_content(buttons=[{"label": "Go", **button}])


def test_the_defaults_are_those_of_the_contract():
    assert cleaned(LEAST).as_json() == {
        "name": "Hello",
        "type": "popup",
        "state": "draft",
        "content": {"title": None, "body": "Hi", "image_url": None, "buttons": [], "question": None, "position": "corner", "sender": None},
        "audience": None,
        "page": None,
        "trigger": {"type": "page", "seconds": None, "percent": None, "event": None, "where": []},
        "frequency": {"type": "until_acted", "max": None, "every_days": None},
        "priority": 0,
        "ignore_caps": False,
        "schedule": {"starts_at": None, "ends_at": None, "hours": None},
        "goal": None,
        "holdout_percent": 0,
    }


def test_a_definition_is_written_as_it_was_read():
    assert cleaned(FULL).as_json() == FULL


def test_what_was_given_out_can_be_sent_back():
    definition = cleaned(FULL)
    assert cleaned({**definition.as_json(), "id": "m1", "version": 3}) == definition


def test_the_names_of_variables_are_known():
    assert cleaned(FULL).content.variables() == {"first_name", "event.metadata.item", "x"}


def test_times_without_a_zone_are_in_the_sites():
    schedule = {"starts_at": "2026-03-01T09:00", "ends_at": "2026-03-01T09:00Z"}
    definition = cleaned(LEAST | {"schedule": schedule}, time_zone=ZoneInfo("Europe/Budapest"))
    assert definition.as_json()["schedule"]["starts_at"] == 1_772_352_000
    assert definition.schedule.ends_at_ms - definition.schedule.starts_at_ms == 3_600_000


@pytest.mark.parametrize("event", [0, False, [], {}])
def test_the_event_of_a_button_is_a_name(event):
    assert errors(with_button(action="track", event=event)) == {("content.buttons[0].event", "name_invalid")}


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        ("2026-03-27T09:00", True),  # a Friday
        ("2026-03-27T17:29", True),
        ("2026-03-27T17:30", False),
        ("2026-03-27T08:59", False),
        ("2026-03-28T23:59", True),  # the Saturday before the clocks are set
        ("2026-03-29T09:00", False),
        ("2026-03-30T09:00", True),  # the Monday after
    ],
)
def test_hours_are_those_of_the_sites_clocks(local, is_open):
    zone = ZoneInfo("Europe/Budapest")
    schedule = cleaned(LEAST | {"schedule": {"hours": FULL["schedule"]["hours"]}}).schedule
    assert schedule.is_open(int(datetime.fromisoformat(local).replace(tzinfo=zone).timestamp() * 1000), zone) is is_open


def test_hours_without_days_are_those_of_every_day():
    hours = cleaned(LEAST | {"schedule": {"hours": [{"from": "09:00", "to": "10:00"}]}}).as_json()["schedule"]["hours"]
    assert hours == [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "09:00", "to": "10:00"}]


@pytest.mark.parametrize("field", ["name", "type", "content"])
def test_name_type_and_content_are_required(field):
    assert (field, "field_missing") in errors({key: value for key, value in LEAST.items() if key != field})


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (LEAST | {"name": " "}, ("name", "name_invalid")),
        (LEAST | {"type": "modal"}, ("type", "field_invalid")),
        (LEAST | {"state": "on"}, ("state", "field_invalid")),
        (LEAST | {"nam": "x"}, ("nam", "field_unknown")),
        (LEAST | {"content": []}, ("content", "field_invalid")),
        (LEAST | {"content": {}}, ("content.body", "field_missing")),
        (with_content(body=5), ("content.body", "field_invalid")),
        (with_content(body="[x](javascript:alert(1))"), ("content.body", "field_invalid")),
        (with_content(title="{{x"), ("content.title", "field_invalid")),
        (with_content(title="x" * 256), ("content.title", "field_invalid")),
        (with_content(image_url="mailto:a@b"), ("content.image_url", "field_invalid")),
        (with_content(position="top"), ("content.position", "field_invalid")),
        (with_content(html="x"), ("content.html", "field_unknown")),
        (with_content(buttons={}), ("content.buttons", "field_invalid")),
        (with_content(buttons=[None]), ("content.buttons[0]", "field_invalid")),
        (with_button(), ("content.buttons[0].action", "field_invalid")),
        (with_button(action="url"), ("content.buttons[0].url", "field_missing")),
        (with_button(action="url", url="javascript:alert(1)"), ("content.buttons[0].url", "field_invalid")),
        (with_button(action="dismiss", url="https://a.b"), ("content.buttons[0].url", "field_invalid")),
        (with_button(action="track"), ("content.buttons[0].event", "field_missing")),
        (with_button(action="track", event="x" * 121), ("content.buttons[0].event", "name_invalid")),
        (with_button(action="dismiss", label=""), ("content.buttons[0].label", "field_missing")),
        (LEAST | {"audience": {"operator": "AND", "value": [{"field": "x"}]}}, ("audience.value[0].field", "query_invalid")),
        (
            LEAST | {"audience": {"event": "x", "field": "count", "operator": ">", "value": 1, "within_days": 91}},
            ("audience.within_days", "query_invalid"),
        ),
        (LEAST | {"page": {"operator": "AND", "value": [{"field": "x"}]}}, ("page.value[0].field", "query_invalid")),
        (LEAST | {"trigger": {"type": "hover"}}, ("trigger.type", "field_invalid")),
        (LEAST | {"trigger": {"type": "event"}}, ("trigger.event", "field_missing")),
        (LEAST | {"trigger": {"type": "time"}}, ("trigger.seconds", "field_missing")),
        (LEAST | {"trigger": {"type": "time", "seconds": -1}}, ("trigger.seconds", "field_invalid")),
        (LEAST | {"trigger": {"type": "time", "seconds": 86_401}}, ("trigger.seconds", "field_invalid")),
        (LEAST | {"trigger": {"type": "scroll"}}, ("trigger.percent", "field_missing")),
        (LEAST | {"trigger": {"type": "scroll", "percent": "half"}}, ("trigger.percent", "field_invalid")),
        (LEAST | {"trigger": {"type": "scroll", "percent": 100.5}}, ("trigger.percent", "field_invalid")),
        (LEAST | {"trigger": {"type": "scroll", "percent": 50, "seconds": 5}}, ("trigger.seconds", "field_invalid")),
        (LEAST | {"trigger": {"type": "exit_intent", "percent": 5}}, ("trigger.percent", "field_invalid")),
        (LEAST | {"trigger": {"type": "page", "event": "x"}}, ("trigger.event", "field_invalid")),
        (LEAST | {"trigger": {"type": "event", "event": "x", "where": [{"field": "plan"}]}}, ("trigger.where[0].field", "query_invalid")),
        (LEAST | {"frequency": {"type": "daily"}}, ("frequency.type", "field_invalid")),
        (LEAST | {"frequency": {"type": "once", "max": 2}}, ("frequency.max", "field_invalid")),
        (LEAST | {"frequency": {"type": "every_time", "every_days": 0}}, ("frequency.every_days", "field_invalid")),
        (LEAST | {"priority": 1.5}, ("priority", "field_invalid")),
        (LEAST | {"priority": True}, ("priority", "field_invalid")),
        (LEAST | {"ignore_caps": "yes"}, ("ignore_caps", "field_invalid")),
        (LEAST | {"schedule": {"starts_at": 1_700_000_000_000}}, ("schedule.starts_at", "time_invalid")),
        (LEAST | {"schedule": {"starts_at": 5, "ends_at": 5}}, ("schedule.ends_at", "field_invalid")),
        (LEAST | {"schedule": {"hours": []}}, ("schedule.hours", "field_invalid")),
        (LEAST | {"schedule": {"hours": [[9, 17]]}}, ("schedule.hours[0]", "field_invalid")),
        (
            LEAST | {"schedule": {"hours": [{"days": ["monday"], "from": "09:00", "to": "10:00"}]}},
            ("schedule.hours[0].days", "field_invalid"),
        ),
        (LEAST | {"schedule": {"hours": [{"from": "9:00", "to": "10:00"}]}}, ("schedule.hours[0].from", "field_invalid")),
        (LEAST | {"schedule": {"hours": [{"from": "09:00", "to": "24:30"}]}}, ("schedule.hours[0].to", "field_invalid")),
        (LEAST | {"schedule": {"hours": [{"from": "22:00", "to": "02:00"}]}}, ("schedule.hours[0].to", "field_invalid")),
        (LEAST | {"goal": {"days": 7}}, ("goal.query", "query_invalid")),
        (LEAST | {"goal": {"query": FULL["goal"]["query"]}}, ("goal.days", "field_missing")),
        (LEAST | {"goal": {"query": FULL["goal"]["query"], "days": 366}}, ("goal.days", "field_invalid")),
        (LEAST | {"goal": {"query": {"field": "x", "operator": "?"}, "days": 7}}, ("goal.query.field", "query_invalid")),
        (LEAST | {"holdout_percent": 101}, ("holdout_percent", "field_invalid")),
        (LEAST | {"holdout_percent": "10"}, ("holdout_percent", "field_invalid")),
    ],
)
def test_an_error_names_its_place(raw, error):
    assert error in errors(raw)


@pytest.mark.parametrize(
    "given",
    [{"type": "time", "seconds": 2.5}, {"type": "time", "seconds": 0}, {"type": "scroll", "percent": 50}, {"type": "exit_intent"}],
)
def test_what_the_browser_watches_for_is_kept_as_it_was_given(given):
    definition = cleaned(LEAST | {"trigger": given})
    assert definition.as_json()["trigger"] == {"seconds": None, "percent": None, "event": None, "where": [], **given}
    assert (definition.trigger.seconds, definition.trigger.percent) == (given.get("seconds"), given.get("percent"))
    assert cleaned(definition.as_json()) == definition


def test_all_errors_come_at_once():
    raw = {"type": "popup", "content": {"body": "{{", "buttons": [{"label": "x"}]}, "priority": "high", "audience": 5}
    assert {field for field, _ in errors(raw)} == {"name", "content.body", "content.buttons[0].action", "priority", "audience"}


@pytest.mark.parametrize("raw", [None, [], "x", 5])
def test_the_body_is_an_object(raw):
    assert errors(raw) == {(None, "body_invalid")}


BUTTONS = st.lists(objects("label", "action", "url", "event") | JSON, max_size=3)
NEARLY_RIGHT = st.builds(
    lambda key, value: FULL | {key: value}, st.sampled_from(sorted(FULL)), JSON | objects("type", "max", "event", "where", "hours")
)
CONTENTS = st.builds(
    lambda key, value: FULL | {"content": FULL["content"] | {key: value}}, st.sampled_from(sorted(FULL["content"])), JSON | BUTTONS
)


def places(part, *above):
    """Yield the way to each value within a document."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield (*above, key)
        yield from places(value, *above, key)


def with_another(place, value):
    """The whole definition, but for one value of it."""
    changed = copy.deepcopy(FULL)
    *above, last = place
    functools.reduce(operator.getitem, above, changed)[last] = value
    return changed


ONE_OTHER = st.builds(with_another, st.sampled_from(list(places(FULL))), JSON | st.sampled_from([0, 0.0, False, "", [], {}]))


@given(NEARLY_RIGHT | CONTENTS | ONE_OTHER | objects(*FULL) | JSON)
def test_any_json_is_a_definition_or_refused_with_fields(raw):
    try:
        definition = cleaned(raw)
    except Problem as problem:
        for error in problem.errors:
            (error.field or "").encode()
            error.message.encode()
        return
    assert cleaned(definition.as_json()) == definition


BLANKS = [
    *("", "   ", "\u00a0\u200b\u2060\ufeff", "&nbsp;", "&#8203;"),
    *("[a]: https://x.example", "[](https://x.example)", "***", "> ", "- ", "#"),
]


@pytest.mark.parametrize("kind", ["popup", "banner", "chat"])
@pytest.mark.parametrize("text", BLANKS)
def test_a_message_without_anything_to_see_is_refused(kind, text):
    blank = text if "&" not in text and not text.isascii() else " "
    raw = LEAST | {"type": kind, "content": {"title": blank, "body": text, "sender": "Ada"}}
    assert errors(raw) == {("content.body", "field_missing")}


@pytest.mark.parametrize(
    "content",
    [
        {"title": "Hi"},
        {"body": "<!-- text all the same -->"},
        {"body": "\\"},
        {"body": "> - **`x`**"},
        {"body": "![](https://x.example/a.png)"},
        {"body": '{{first_name | fallback: ""}}'},
        {"image_url": "https://x.example/a.png"},
        {"buttons": [{"label": "Go", "action": "dismiss"}]},
    ],
)
def test_text_images_variables_and_buttons_can_be_seen(content):
    assert cleaned(LEAST | {"content": content}).content.shows()


def test_a_question_without_a_word_is_refused():
    assert errors(LEAST | {"content": {"question": {"kind": "rating"}}}) == {("content.body", "field_missing")}


def test_a_button_has_a_label_that_can_be_seen():
    assert errors(with_button(label="\u200b ", action="dismiss")) == {("content.buttons[0].label", "field_missing")}


def test_what_was_stored_once_is_read_whatever_it_shows():
    raw = LEAST | {"content": {"body": "   ", "buttons": [{"label": " ", "action": "dismiss"}]}}
    assert cleaned(raw, stored=True).content.body == ()
