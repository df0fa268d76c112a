"""A message: offered for what was just done, claimed before it is shown, shown at most once per permission."""

import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector.domain.message_numbers import stats
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.messages import clean_auto_message
from tests.support.browserless import Tracker
from tests.support.world import World

PRICING_OFTEN = {
    "event": "page-view",
    "field": "count",
    "operator": ">",
    "value": 3,
    "where": [{"field": "metadata.path", "operator": "=", "value": "/pricing"}],
}


def create(world: World, **fields: Any) -> str:
    """Make a live message and return its id."""
    content = fields.pop("content", {"title": "Hello", "body": "A **message**."})
    raw = {"name": "Message", "type": "popup", "state": "live", "content": content, **fields}
    definition = clean_auto_message(raw, retention_days=90)
    made = world.services.writer.run(
        world.site.id, lambda tx: world.services.auto_messages.create(tx, world.site.id, definition, world.clock())
    )
    world.services.auto_messages.forget(world.site.id)
    return made.public_id


def numbers(world: World, message: str) -> dict[str, Any]:
    with world.services.database.read() as connection:
        found = world.services.auto_messages.get(connection, world.site.id, message)
        assert found is not None
        return stats(connection, world.site.id, found)


def offered(answer: Any) -> list[str]:
    return [offer["id"] for offer in answer.get("messages", [])]


def verified(world: World, user_id: str) -> dict[str, str]:
    return {"hash": hmac.new(world.site.identity_secrets[0].encode(), user_id.encode(), hashlib.sha256).hexdigest()}


def test_the_view_that_makes_a_visitor_eligible_offers_the_message(tracker: Tracker, world: World) -> None:
    message = create(world, audience=PRICING_OFTEN, page={"field": "path", "operator": "is", "value": "/pricing"})
    assert [offered(tracker.view("/pricing")) for _ in range(4)] == [[], [], [], [message]]


def test_answers_name_the_query_parameters_that_live_pages_ask_for(tracker: Tracker, world: World) -> None:
    assert "query" not in tracker.view()
    create(world, page={"operator": "OR", "value": [{"field": f"query.{name}", "operator": "is", "value": "x"} for name in ("plan", "ad")]})
    create(world, state="draft", page={"field": "query.draft", "operator": "is", "value": "x"})
    assert tracker.view()["query"] == ["ad", "plan"]
    assert tracker.collect({"type": "identify", "at": world.clock(), "attributes": {}})["query"] == ["ad", "plan"]


def test_a_claim_gives_out_the_content_and_counts_as_sent(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    nonce = secrets.token_urlsafe(16)
    shown = tracker.claim(message, nonce=nonce)["message"]
    assert shown == {
        "id": message,
        "delivery": nonce,
        "type": "popup",
        "title": "Hello",
        "body": [{"tag": "p", "children": ["A ", {"tag": "strong", "children": ["message"]}, "."]}],
        "image_url": None,
        "position": "corner",
        "sender": None,
        "question": None,
        "buttons": [],
    }
    assert numbers(world, message)["sent"] == 1


def test_the_sites_colour_comes_with_its_messages(tracker: Tracker, world: World) -> None:
    first, second = create(world, ignore_caps=True), create(world, ignore_caps=True)
    tracker.view("/")
    assert "brand" not in tracker.claim(first)["message"]
    world.services.writer.run(world.site.id, lambda tx: world.services.sites.change(tx, world.site.id, brand_color="#1f4fd1"))
    world.services.sites.forget()
    given = tracker.claim(second)["message"]["brand"]
    assert (given["fill"], given["on"], given["light"]) == ("#1f4fd1", "#ffffff", {"accent": "#1f4fd1", "link": "#1f4fd1"})
    assert set(given["dark"]) == {"accent", "link"}


def test_offers_carry_no_content(tracker: Tracker, world: World) -> None:
    create(world, content={"title": "Secret", "body": "Secret"})
    assert "Secret" not in str(tracker.view())


def test_a_claim_asked_again_with_the_same_nonce_answers_the_same(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "once"})
    tracker.view()
    nonce = secrets.token_urlsafe(16)
    assert tracker.claim(message, nonce=nonce) == tracker.claim(message, nonce=nonce)
    assert numbers(world, message)["sent"] == 1


