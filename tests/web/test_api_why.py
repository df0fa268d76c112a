"""GET /contacts/{id}/explain/{auto_message_id}: why somebody is shown a message or not, and what was decided about it lately."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from werkzeug.test import Client

from collector.domain.decisions import KEPT
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import event_id_text
from collector.web.browser import Responder
from tests.support.browserless import ENTRIES, Tracker
from tests.support.clock import START, FakeClock
from tests.support.world import user
from tests.web.test_api_support import Rest, problem, serving

RULES = ["state", "schedule", "audience", "page", "trigger", "holdout", "frequency", "caps", "content", "consent"]
NEVER_SHOWN = "It was never shown to this person; until acted: it comes back until it is clicked, answered or dismissed."
PRICING_OFTEN = {
    "event": "page-view",
    "field": "count",
    "operator": ">",
    "value": 3,
    "where": [{"field": "metadata.path", "operator": "=", "value": "/pricing"}],
}
ON_PRICING = {"field": "path", "operator": "starts", "value": "/pricing"}


@pytest.fixture
def rest(database_url: str, clock: FakeClock) -> Iterator[Rest]:
    with serving(database_url, clock) as running:
        yield running


@pytest.fixture
def tracker(rest: Rest) -> Tracker:
    return Tracker(rest.world, Client(ENTRIES["rsgi"](Responder(rest.world.services))))


def message(rest: Rest, **fields: Any) -> str:
    """Make a live message and return its id."""
    answer = rest.post("/auto_messages", {"name": "Ask us", "type": "popup", "state": "live", "content": {"body": "Hello"}, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])


def visitor(rest: Rest, tracker: Tracker) -> str:
    """Return the contact id of whoever sits at the browser."""
    kind = ("lead", tracker.lead.partition(".")[0]) if tracker.user is None else user(tracker.user["id"])
    return rest.world.person(kind).contact_id


def why(rest: Rest, contact_id: str, message_id: str, **asked: str) -> dict[str, Any]:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    answer = rest.get(f"/contacts/{contact_id}/explain/{message_id}?{query}")
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json
    return made


def verdict(found: dict[str, Any], rule: str) -> dict[str, Any]:
    (one,) = [one for one in found["verdicts"] if one["rule"] == rule]
    return dict(one)


def said(found: dict[str, Any], rule: str) -> tuple[bool | None, str]:
    one = verdict(found, rule)
    return one["holds"], one["in_words"]


def seen_and_dismissed(tracker: Tracker, message_id: str) -> None:
    shown = tracker.claim(message_id)["message"]["delivery"]
    tracker.report(message_id, shown, "dismissed")


def test_a_message_for_everybody_would_show_and_each_rule_says_so(rest: Rest, tracker: Tracker) -> None:
    made = message(rest)
    tracker.view("/")
    found = why(rest, visitor(rest, tracker), made)
    assert found["would_show"] is True
    assert [(one["rule"], one["holds"]) for one in found["verdicts"]] == [(rule, None if rule == "consent" else True) for rule in RULES]
    assert [said(found, rule)[1] for rule in RULES[:-1]] == [
        "It is live.",
        "It may show at any time.",
        "It is for everybody.",
        "It may show on every page.",
        "It opens with the page.",
        "Nobody is held out.",
        NEVER_SHOWN,
        "No message was shown within 24 hours; the most is 3.",
        "It says the same to everybody.",
    ]
    assert "only their browser knows" in said(found, "consent")[1]


@pytest.mark.parametrize(
    ("state", "words"),
    [("draft", "It is a draft; only a live message is shown."), ("paused", "It is paused; only a live message is shown.")],
)
def test_what_is_not_live_is_not_shown(rest: Rest, tracker: Tracker, state: str, words: str) -> None:
    made = message(rest, state=state)
    tracker.view()
    found = why(rest, visitor(rest, tracker), made)
    assert found["would_show"] is False
    assert said(found, "state") == (False, words)


@pytest.mark.parametrize(
    ("schedule", "holds", "words"),
    [
        ({"starts_at": START // 1000 + 3600}, False, "It begins at 17:13, which is still to come."),
        ({"ends_at": START // 1000 - 86_400}, False, "It ended on 20 Sep 2026, 16:13."),
        (
            {"starts_at": START // 1000 - 60, "ends_at": START // 1000 + 86_400},
            True,
            "It may show since 16:12, until 22 Sep 2026, 16:13.",
        ),
        ({"starts_at": START // 1000 - 60}, True, "It may show since 16:12."),
        (
            {"hours": [{"days": ["sat", "sun"], "from": "09:00", "to": "18:00"}]},
            False,
            "Now it is Mon 16:13, but it may show in these hours: Sat, Sun 09:00 to 18:00 (Europe/Berlin).",
        ),
    ],
)
def test_the_schedule_is_told_in_the_zone_of_the_site(rest: Rest, tracker: Tracker, schedule: Any, holds: bool, words: str) -> None:
    made = message(rest, schedule=schedule)
    tracker.view()
    found = why(rest, visitor(rest, tracker), made)
    assert said(found, "schedule") == (holds, words)
    assert verdict(found, "schedule")["actual"] == rest.now


def test_the_audience_comes_with_its_tree_and_what_would_show_the_message(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, audience=PRICING_OFTEN)
    for _ in range(3):
        tracker.view("/pricing", metadata={"path": "/pricing"})
    contact_id = visitor(rest, tracker)
    found = verdict(why(rest, contact_id, made), "audience")
    assert (found["holds"], found["expected"]) == (False, PRICING_OFTEN)
    assert found["in_words"] == (
        "“page-view” where path is “/pricing” happened 3 times, expected more than 3. One more view of /pricing would show it."
    )
    asked = rest.post(f"/contacts/{contact_id}/explain", {"query": PRICING_OFTEN}).json
    assert {name: found[name] for name in ("tree", "nearest_change", "why_no_change")} == {
        name: asked[name] for name in ("tree", "nearest_change", "why_no_change")
    }
    tracker.view("/pricing", metadata={"path": "/pricing"})
    assert why(rest, contact_id, made)["would_show"] is True


def test_a_change_of_the_audience_alone_is_not_said_to_show_what_another_rule_holds_back(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, audience=PRICING_OFTEN, state="paused")
    tracker.view("/pricing")
    assert said(why(rest, visitor(rest, tracker), made), "audience")[1].endswith("would bring this person into its audience.")


def test_the_page_is_evaluated_where_one_is_given(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, page=ON_PRICING)
    tracker.view("/")
    contact_id = visitor(rest, tracker)
    left = why(rest, contact_id, made)
    assert (left["would_show"], verdict(left, "page")["expected"]) == (True, ON_PRICING)
    assert said(left, "page") == (None, "It depends on the page, and none was given: it shows where path starts with “/pricing”.")
    found = why(rest, contact_id, made, url="https://shop.example/team")
    assert found["would_show"] is False
    words = "https://shop.example/team is no page it shows on: where path starts with “/pricing”."
    assert said(found, "page") == (False, words)
    assert why(rest, contact_id, made, url="https://shop.example/pricing?plan=pro")["would_show"] is True


def test_the_trigger_is_evaluated_where_an_event_is_given(rest: Rest, tracker: Tracker) -> None:
    made = message(
        rest, trigger={"type": "event", "event": "saved", "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]}
    )
    free, pro, other = (tracker.event(name, metadata={"Plan": plan}) for name, plan in (("saved", "free"), ("saved", "pro"), ("left", "")))
    tracker.collect(free, pro, other)
    contact_id = visitor(rest, tracker)
    words = "It depends on an event, and none was given: it opens when “saved” where plan is “pro” happens, for 24 hours."
    assert said(why(rest, contact_id, made), "trigger") == (None, words)
    words = "“saved” happened at 16:13, and its plan is “free”; it opens where plan is “pro”."
    assert said(why(rest, contact_id, made, event_id=free["id"]), "trigger") == (False, words)
    words = "It opens when “saved” where plan is “pro” happens; this event is “left”."
    assert said(why(rest, contact_id, made, event_id=other["id"]), "trigger") == (False, words)
    assert said(why(rest, contact_id, made, event_id=pro["id"]), "trigger") == (True, "“saved” happened at 16:13, which opens it.")
    tracker.claim(made, event=pro["id"])
    words = "“saved” happened at 16:13 and opened this message already; each event opens it once."
    assert said(why(rest, contact_id, made, event_id=pro["id"]), "trigger") == (False, words)
    rest.clock.advance(2 * DAY)
    words = "“saved” happened on 21 Sep 2026, 16:13, more than 24 hours ago; an event opens a message for 24 hours."
    assert said(why(rest, contact_id, made, event_id=pro["id"]), "trigger") == (False, words)


def test_who_is_held_out_is_told_so(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, holdout_percent=100)
    tracker.view()
    words = "This person is held out, one of the 100 % who are not shown it, to compare."
    assert said(why(rest, visitor(rest, tracker), made), "holdout") == (False, words)


def test_how_often_it_was_shown_and_when_last(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, ignore_caps=True)
    tracker.view()
    contact_id = visitor(rest, tracker)
    for _ in range(2):
        tracker.report(made, tracker.claim(made)["message"]["delivery"], "seen")
        rest.clock.advance(DAY)
    words = "It was shown 2 times, the last on 22 Sep 2026, 16:13; until acted: it comes back until it is clicked, answered or dismissed."
    assert said(why(rest, contact_id, made), "frequency") == (True, words)
    seen_and_dismissed(tracker, made)
    words = (
        "It was shown 3 times, the last at 16:13, and was dismissed; until acted: it comes back until it is clicked, answered or dismissed."
    )
    assert said(why(rest, contact_id, made), "frequency") == (False, words)


def test_what_comes_once_in_some_days_says_when_it_may_come_again(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, frequency={"type": "every_time", "every_days": 2}, ignore_caps=True)
    tracker.view()
    tracker.claim(made)
    found = why(rest, visitor(rest, tracker), made)
    words = "It was shown 1 time, at 16:13; every time, at most once every 2 days: the next may come on 23 Sep 2026, 16:13."
    assert said(found, "frequency") == (False, words)
    assert verdict(found, "frequency")["actual"] == {
        "times": 1, "act": None, "leased": True, "last": rest.now, "next": rest.now + 2 * 86_400,
    }  # fmt: skip


def test_the_limits_across_messages_say_when_the_next_may_come(rest: Rest, tracker: Tracker) -> None:
    shown = [message(rest) for _ in range(3)]
    asked = message(rest)
    tracker.view()
    contact_id = visitor(rest, tracker)
    tracker.claim(shown[0])
    rest.clock.advance(MINUTE)
    words = "1 message was shown within 24 hours, the last at 16:13, and 10 minutes have to lie between two: the next may come at 16:23."
    assert said(why(rest, contact_id, asked), "caps") == (False, words)
    for one in shown[1:]:
        rest.clock.advance(HOUR)
        tracker.claim(one)
    rest.clock.advance(HOUR)
    words = "3 messages were shown within 24 hours, the most is 3: the next may come on 22 Sep 2026, 16:13."
    found = why(rest, contact_id, asked)
    assert said(found, "caps") == (False, words)
    rest.clock.now = verdict(found, "caps")["actual"]["next"] * 1000
    assert why(rest, contact_id, asked)["would_show"] is True


def test_a_user_is_asked_about_as_signed_in(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, audience={"field": "role", "operator": "=", "value": "user"})
    tracker.view()
    assert why(rest, visitor(rest, tracker), made)["would_show"] is False
    tracker.identify("u-1")
    tracker.view()
    assert why(rest, visitor(rest, tracker), made)["would_show"] is True


def content_of(rest: Rest, tracker: Tracker, made: str, **asked: str) -> tuple[bool, bool | None, str]:
    found = why(rest, visitor(rest, tracker), made, **asked)
    return found["would_show"], *said(found, "content")


def test_a_value_that_is_missing_is_named_with_what_would_show_the_message(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": "Hi {{first_name}}"})
    tracker.view()
    assert tracker.claim(made)["reason"] == "content"
    words = "This person has no first_name, and there is no fallback. Setting name, or a fallback, would show it."
    assert content_of(rest, tracker, made) == (False, False, words)
    found = verdict(why(rest, visitor(rest, tracker), made), "content")
    assert (found["expected"], found["actual"]) == (["first_name"], {"variable": "first_name", "why": "missing"})
    tracker.collect({"type": "identify", "at": rest.clock(), "attributes": {"name": "Ann Lee"}})
    assert content_of(rest, tracker, made) == (True, True, "Everything in it has a value.")
    assert tracker.claim(made)["message"]


def test_no_change_of_the_audience_is_said_to_show_what_lacks_a_value(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, audience=PRICING_OFTEN, content={"body": "On {{plan}}"})
    tracker.view("/pricing")
    found = why(rest, visitor(rest, tracker), made)
    assert said(found, "audience")[1].endswith("would bring this person into its audience.")
    assert said(found, "content")[1] == "This person has no plan, and there is no fallback. Setting plan, or a fallback, would mend that."


def test_whether_a_user_is_proved_is_left_open_where_it_decides(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": "Hi {{first_name}}"})
    contact_id = rest.contact(role="user", external_id="u-1", name="Ann Lee")["id"]
    tracker.identify("u-1")
    tracker.view()
    assert tracker.claim(made)["reason"] == "content"
    words = (
        "It depends on whether your server proves this user’s id in the browser: first_name is personal and has no fallback, so it shows "
        "where the id is proved, and nowhere else."
    )
    assert content_of(rest, tracker, made) == (True, None, words)
    services, site = rest.world.services, msgspec.structs.replace(rest.world.site, verification="required")
    services.writer.run(0, lambda tx: services.sites.update(tx, site))
    services.sites.forget()
    assert said(why(rest, contact_id, made), "content") == (True, "Everything in it has a value.")


def test_a_value_that_a_user_lacks_would_show_it_where_the_user_is_proved(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": "On {{plan}}"})
    tracker.identify("u-1")
    tracker.view()
    words = (
        "This person has no plan, and there is no fallback. Setting plan, or a fallback, would show it; the value only where your server "
        "proves this user’s id."
    )
    assert content_of(rest, tracker, made) == (False, False, words)


def test_a_fallback_shows_what_the_own_value_would_break(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": '[Go](https://shop.example/{{plan | fallback: "free"}})'})
    rest.contact(role="user", external_id="u-1", custom_attributes={"plan": ".."})
    tracker.identify("u-1")
    tracker.view()
    assert tracker.claim(made)["message"]
    words = (
        "It depends on whether your server proves this user’s id in the browser: where it is, the value of plan does not fit into the "
        "address that it stands in; elsewhere fallbacks stand, and it shows."
    )
    found = why(rest, visitor(rest, tracker), made)
    assert said(found, "content") == (None, words)


def test_what_an_event_has_to_bring_is_open_without_one(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, trigger={"type": "event", "event": "saved"}, content={"body": "{{event.metadata.item}}"})
    both = message(rest, trigger={"type": "event", "event": "saved"}, content={"body": "{{event.metadata.item}} {{plan}}"})
    without, whole = tracker.event("saved"), tracker.event("saved", metadata={"item": "A cup"})
    tracker.collect(without, whole)
    words = "It depends on an event, and none was given: it has to bring event.metadata.item."
    assert content_of(rest, tracker, made) == (True, None, words)
    words = "The event brings no item, and there is no fallback. An event that does, or a fallback, would show it."
    assert content_of(rest, tracker, made, event_id=without["id"]) == (False, False, words)
    assert content_of(rest, tracker, made, event_id=whole["id"])[:2] == (True, True)
    words = "This person has no plan, and there is no fallback. Setting plan, or a fallback, would show it."
    assert content_of(rest, tracker, both) == (False, False, words)


def test_what_opens_without_an_event_has_nothing_of_one(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": "{{event.metadata.item}}"})
    saved = tracker.event("saved", metadata={"item": "A cup"})
    tracker.collect(saved)
    words = "It opens without an event, so event.metadata.item has no value, and there is no fallback. A fallback would show it."
    assert content_of(rest, tracker, made, event_id=saved["id"]) == (False, False, words)
    assert tracker.claim(made, event=saved["id"])["reason"] == "content"


def test_what_comes_to_blanks_says_so(rest: Rest, tracker: Tracker) -> None:
    made = message(rest, content={"body": '{{first_name | fallback: ""}}'})
    tracker.view()
    assert tracker.claim(made)["reason"] == "content"
    words = "Nothing of it can be seen: for this person all of it is blank. A value for first_name, or text beside it, would show it."
    assert content_of(rest, tracker, made) == (False, False, words)


def test_past_decisions_of_a_visitor_stay_with_the_user_it_becomes(rest: Rest, tracker: Tracker) -> None:
    first, second = message(rest, priority=1), message(rest)
    tracker.view()
    anonymous = visitor(rest, tracker)
    tracker.claim(first)
    rest.clock.advance(MINUTE)
    tracker.view()
    rest.clock.advance(MINUTE)
    tracker.view()
    tracker.identify("u-1")
    tracker.view()
    rest.world.services.decisions.write()
    known = visitor(rest, tracker)
    assert known != anonymous
    found = why(rest, known, second)["decisions"]
    assert {(one["outcome"], one["times"], one["at"], one["contact_id"]) for one in found} == {
        ("caps", 1, rest.now, known),
        ("caps", 2, rest.now, anonymous),
        ("offered", 1, START // 1000, anonymous),
    }
    held = "It was meant for this person, but held back by the limits across messages: 2 times within an hour, the last at 16:15."
    assert held in [one["in_words"] for one in found]
    assert [one["outcome"] for one in why(rest, known, first)["decisions"] if one["contact_id"] == anonymous].count("shown") == 1


def test_decisions_are_told_for_thirty_days(rest: Rest, tracker: Tracker) -> None:
    made = message(rest)
    tracker.view()
    tracker.claim(made)
    rest.world.services.decisions.write()
    contact_id = visitor(rest, tracker)
    rest.clock.advance(KEPT - 1)
    assert {one["outcome"] for one in why(rest, contact_id, made)["decisions"]} == {"offered", "shown"}
    rest.clock.advance(1)
    assert why(rest, contact_id, made)["decisions"] == []


def test_who_and_what_is_not_there_is_not_explained(rest: Rest, tracker: Tracker) -> None:
    made = message(rest)
    tracker.view()
    anonymous = visitor(rest, tracker)
    tracker.identify("u-1")
    tracker.view()
    known = visitor(rest, tracker)
    merged = rest.get(f"/contacts/{anonymous}/explain/{made}")
    assert problem(merged) == (410, "contact_merged", None)
    assert merged.headers["Link"] == f'</api/contacts/{known}>; rel="canonical"'
    other = rest.other_site()
    theirs, their_message = other.contact(external_id="u-1")["id"], message(other)
    assert problem(other.get(f"/contacts/{known}/explain/{their_message}")) == (404, "not_found", None)
    assert problem(other.get(f"/contacts/{theirs}/explain/{made}")) == (404, "not_found", "auto_message_id")
    for unknown in ("0" * 24, "%00", "none"):
        assert problem(rest.get(f"/contacts/{known}/explain/{unknown}")) == (404, "not_found", "auto_message_id")


def test_a_page_or_an_event_that_is_none_is_refused(rest: Rest, tracker: Tracker) -> None:
    made = message(rest)
    tracker.view()
    path = f"/contacts/{visitor(rest, tracker)}/explain/{made}"
    for url in ("pricing", "javascript:alert(1)", "https://shop.example/" + "x" * 9_000):
        assert problem(rest.get(f"{path}?url={quote(url, safe='')}")) == (400, "field_invalid", "url")
    assert problem(rest.get(f"{path}?event_id=1")) == (400, "field_invalid", "event_id")
    theirs = rest.world.event("saved")
    rest.world.send(user("u-2"), theirs)
    assert problem(rest.get(f"{path}?event_id={event_id_text(theirs.id)}")) == (404, "not_found", "event_id")
