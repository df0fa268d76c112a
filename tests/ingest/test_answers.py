"""An answer to a message: kept once, an event of the person's, and an attribute where its question says so."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector.domain.answers import EVENT_NAME
from collector.values.clock import DAY, MINUTE
from collector.values.messages import clean_auto_message
from tests.domain.test_slices import pruner
from tests.ingest.test_messages import create, numbers, offered, verified
from tests.support.browserless import Tracker
from tests.support.world import World

EMAIL = {"kind": "email", "attribute": "email"}
PLAN = {"kind": "text", "attribute": "plan"}
STARS = {"kind": "rating", "attribute": "stars"}


def asking(world: World, question: dict[str, Any], **fields: Any) -> str:
    return create(world, content={"title": "Tell us", "question": question}, ignore_caps=True, **fields)


def shown(tracker: Tracker, message: str) -> str:
    """Go to a page, get the message, and return the delivery."""
    tracker.view()
    delivery: str = tracker.claim(message)["message"]["delivery"]
    return delivery


def answer(tracker: Tracker, message: str, delivery: str, value: Any, **fields: Any) -> Any:
    return tracker.report(message, delivery, "answered", answer=value, **fields)


def key(tracker: Tracker) -> tuple[str, str]:
    return ("lead", tracker.lead.partition(".")[0]) if tracker.user is None else ("user", tracker.user["id"])


def events(world: World, tracker: Tracker) -> list[dict[str, Any]]:
    return [event.metadata for event in world.timeline(key(tracker)) if event.name == EVENT_NAME]


def stored(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT answer, answered_at, seen_at FROM deliveries ORDER BY claimed_at")


def test_a_claim_gives_out_what_is_asked_and_who_asks(tracker: Tracker, world: World) -> None:
    message = create(world, type="chat", content={"body": "Hi", "sender": "Support", "question": {"kind": "choice", "choices": ["a", "b"]}})
    tracker.view()
    given = tracker.claim(message)["message"]
    assert (given["type"], given["sender"], given["position"]) == ("chat", "Support", "corner")
    assert given["question"] == {"kind": "choice", "choices": ["a", "b"], "scale": None}


def test_an_answer_is_kept_with_its_time_and_becomes_an_event(tracker: Tracker, world: World) -> None:
    message = asking(world, {"kind": "text"})
    delivery = shown(tracker, message)
    world.clock.advance(MINUTE)
    assert answer(tracker, message, delivery, " Because <b>of</b> Éva ")["accepted"] == 1
    assert stored(world) == [('"Because <b>of</b> Éva"', world.clock(), world.clock())]
    assert events(world, tracker) == [{"message": message, "answer": "Because <b>of</b> Éva"}]
    assert world.totals(key(tracker))[EVENT_NAME].last_ms == world.clock()
    assert {step: numbers(world, message)[step] for step in ("answered", "seen", "clicked")} == {"answered": 1, "seen": 1, "clicked": 0}


def test_the_first_answer_stays_whatever_is_repeated(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    delivery = shown(tracker, message)
    first = {"type": "message", "message": message, "delivery": delivery, "action": "answered", "at": world.clock(), "answer": "pro"}
    assert tracker.collect(first, {**first, "answer": "team"})["accepted"] == 1
    world.clock.advance(DAY + MINUTE)
    again = tracker.collect(first, {**first, "answer": "later", "at": world.clock()}, {**first, "answer": "earlier", "at": first["at"] - 5})
    assert (again["accepted"], again["duplicates"], again["refused"]) == (0, 3, [])
    assert events(world, tracker) == [{"message": message, "answer": "pro"}]
    assert world.counts(key(tracker))[EVENT_NAME] == 1
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "pro"
    assert stored(world) == [('"pro"', first["at"], first["at"])]


def test_of_many_answers_at_once_one_is_taken(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    delivery = shown(tracker, message)
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda number: answer(tracker, message, delivery, f"plan {number}"), range(20)))
    assert sum(reply["accepted"] for reply in replies) == 1
    (kept,) = events(world, tracker)
    assert world.attributes(key(tracker))["custom_attributes.plan"] == kept["answer"]
    assert stored(world)[0][0] == f'"{kept["answer"]}"'


def test_two_deliveries_are_two_answers(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS, frequency={"type": "every_time"})
    for stars in (5, 2):
        answer(tracker, message, shown(tracker, message), stars)
        world.clock.advance(MINUTE)
    assert events(world, tracker) == [{"message": message, "answer": 2}, {"message": message, "answer": 5}]
    assert world.attributes(key(tracker))["custom_attributes.stars"] == 2
    assert numbers(world, message)["answered"] == 1


def test_a_message_that_was_answered_does_not_come_back(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS)
    delivery = shown(tracker, message)
    tracker.report(message, delivery, "seen")
    assert offered(tracker.view()) == [message]
    answer(tracker, message, delivery, 3)
    assert offered(tracker.view()) == []
    assert tracker.claim(message)["reason"] == "frequency"


def test_an_answer_of_many_signs_is_cut_and_flagged(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    reply = answer(tracker, message, shown(tracker, message), "é" * 10_000)
    assert reply["flagged"] == [{"index": 0, "code": "string_cut", "field": "answer"}]
    assert stored(world)[0][0] == f'"{"é" * 2_000}"'
    assert events(world, tracker) == [{"message": message, "answer": "é" * 255}]
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "é" * 255


@pytest.mark.parametrize(
    ("question", "value", "code", "field"),
    [
        (EMAIL, "nobody", "answer_invalid", "answer"),
        (STARS, 6, "answer_invalid", "answer"),
        (STARS, "5", "answer_invalid", "answer"),
        ({"kind": "choice", "choices": ["a", "b"]}, "c", "answer_invalid", "answer"),
        (PLAN, "  ", "answer_invalid", "answer"),
        (PLAN, None, "field_missing", "answer"),
        (PLAN, ["pro"], "field_invalid", "answer"),
        (PLAN, {"a": 1}, "field_invalid", "answer"),
    ],
)
def test_what_the_question_does_not_take_is_refused(
    tracker: Tracker, world: World, question: dict[str, Any], value: Any, code: str, field: str
) -> None:
    message = asking(world, question)
    refused = answer(tracker, message, shown(tracker, message), value)["refused"]
    assert [(one["code"], one.get("field")) for one in refused] == [(code, field)]
    assert stored(world)[0][:2] == (None, None)
    assert events(world, tracker) == []


def test_only_answers_carry_one_and_only_questions_take_one(tracker: Tracker, world: World) -> None:
    silent = create(world, ignore_caps=True)
    delivery = shown(tracker, silent)
    assert tracker.report(silent, delivery, "seen", answer="x")["refused"][0]["code"] == "field_invalid"
    assert answer(tracker, silent, delivery, "x")["refused"][0]["code"] == "answer_invalid"


def test_nobody_answers_for_somebody_else(tracker: Tracker, new_tracker, world: World) -> None:
    message = asking(world, PLAN)
    delivery = shown(tracker, message)
    stranger = new_tracker()
    stranger.view()
    assert answer(stranger, message, delivery, "pro")["refused"][0]["code"] == "delivery_unknown"
    assert answer(tracker, message, "x" * 22, "pro")["refused"][0]["code"] == "delivery_unknown"
    assert answer(tracker, asking(world, PLAN), delivery, "pro")["refused"][0]["code"] == "delivery_unknown"
    assert events(world, tracker) == events(world, stranger) == []


def test_who_is_held_out_has_nothing_to_answer(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN, holdout_percent=100)
    tracker.view()
    nonce = "n" * 22
    assert tracker.claim(message, nonce=nonce)["reason"] == "holdout"
    assert answer(tracker, message, nonce, "pro")["refused"][0]["code"] == "delivery_unknown"


def test_an_answer_given_before_signing_in_may_arrive_with_the_sign_in(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    delivery = shown(tracker, message)
    tracker.identify("u-1")
    assert answer(tracker, message, delivery, "pro")["accepted"] == 1
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "pro"


def test_an_email_that_was_answered_is_an_attribute_and_finds_nobody(tracker: Tracker, world: World) -> None:
    message = asking(world, EMAIL)
    answer(tracker, message, shown(tracker, message), "Reader@example.com")
    assert world.attributes(key(tracker))["email"] == "Reader@example.com"
    assert world.person(key(tracker)).role == "lead"


def test_an_unverified_answer_changes_nothing_a_trusted_source_set(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    tracker.identify("u-1")
    delivery = shown(tracker, message)
    world.set(key(tracker), {"custom_attributes.plan": "team"}, browser=False)
    world.clock.advance(MINUTE)
    answer(tracker, message, delivery, "pro")
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "team"
    assert events(world, tracker) == [{"message": message, "answer": "pro"}]


def test_a_verified_answer_is_trusted(tracker: Tracker, world: World) -> None:
    message = asking(world, PLAN)
    tracker.identify("u-1", **verified(world, "u-1"))
    delivery = shown(tracker, message)
    world.set(key(tracker), {"custom_attributes.plan": "team"}, browser=False)
    world.clock.advance(MINUTE)
    answer(tracker, message, delivery, "pro")
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "pro"


def test_an_answer_is_measured_by_the_question_that_was_shown(tracker: Tracker, world: World) -> None:
    message = asking(world, {"kind": "choice", "choices": ["Old", "New"], "attribute": "before"})
    delivery = shown(tracker, message)
    content = {"title": "Tell us", "question": {"kind": "choice", "choices": ["New", "Newest"], "attribute": "after"}}
    edited = clean_auto_message({"name": "Edited", "type": "popup", "state": "live", "content": content}, retention_days=90)
    auto_messages = world.services.auto_messages
    world.services.writer.run(world.site.id, lambda tx: auto_messages.update(tx, world.site.id, message, lambda *_: edited, world.clock()))
    assert answer(tracker, message, delivery, "Newest")["refused"][0]["code"] == "answer_invalid"
    assert answer(tracker, message, delivery, "Old")["accepted"] == 1
    assert world.attributes(key(tracker))["custom_attributes.before"] == "Old"


def test_answers_bring_their_names_whatever_browsers_brought_today(tracker: Tracker, world: World) -> None:
    most = world.services.settings.new_names_per_day
    message = asking(world, PLAN)
    delivery = shown(tracker, message)
    for first in range(0, most, 500):
        tracker.collect(*(tracker.event(f"name-{number}") for number in range(first, first + 500)))
    for first in range(0, most, 250):
        attributes = {f"name-{number}": 1 for number in range(first, first + 250)}
        tracker.collect({"type": "identify", "at": world.clock(), "attributes": attributes})
    assert answer(tracker, message, delivery, "pro")["refused"] == []
    assert world.counts(key(tracker))[EVENT_NAME] == 1
    assert world.attributes(key(tracker))["custom_attributes.plan"] == "pro"


def in_view(tracker: Tracker, message: str) -> str:
    """Go to a page, get the message in that view, and return the delivery."""
    view = tracker.event()
    tracker.collect(view)
    delivery: str = tracker.claim(message, view=view["id"])["message"]["delivery"]
    return delivery


def test_the_answer_to_an_answer_names_what_it_makes_possible(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS)
    of_person = create(world, ignore_caps=True, audience={"message": message, "field": "answered", "operator": "has_any_value"})
    of_attribute = create(world, ignore_caps=True, audience={"field": "custom_attributes.stars", "operator": ">", "value": 4})
    where = [{"field": "metadata.answer", "operator": "=", "value": 5}]
    of_event = create(world, ignore_caps=True, trigger={"type": "event", "event": EVENT_NAME, "where": where})
    delivery = in_view(tracker, message)
    named = answer(tracker, message, delivery, 5)["messages"]
    assert [one["id"] for one in named] == [of_person, of_attribute, of_event]
    assert tracker.claim(of_event, event=named[2]["event"])["message"]


def test_an_answer_that_fits_no_condition_opens_nothing(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS)
    where = [{"field": "metadata.answer", "operator": "=", "value": 5}]
    create(world, ignore_caps=True, trigger={"type": "event", "event": EVENT_NAME, "where": where})
    assert answer(tracker, message, in_view(tracker, message), 4).get("messages", []) == []


def test_an_answer_happened_in_the_page_that_asked(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS)
    tracker.url = "https://shop.example/pricing"
    answer(tracker, message, in_view(tracker, message), 4)
    (event,) = [event for event in world.timeline(key(tracker)) if event.name == EVENT_NAME]
    assert event.page["url"] == "https://shop.example/pricing"


def test_who_signed_out_is_offered_what_its_own_answer_opens(tracker: Tracker, world: World) -> None:
    message = asking(world, STARS)
    of_event = create(world, ignore_caps=True, trigger={"type": "event", "event": EVENT_NAME})
    tracker.identify("u-1")
    tracker.view()
    tracker.user = None
    assert offered(answer(tracker, message, in_view(tracker, message), 4)) == [of_event]


@pytest.mark.parametrize("pruned", [False, True])
def test_an_answer_to_what_was_shown_before_the_timeline_began_happened_in_no_page(tracker: Tracker, world: World, *, pruned: bool) -> None:
    message = asking(world, STARS)
    create(world, ignore_caps=True, page={"field": "path", "operator": "is", "value": "/pricing"})
    tracker.url = "https://shop.example/pricing"
    delivery = in_view(tracker, message)
    world.clock.advance(120 * DAY)
    if pruned:
        assert list(pruner(world.services))
    assert offered(answer(tracker, message, delivery, 4)) == []
    (event,) = [event for event in world.timeline(key(tracker)) if event.name == EVENT_NAME]
    assert event.page == {}