def test_once_means_once_on_every_tab_and_device_of_a_person(tracker: Tracker, new_tracker, world: World) -> None:
    message = create(world, frequency={"type": "once"}, ignore_caps=True)
    tracker.identify("u-1")
    other = new_tracker()
    other.identify("u-1")
    tracker.view()
    other.view()
    assert tracker.claim(message)["message"]
    assert other.claim(message) == {"message": None, "reason": "frequency"}
    assert tracker.claim(message) == {"message": None, "reason": "frequency"}


def test_what_a_lead_was_shown_is_not_shown_to_the_user_it_becomes(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "once"}, ignore_caps=True)
    tracker.view()
    tracker.claim(message)
    tracker.identify("u-1")
    assert offered(tracker.view()) == []
    assert tracker.claim(message)["reason"] == "frequency"


@pytest.mark.parametrize("action", ["clicked", "dismissed"])
def test_until_acted_comes_back_until_it_is_clicked_or_dismissed(tracker: Tracker, world: World, action: str) -> None:
    message = create(world, ignore_caps=True)
    tracker.view()
    first = tracker.claim(message)["message"]["delivery"]
    tracker.report(message, first, "seen")
    assert offered(tracker.view()) == [message]
    second = tracker.claim(message)["message"]["delivery"]
    tracker.report(message, second, action)
    assert offered(tracker.view()) == []
    assert tracker.claim(message)["reason"] == "frequency"


def test_every_time_keeps_to_its_maximum_and_its_days(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "every_time", "max": 2, "every_days": 1}, ignore_caps=True)
    tracker.view()
    assert tracker.claim(message)["message"]
    assert tracker.claim(message)["reason"] == "frequency"
    world.clock.advance(DAY)
    tracker.view()
    assert tracker.claim(message)["message"]
    world.clock.advance(DAY)
    assert tracker.claim(message)["reason"] == "frequency"


