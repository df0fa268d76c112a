"""What the console says of messages: whom they are for, what they say, how they did."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import deliveries, message_numbers
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import Delivery, Report
from collector.values.clock import HOUR, MINUTE
from collector.values.messages import clean_auto_message
from collector.web.console import query_words
from tests.support.clock import START, FakeClock
from tests.support.world import user
from tests.web.test_console_support import Console, Parsed, console, section


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def delivered(on: Console, message: Any, who: Any, n: int = 1, **times: int) -> None:
    person = on.world.person(who)
    nonce = f"{message.id}-{person.id}-{n}"
    row = Delivery(person.id, message.id, n, message.version, "shown", nonce, START - HOUR, *[None] * 7)
    on.services.writer.run(on.site.id, lambda tx: deliveries.insert(tx, on.site.id, row))
    for action, at in times.items():
        report = Report(message.public_id, row.nonce, action, at, "https://shop.example/team" if action == "clicked" else None)
        on.services.writer.run(on.site.id, lambda tx, report=report: deliveries.record(tx, on.site.id, person.id, report))


def test_without_messages_one_is_told_how_to_make_one(on: Console) -> None:
    text = Parsed(on.page("/messages")).text
    assert "No messages yet" in text
    assert "curl http://127.0.0.1:8000/api/auto_messages" in text


def test_messages_with_their_numbers(on: Console) -> None:
    message = on.message(name="Ask us")
    for name in ("u-1", "u-2", "u-3", "u-4"):
        on.did(user(name), "signed-up")
    delivered(on, message, user("u-1"), clicked=START)
    delivered(on, message, user("u-2"), seen=START, dismissed=START)
    delivered(on, message, user("u-3"), seen=START)
    delivered(on, message, user("u-4"))
    assert "Ask us Hi Live 4 4 3 75 % 1 25 % 1 25 %" in Parsed(on.page("/messages")).text
    page = on.page(f"/messages/{message.public_id}")
    text = Parsed(page).text
    assert "Sent 4" in text
    assert "Seen 3 75 %" in text
    assert "Clicked 1 25 % 33.3 %" in text
    assert "https://shop.example/team 1 person" in text
    assert f"/console/people/{on.contact_id(user('u-3'))}" in Parsed(page).hrefs


def test_a_profile_lists_the_messages_it_got(on: Console) -> None:
    message = on.message(name="Ask us")
    on.did(user(), "signed-up")
    delivered(on, message, user(), clicked=START - 5 * MINUTE)
    page = section(on.profile(user()), "messages")
    assert "Ask us 1 hour ago Sent Seen Clicked" in Parsed(page).text
    assert "Dismissed" not in page
    assert f"/console/messages/{message.public_id}" in Parsed(page).hrefs


def test_a_message_says_whom_it_is_for(on: Console) -> None:
    message = on.message(
        audience={
            "operator": "AND",
            "value": [
                {
                    "event": "page-view",
                    "field": "count",
                    "operator": ">",
                    "value": 3,
                    "where": [{"field": "metadata.path", "operator": "=", "value": "/pricing"}],
                },
                {"operator": "NOT", "value": [{"event": "upgraded", "field": "count", "operator": ">", "value": 0}]},
            ],
        },
        page={"field": "path", "operator": "starts", "value": "/pri"},
        content={
            "body": 'Hi **{{first_name | fallback: "there"}}**',
            "buttons": [{"label": "Go", "action": "url", "url": "https://shop.example"}],
        },
    )
    text = Parsed(on.page(f"/messages/{message.public_id}")).text
    assert (
        "All of these hold Did “page-view” where path is “/pricing” more than 3 times None of these holds Did “upgraded” at least once"
        in text
    )
    assert "The path starts with “/pri”" in text
    assert "Hi first_name" in text
    assert "Go opens https://shop.example" in text


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"event": "a", "field": "count", "operator": "=", "value": 0}, "Never did “a”"),
        ({"event": "a", "field": "count", "operator": ">=", "value": 2, "within_days": 30}, "Did “a” in the last 30 days at least 2 times"),
        ({"event": "a", "field": "first", "operator": "more_than_days_ago", "value": 5}, "The first “a” lies back by more than 5 days"),
        (
            {"event": "a", "field": "last", "operator": ">", "value": {"event": "b", "field": "last"}},
            "The last “a” is later than the last “b”",
        ),
        ({"field": "role", "operator": "=", "value": "user"}, "Role is “user”"),
        ({"field": "custom_attributes.plan", "operator": "IN", "value": ["pro", "team"]}, "“plan” is one of “pro”, “team”"),
        ({"field": "email", "operator": "is_unknown"}, "Email is unknown"),
    ],
)
def test_rules_in_words(rule: dict[str, Any], said: str) -> None:
    raw = {"name": "x", "type": "popup", "content": {"body": "x"}, "audience": rule}
    made = clean_auto_message(raw, retention_days=90).audience
    assert made is not None
    assert query_words.audience(made).items == [said]


def answered(on: Console, message: Any, who: Any, answer: Any, at: int) -> None:
    delivered(on, message, who)
    report = Report(message.public_id, f"{message.id}-{on.world.person(who).id}-1", "answered", at, None, answer)
    on.services.writer.run(on.site.id, lambda tx: deliveries.record(tx, on.site.id, on.world.person(who).id, report))


def test_a_message_lists_its_answers_with_the_people_who_gave_them(on: Console) -> None:
    message = on.message(content={"title": "Why?", "question": {"kind": "text", "attribute": "reason"}})
    assert "None so far" in section(on.page(f"/messages/{message.public_id}"), "answers")
    for name in ("u-1", "u-2"):
        on.did(user(name), "signed-up")
    answered(on, message, user("u-1"), "<b>Because</b>", START - HOUR)
    answered(on, message, user("u-2"), "javascript:alert(1)", START - 5 * MINUTE)
    page = on.page(f"/messages/{message.public_id}")
    assert "u-2 javascript:alert(1) 5 minutes ago U1 u-1 <b>Because</b> 1 hour ago" in Parsed(section(page, "answers")).text
    assert not [href for href in Parsed(page).hrefs if href.startswith("javascript:")]
    assert f"/console/people/{on.contact_id(user('u-1'))}" in Parsed(section(page, "answers")).hrefs
    text = Parsed(page).text
    assert "Answered 2 100 %" in text
    assert "Asks for a text; the answer sets “ reason ”" in text


def test_all_answers_are_on_a_page_of_their_own(on: Console) -> None:
    message = on.message(content={"title": "How many?", "question": {"kind": "rating", "scale": "0-10"}})
    for number in range(11):
        on.did(user(f"u-{number}"), "signed-up")
        answered(on, message, user(f"u-{number}"), number, START - number * MINUTE)
    page = section(on.page(f"/messages/{message.public_id}"), "answers")
    assert "All 11 answers" in Parsed(page).text
    assert f"/console/messages/{message.public_id}/answers" in Parsed(page).hrefs
    everything = on.page(f"/messages/{message.public_id}/answers")
    assert everything.count('class="said"') == 11
    assert on.get("/messages/000000000000000000000000/answers").status_code == 404


def people_of(on: Console, href: str) -> set[str]:
    """Return the contact ids of all people that a list of them shows, on however many pages."""
    found: set[str] = set()
    address: str | None = href.removeprefix("/console")
    while address is not None:
        parsed = Parsed(on.page(address))
        found |= {link.removeprefix("/console/people/") for link in parsed.hrefs if link.startswith("/console/people/")}
        following = [link["href"] for link in parsed.links if link.get("rel") == "next"]
        address = following[0].removeprefix("/console") if following else None
    return found


def test_each_number_of_a_message_leads_to_the_people_behind_it(on: Console) -> None:
    question = {"kind": "rating", "attribute": None}
    message = on.message(name="How was it?", content={"title": "How was it?", "question": question}, holdout_percent=50)
    for number in range(60):
        on.did(user(f"u-{number}"), "signed-up")
        reported: dict[str, int] = {"seen": START} if number % 2 else {}
        if number % 3 == 0:
            reported["clicked"] = START
        delivered(on, message, user(f"u-{number}"), **reported)
    for number, stars in ((1, 5), (2, 5), (3, 1)):
        person = on.world.person(user(f"u-{number}"))
        report = Report(message.public_id, f"{message.id}-{person.id}-1", "answered", START, None, stars)
        on.services.writer.run(on.site.id, lambda tx, report=report, person=person: deliveries.record(tx, on.site.id, person.id, report))
    page = Parsed(section(on.page(f"/messages/{message.public_id}"), "numbers-title"))
    by_step = {link: people_of(on, link) for link in page.hrefs if "/people?" in link}

    def of(*wanted: str) -> set[str]:
        return by_step[next(link for link in by_step if link.partition("?")[2].split("&") == list(wanted))]

    def ids(*numbers: int) -> set[str]:
        return {on.contact_id(user(f"u-{number}")) for number in numbers}

    assert of("step=matched") == of("step=sent") == ids(*range(60))
    assert of("step=seen") == ids(*(number for number in range(60) if number % 2 or number % 3 == 0 or number == 2))
    assert of("step=clicked") == ids(*range(0, 60, 3))
    assert of("step=clicked", "link=https://shop.example/team") == ids(*range(0, 60, 3))
    assert of("step=answered") == ids(1, 2, 3)
    assert of("step=answered", "answer=5", "kind=rating") == ids(1, 2)
    assert of("step=answered", "answer=1", "kind=rating") == ids(3)
    steps = ("Matched 60", "Sent 60", "Clicked 20", "Answered 3")
    for word in (*steps, "https://shop.example/team 20 people", "5 2 66.7", "4 0 0", "1 1 33.3"):
        assert word in page.text.replace("\u202f", " "), word
    listed = Parsed(on.page("/messages"))
    assert f"/console/messages/{message.public_id}/people?step=clicked" in listed.hrefs


@pytest.mark.parametrize(
    "query",
    [
        *("", "step=nobody", "step=seen&link=x", "step=clicked&link=%00"),
        *("step=sent&answer=x", "step=sent&other=1", "step=answered&answer=x&kind=rating"),
    ],
)
def test_a_number_that_is_none_has_nobody_behind_it(on: Console, query: str) -> None:
    message = on.message()
    assert on.get(f"/messages/{message.public_id}/people?{query}").status_code == 404


def test_answers_to_what_was_asked_before_are_one_number(on: Console) -> None:
    message = on.message(content={"title": "Why?", "question": {"kind": "text"}})

    def answered(name: str, answer: str | int) -> None:
        on.did(user(name), "signed-up")
        delivered(on, message, user(name))
        person = on.world.person(user(name))
        report = Report(message.public_id, f"{message.id}-{person.id}-1", "answered", START, None, answer)
        on.services.writer.run(on.site.id, lambda tx: deliveries.record(tx, on.site.id, person.id, report))

    def asks(**question: Any) -> AutoMessage:
        def change(_version: int, definition: dict[str, Any]) -> Any:
            content = {**definition["content"], "question": question}
            return clean_auto_message({**definition, "content": content}, retention_days=90)

        edited: AutoMessage = on.services.writer.run(
            on.site.id, lambda tx: on.services.auto_messages.update(tx, on.site.id, message.public_id, change, START)
        )
        return edited

    def counted() -> tuple[dict[Any, int], int]:
        with on.services.database.read() as connection:
            told = message_numbers.stats(connection, on.site.id, message)
        return {line["answer"]: line["answered"] for line in told["answers"] if line["answered"]}, told["other_answers"]

    answered("u-1", "Because of my illness")
    answered("u-2", "Pro")
    assert counted() == ({}, 0)
    message = asks(kind="choice", choices=["Pro", "Team"])
    answered("u-3", "Pro")
    answered("u-4", "Team")
    assert counted() == ({"Pro": 1, "Team": 1}, 2)
    message = asks(kind="choice", choices=["Pro", "Solo"])
    assert counted() == ({"Pro": 1}, 3)
    message = asks(kind="rating", scale="1-5")
    answered("u-5", 5)
    assert counted() == ({5: 1}, 4)
    message = asks(kind="rating", scale="0-10")
    answered("u-6", 5)
    assert counted() == ({5: 1}, 5)
    page = Parsed(section(on.page(f"/messages/{message.public_id}"), "numbers-title"))
    assert "5 people answered what was asked before." in page.text
    assert "illness" not in page.text
    (link,) = [link for link in page.hrefs if "other=1" in link]
    assert people_of(on, link) == {on.contact_id(user(f"u-{number}")) for number in range(1, 6)}
    assert people_of(on, f"/console/messages/{message.public_id}/people?step=answered&answer=5&kind=rating") == {on.contact_id(user("u-6"))}


def test_choices_are_counted_in_the_order_they_are_offered_in(on: Console) -> None:
    message = on.message(content={"title": "Which?", "question": {"kind": "choice", "choices": ["<b>Pro</b>", "Team", "None"]}})
    for name, choice in (("u-1", "Team"), ("u-2", "Team"), ("u-3", "<b>Pro</b>")):
        on.did(user(name), "signed-up")
        delivered(on, message, user(name))
        person = on.world.person(user(name))
        report = Report(message.public_id, f"{message.id}-{person.id}-1", "answered", START, None, choice)
        on.services.writer.run(on.site.id, lambda tx, report=report, person=person: deliveries.record(tx, on.site.id, person.id, report))
    with on.services.database.read() as connection:
        counted = message_numbers.stats(connection, on.site.id, message)["answers"]
    assert counted == [
        {"answer": "<b>Pro</b>", "answered": 1},
        {"answer": "Team", "answered": 2},
        {"answer": "None", "answered": 0},
    ]
    page = Parsed(section(on.page(f"/messages/{message.public_id}"), "numbers-title"))
    (link,) = [link for link in page.hrefs if "answer=%3Cb%3EPro" in link or "answer=<b>Pro" in link]
    assert people_of(on, link) == {on.contact_id(user("u-3"))}