def test_an_event_opens_its_message_where_its_metadata_fits(tracker: Tracker, world: World) -> None:
    trigger = {"type": "event", "event": "upgraded", "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]}
    message = create(world, trigger=trigger, content={"body": 'Enjoy {{event.metadata.plan}}, {{first_name | fallback: "friend"}}!'})
    assert offered(tracker.collect(tracker.event("upgraded", metadata={"plan": "basic"}))) == []
    event = tracker.event("upgraded", metadata={"plan": "pro"})
    answer = tracker.collect(event)
    assert answer["messages"] == [{"id": message, "trigger": "event", "event": event["id"]}]
    shown = tracker.claim(message, event=event["id"])["message"]
    assert shown["body"] == [{"tag": "p", "children": ["Enjoy pro, friend!"]}]


def test_a_trigger_event_is_counted_before_its_audience_is_asked(tracker: Tracker, world: World) -> None:
    audience = {"event": "created-report", "field": "count", "operator": ">", "value": 2}
    message = create(world, audience=audience, trigger={"type": "event", "event": "created-report"})
    answers = [offered(tracker.collect(tracker.event("created-report"))) for _ in range(3)]
    assert answers == [[], [], [message]]


def test_one_event_opens_its_message_once_although_it_may_come_every_time(tracker: Tracker, world: World) -> None:
    message = create(world, trigger={"type": "event", "event": "saved"}, frequency={"type": "every_time"}, ignore_caps=True)
    event = tracker.event("saved")
    tracker.collect(event)
    assert tracker.claim(message, event=event["id"])["message"]
    assert tracker.claim(message, event=event["id"])["reason"] == "trigger"
    assert offered(tracker.collect(event)) == []


def test_an_event_of_somebody_else_opens_nothing(tracker: Tracker, new_tracker, world: World) -> None:
    message = create(world, trigger={"type": "event", "event": "saved"})
    event = tracker.event("saved")
    tracker.collect(event)
    stranger = new_tracker()
    stranger.view()
    assert stranger.claim(message, event=event["id"])["reason"] == "trigger"


def test_a_trigger_expires_after_a_day(tracker: Tracker, world: World) -> None:
    message = create(world, trigger={"type": "event", "event": "saved"})
    event = tracker.event("saved")
    tracker.collect(event)
    world.clock.advance(DAY)
    assert tracker.claim(message, event=event["id"])["reason"] == "trigger"


def test_the_claim_decides_anew(tracker: Tracker, world: World) -> None:
    audience = {"event": "checked-out", "field": "count", "operator": "=", "value": 0}
    message = create(world, audience=audience)
    assert offered(tracker.view()) == [message]
    tracker.collect(tracker.event("checked-out"))
    assert tracker.claim(message) == {"message": None, "reason": "audience"}


def test_the_page_is_asked_again_at_the_claim(tracker: Tracker, world: World) -> None:
    message = create(world, page={"field": "path", "operator": "starts", "value": "/docs"})
    assert offered(tracker.view("/docs/start")) == [message]
    tracker.url = "https://shop.example/elsewhere"
    assert tracker.claim(message)["reason"] == "page"


def test_higher_priority_comes_first_and_the_older_of_equals(tracker: Tracker, world: World) -> None:
    low = create(world, priority=1)
    first = create(world, priority=5)
    world.clock.advance(1)
    second = create(world, priority=5)
    assert offered(tracker.view()) == [first, second, low]


def test_a_gap_lies_between_two_messages_and_three_a_day_are_enough(tracker: Tracker, world: World) -> None:
    messages = [create(world, priority=-number) for number in range(4)]
    tracker.view()
    assert tracker.claim(messages[0])["message"]
    assert tracker.claim(messages[1])["reason"] == "caps"
    for message in messages[1:3]:
        world.clock.advance(10 * MINUTE)
        assert tracker.claim(message)["message"]
    world.clock.advance(HOUR)
    assert tracker.claim(messages[3])["reason"] == "caps"
    world.clock.advance(DAY)
    assert tracker.claim(messages[3])["message"]


@pytest.mark.parametrize("state", ["draft", "paused", "archived"])
def test_only_live_messages_are_shown(tracker: Tracker, world: World, state: str) -> None:
    message = create(world, state=state)
    assert offered(tracker.view()) == []
    assert tracker.claim(message)["reason"] == "state"


def test_a_schedule_is_kept(tracker: Tracker, world: World) -> None:
    seconds = world.clock() // 1000
    message = create(world, schedule={"starts_at": seconds + 60, "ends_at": seconds + 120})
    assert offered(tracker.view()) == []
    world.clock.advance(MINUTE)
    assert offered(tracker.view()) == [message]
    world.clock.advance(MINUTE)
    assert tracker.claim(message)["reason"] == "schedule"


def test_a_message_of_another_site_does_not_exist(tracker: Tracker, world: World) -> None:
    mine = world.site
    world.site = world.new_site("Other")
    theirs = create(world)
    world.site = mine
    tracker.view()
    assert tracker.claim(theirs)["reason"] == "state"


def test_a_variable_without_value_and_fallback_holds_the_message_back(tracker: Tracker, world: World) -> None:
    message = create(world, content={"body": "Hello {{first_name}}"})
    tracker.view()
    assert tracker.claim(message) == {"message": None, "reason": "content"}
    assert numbers(world, message)["sent"] == 0


def test_a_verified_user_is_called_by_name(tracker: Tracker, world: World) -> None:
    message = create(world, content={"body": "Hello {{first_name | fallback: 'friend'}}"})
    tracker.identify("u-1", **verified(world, "u-1"))
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"name": "Éva <b>Example</b>"}}, tracker.event())
    assert tracker.claim(message)["message"]["body"] == [{"tag": "p", "children": ["Hello Éva"]}]


@pytest.mark.parametrize("asserted", [True, False])
def test_personal_values_are_not_given_out_unverified_or_signed_out(tracker: Tracker, world: World, *, asserted: bool) -> None:
    message = create(world, content={"body": "Hello {{first_name | fallback: 'friend'}}"})
    world.set(("user", "u-1"), {"name": "Private"}, browser=False)
    tracker.identify("u-1")
    tracker.view()
    if not asserted:
        tracker.user = None
    assert tracker.claim(message)["message"]["body"] == [{"tag": "p", "children": ["Hello friend"]}]


def test_a_message_for_users_is_held_while_nobody_is_signed_in(tracker: Tracker, world: World) -> None:
    message = create(world, audience={"field": "role", "operator": "=", "value": "user"})
    tracker.identify("u-1")
    assert offered(tracker.view()) == [message]
    tracker.user = None
    assert offered(tracker.view()) == []
    assert tracker.claim(message)["reason"] == "audience"


def test_reports_late_and_repeated_change_nothing(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    delivery = tracker.claim(message)["message"]["delivery"]
    tracker.report(message, delivery, "clicked", link="Read on")
    world.clock.advance(HOUR)
    assert tracker.report(message, delivery, "clicked", link="Read on")["duplicates"] == 1
    tracker.report(message, delivery, "seen")
    tracker.report(message, delivery, "dismissed")
    found = numbers(world, message)
    assert {key: found[key] for key in ("matched", "held_out", "sent", "seen", "clicked", "dismissed")} == {
        "matched": 1,
        "held_out": 0,
        "sent": 1,
        "seen": 1,
        "clicked": 1,
        "dismissed": 1,
    }
    assert found["links"] == [{"link": "Read on", "clicked": 1}]


def test_a_report_on_a_delivery_of_somebody_else_is_refused(tracker: Tracker, new_tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    delivery = tracker.claim(message)["message"]["delivery"]
    stranger = new_tracker()
    assert stranger.report(message, delivery, "clicked")["refused"][0]["code"] == "delivery_unknown"
    assert numbers(world, message)["clicked"] == 0


def test_of_a_hundred_claims_at_once_one_is_granted(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "once"}, ignore_caps=True)
    tracker.view()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: tracker.claim(message), range(100)))
    assert sum(answer["message"] is not None for answer in answers) == 1
    assert numbers(world, message)["sent"] == 1


def test_a_forged_lead_claims_nothing(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    body = {key: value for key, value in tracker.envelope().items() if key != "items"}
    forged = {**body, "lead": tracker.lead.split(".")[0] + "." + "x" * 22}
    answer = tracker.post("/claim", {**forged, "message": message, "nonce": "n" * 22, "page": {"url": tracker.url}})
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (403, "lead_secret_invalid")


def test_trouble_with_messages_never_fails_an_event(tracker: Tracker, world: World) -> None:
    create(world)
    world.services.writer.run(world.site.id, lambda tx: tx.run("UPDATE auto_messages SET definition = '{}'"))
    world.services.auto_messages.forget(world.site.id)
    answer = tracker.view()
    assert answer["accepted"] == 1
    assert "messages" not in answer


def test_any_event_of_a_batch_may_open_its_message(tracker: Tracker, world: World) -> None:
    where = [{"field": "metadata.plan", "operator": "=", "value": "pro"}]
    message = create(world, trigger={"type": "event", "event": "upgraded", "where": where})
    pro, basic = (tracker.event("upgraded", metadata={"plan": plan}) for plan in ("pro", "basic"))
    assert tracker.collect(pro, basic)["messages"] == [{"id": message, "trigger": "event", "event": pro["id"]}]


def test_a_message_is_granted_once_in_one_view(tracker: Tracker, world: World) -> None:
    message = create(world, ignore_caps=True)
    view = tracker.event()["id"]
    tracker.view()
    first = tracker.claim(message, view=view)["message"]
    tracker.report(message, first["delivery"], "seen")
    assert tracker.claim(message, view=view)["reason"] == "frequency"


def test_while_it_is_about_to_be_seen_in_one_tab_another_gets_none(tracker: Tracker, world: World) -> None:
    message = create(world, ignore_caps=True)
    tracker.view()
    assert tracker.claim(message)["message"]
    assert tracker.claim(message)["reason"] == "frequency"
    world.clock.advance(MINUTE)
    assert tracker.claim(message)["message"]


def test_a_signed_out_browser_is_told_nothing_that_was_said_about_its_user(tracker: Tracker, world: World) -> None:
    message = create(world, audience={"field": "custom_attributes.plan", "operator": "=", "value": "pro"})
    world.set(("user", "u-1"), {"custom_attributes.plan": "pro"}, browser=False)
    tracker.identify("u-1")
    assert offered(tracker.view()) == [message]
    tracker.user = None
    assert offered(tracker.view()) == []


def test_invented_links_do_not_fill_the_numbers(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    delivery = tracker.claim(message)["message"]["delivery"]
    for number in range(30):
        tracker.report(message, delivery, "clicked", link=f"{number} " + "文" * 2_000)
    links = numbers(world, message)["links"]
    assert len(links) == 10
    assert all(len(entry["link"]) <= 255 for entry in links)


def test_a_stored_message_that_cannot_be_read_silences_no_other(tracker: Tracker, world: World) -> None:
    broken, message = create(world), create(world)
    world.services.writer.run(world.site.id, lambda tx: tx.run("UPDATE auto_messages SET definition = '{}' WHERE public_id = ?", (broken,)))
    world.services.auto_messages.forget(world.site.id)
    assert offered(tracker.view()) == [message]


def test_a_long_history_is_measured_by_the_database(tracker: Tracker, world: World) -> None:
    message = create(world, audience={"event": "saved", "field": "count", "operator": ">", "value": 2, "within_days": 7})
    tracker.collect(tracker.event("saved", at=world.clock() - 8 * DAY), tracker.event("saved"), tracker.event("saved"))
    assert offered(tracker.view()) == []
    tracker.collect(tracker.event("saved"))
    assert offered(tracker.view()) == [message]


def test_a_nonce_of_the_user_is_no_key_for_who_sits_there_after_sign_out(tracker: Tracker, world: World) -> None:
    message = create(world, audience={"field": "role", "operator": "=", "value": "user"}, ignore_caps=True)
    tracker.identify("u-1")
    tracker.view()
    nonce = secrets.token_urlsafe(16)
    assert tracker.claim(message, nonce=nonce)["message"]
    tracker.user = None
    assert tracker.claim(message, nonce=nonce)["message"] is None


def test_what_was_reported_may_open_another_message_in_its_page(tracker: Tracker, world: World) -> None:
    first = create(world, priority=1, ignore_caps=True, page={"field": "path", "operator": "is", "value": "/pricing"})
    audience = {"message": first, "field": "dismissed", "operator": "has_any_value"}
    here = create(world, audience=audience, ignore_caps=True, page={"field": "path", "operator": "is", "value": "/pricing"})
    create(world, audience=audience, ignore_caps=True, page={"field": "path", "operator": "is", "value": "/docs"})
    view = tracker.event(url="https://shop.example/pricing")
    tracker.url = view["page"]["url"]
    assert offered(tracker.collect(view)) == [first]
    shown = tracker.claim(first, view=view["id"])["message"]["delivery"]
    assert offered(tracker.report(first, shown, "seen")) == []
    assert offered(tracker.report(first, shown, "dismissed")) == [here]
    assert offered(tracker.report(first, shown, "dismissed")) == [], "a repeated report makes nothing possible"
    assert tracker.claim(here, view=view["id"])["message"]


def test_what_is_shown_in_a_view_is_not_offered_there_again_by_what_is_reported_of_it(tracker: Tracker, world: World) -> None:
    message = create(world, frequency={"type": "every_time"}, ignore_caps=True)
    view = tracker.event()
    tracker.collect(view)
    shown = tracker.claim(message, view=view["id"])["message"]["delivery"]
    assert offered(tracker.report(message, shown, "seen")) == []
    assert offered(tracker.report(message, shown, "dismissed")) == []


def test_who_was_held_out_has_nothing_to_report(tracker: Tracker, world: World) -> None:
    message = create(world, holdout_percent=100)
    tracker.view()
    assert tracker.claim(message, nonce="n" * 22)["reason"] == "holdout"
    assert tracker.report(message, "n" * 22, "clicked")["refused"][0]["code"] == "delivery_unknown"


def test_messages_that_another_collector_was_told_to_pause_are_granted_no_more(tracker: Tracker, world: World) -> None:
    message, site = create(world), world.site.id
    tracker.view()
    world.services.writer.run(site, lambda tx: world.services.sites.change(tx, site, messages_paused=True))
    assert tracker.claim(message) == {"message": None, "reason": "state"}
