"""What is done to messages in the console: they go live after a look at what that means, are paused, copied, compared, tested."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.domain import trials
from collector.domain.auto_messages import AutoMessage
from collector.domain.sites import Site
from collector.domain.trials import Trial
from collector.values.clock import HOUR
from collector.values.messages import clean_auto_message
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console

CART = {"event": "cart", "field": "count", "operator": ">", "value": 0}
HI = {"title": "Hi {{first_name}}", "body": "From {{plan}}, {{city | fallback: 'somewhere'}}"}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def draft(on: Console, site: Site | None = None, **fields: Any) -> AutoMessage:
    return on.message(site, state="draft", **fields)


def now(on: Console, message: AutoMessage, site: Site | None = None) -> AutoMessage:
    """Return a message as it is stored now."""
    with on.services.database.read() as connection:
        found = on.services.auto_messages.get(connection, (site or on.site).id, message.public_id)
    assert found is not None
    return found


def path(message: AutoMessage, what: str = "") -> str:
    return f"/messages/{message.public_id}{what}"


def stamp(page: str) -> str:
    found = re.search('name="stamp" value="([0-9a-f]+)"', page)
    assert found
    return found[1]


def edit(on: Console, message: AutoMessage, **fields: Any) -> None:
    def change(_version: int, before: dict[str, Any]) -> Any:
        return clean_auto_message({**before, **fields}, retention_days=90)

    on.services.writer.run(on.site.id, lambda tx: on.services.auto_messages.update(tx, on.site.id, message.public_id, change, on.clock()))


# States


def test_going_live_is_confirmed_first(on: Console) -> None:
    message = draft(on)
    answer = on.post(path(message, "/state"), {"state": "live"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/console{path(message, '/live')}")
    assert now(on, message).definition.state == "draft"
    page = on.page(path(message, "/live"))
    assert on.post(path(message, "/state"), {"state": "live", "stamp": stamp(page)}).status_code == 303
    assert now(on, message).definition.state == "live"
    assert [one.public_id for one in on.services.auto_messages.live(on.site.id).messages] == [message.public_id]


@pytest.mark.parametrize("state", ["paused", "archived", "draft"])
def test_a_live_message_is_taken_down_at_once(on: Console, state: str) -> None:
    message = on.message()
    assert on.services.auto_messages.live(on.site.id).messages
    assert on.post(path(message, "/state"), {"state": state}).status_code == 303
    assert now(on, message).definition.state == state
    assert on.services.auto_messages.live(on.site.id).messages == []


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("draft", {"archived"}),
        ("live", {"paused", "draft", "archived"}),
        ("paused", {"draft", "archived"}),
        ("archived", {"draft"}),
    ],
)
def test_each_state_offers_the_others(on: Console, state: str, offered: set[str]) -> None:
    page = on.page(path(on.message(state=state)))
    assert set(re.findall('name="state" value="([a-z]+)"', page)) == offered
    assert ("Make it live…" in page) == (state != "live")


def test_what_changed_after_the_look_does_not_go_live(on: Console) -> None:
    message = draft(on)
    seen = stamp(on.page(path(message, "/live")))
    edit(on, message, content={"body": "Something else"})
    answer = on.post(path(message, "/state"), {"state": "live", "stamp": seen})
    assert answer.status_code == 409
    assert "It is not live yet: somebody changed the message" in Parsed(answer.text).text
    assert now(on, message).definition.state == "draft"
    assert on.post(path(message, "/state"), {"state": "live", "stamp": stamp(answer.text)}).status_code == 303


def test_an_unknown_state_is_refused(on: Console) -> None:
    message = on.message()
    assert on.post(path(message, "/state"), {"state": "gone"}).status_code == 400
    assert now(on, message).definition.state == "live"


# What going live means


def test_the_people_of_the_audience_are_counted(on: Console) -> None:
    for name in ("u-1", "u-2"):
        on.did(user(name), "cart")
    on.did(lead("other"), "page-view")
    text = Parsed(on.page(path(draft(on, audience=CART), "/live"))).text
    assert "Its audience describes 2 people now (counted at 16:13:20 )" in text
    everybody = Parsed(on.page(path(draft(on), "/live"))).text
    assert "It is for everybody, which is 3 people now, and every new visitor" in everybody


def test_who_cannot_be_shown_it_is_counted_by_what_they_lack(on: Console) -> None:
    for name, values in {
        "both": {"name": "Somebody", "custom_attributes.plan": "pro"},
        "nameless": {"custom_attributes.plan": "pro"},
        "blank": {"name": "", "custom_attributes.plan": "pro"},
        "neither": {},
    }.items():
        on.did(user(name), "cart")
        if values:
            on.world.set(user(name), values)
    on.world.set(user("not meant"), {"email": "not@example.com"})
    text = Parsed(on.page(path(draft(on, audience=CART, content=HI), "/live"))).text
    assert "Its audience describes 4 people now" in text
    assert "3 of them cannot be shown it , for lack of a value where there is no fallback: first_name (3), plan (1)" in text
    assert "city" not in text


def test_what_everybody_has_is_said_too(on: Console) -> None:
    on.did(user("u-1"), "cart")
    text = Parsed(on.page(path(draft(on, audience=CART, content={"body": "{{user_id}}"}), "/live"))).text
    assert "All of them have the values that it needs: user_id" in text


def test_what_the_event_has_to_bring_is_said(on: Console) -> None:
    content = {"body": "{{event.metadata.item}} {{event.metadata.size | fallback: '?'}}"}
    message = draft(on, content=content, trigger={"type": "event", "event": "cart"})
    text = Parsed(on.page(path(message, "/live"))).text
    assert "The event has to bring event.metadata.item ; otherwise it is not shown." in text


def test_that_there_is_no_event_to_bring_it_is_said(on: Console) -> None:
    text = Parsed(on.page(path(draft(on, content={"body": "{{event.metadata.item}}"}), "/live"))).text
    assert "Nobody can be shown it: it opens without an event, so nothing stands for event.metadata.item ." in text


def test_that_its_schedule_has_ended_is_said(on: Console) -> None:
    over = draft(
        on,
        schedule={"ends_at": 1_000_000_000},
        content={"body": "{{event.metadata.item}}"},
        trigger={"type": "event", "event": "cart"},
    )
    text = Parsed(on.page(path(over, "/live"))).text
    assert "Nobody can be shown it: its schedule is never open again." in text
    assert "The event has to bring event.metadata.item ; otherwise it is not shown." in text
    assert "never open again" not in Parsed(on.page(path(draft(on), "/live"))).text


def test_that_its_content_is_public_is_said(on: Console) -> None:
    text = Parsed(on.page(path(draft(on), "/live"))).text
    assert "What it says is public." in text
    assert "anybody who guesses a user id" in text


# Duplicate and copy


def test_a_duplicate_is_shown_as_a_draft(on: Console) -> None:
    message = on.message(name="Ask us", audience=CART)
    answer = on.post(path(message, "/duplicate"))
    assert answer.status_code == 303
    with on.services.database.read() as connection:
        newest, _ = on.services.auto_messages.all(connection, on.site.id)
    assert urlsplit(answer.headers["Location"]).path == f"/console{path(newest)}"
    assert newest.as_json() == {**message.as_json(), "id": newest.public_id, "name": "Ask us (copy)", "state": "draft"}


@pytest.fixture
def other(on: Console) -> Site:
    """Another site that the account sees."""
    made = on.world.new_site("Other", "https://other.example")
    on.account("two@example.com", on.site, made)
    on.browser = on.new_browser()
    on.sign_in("two@example.com")
    return made


def copied(on: Console, message: AutoMessage, to: str) -> Any:
    return on.post(path(message, f"/copy?site={on.site.key}"), {"to": to})


def test_a_message_is_copied_to_another_site_of_the_account(on: Console, other: Site) -> None:
    message = on.message(name="Ask us", audience=CART)
    assert "Other" in Parsed(on.page(path(message, f"/copy?site={on.site.key}"))).text
    answer = copied(on, message, other.key)
    assert answer.status_code == 303
    with on.services.database.read() as connection:
        (copy,) = on.services.auto_messages.all(connection, other.id)
    assert copy.as_json() == {**message.as_json(), "id": copy.public_id, "state": "draft"}
    assert answer.headers["Location"] == f"/console{path(copy)}?saved=1&site={other.key}"
    assert on.page(answer.headers["Location"].removeprefix("/console"))


@pytest.mark.parametrize("where", ["audience", "goal"])
def test_what_asks_for_another_message_of_its_site_is_not_copied(on: Console, other: Site, where: str) -> None:
    query = {"message": on.message().public_id, "field": "seen", "operator": "has_any_value"}
    message = on.message(**({"audience": query} if where == "audience" else {"goal": {"query": query, "days": 3}}))
    answer = copied(on, message, other.key)
    assert answer.status_code == 400
    assert "Nothing was copied." in Parsed(answer.text).text
    assert "There is no message" in Parsed(answer.text).text
    with on.services.database.read() as connection:
        assert on.services.auto_messages.all(connection, other.id) == []


def test_a_site_of_somebody_else_is_none_to_copy_to(on: Console, other: Site) -> None:
    message = on.message()
    hidden = on.world.new_site("Hidden", "https://hidden.example")
    for key in (hidden.key, on.site.key, "", "none"):
        assert copied(on, message, key).status_code == 404
    for site in (hidden, other):
        with on.services.database.read() as connection:
            assert on.services.auto_messages.all(connection, site.id) == []


# All paused


def test_all_are_paused_after_a_look_and_go_on(on: Console) -> None:
    message = on.message()
    assert "1 message of this site is live" in Parsed(on.page("/messages/pause")).text
    assert on.post("/messages/pause", {"paused": "yes"}).status_code == 303
    page = on.page("/messages")
    assert "All messages of this site are paused." in page
    assert "Pause all" not in page
    assert now(on, message).definition.state == "live"
    assert "All messages of this site are paused, so it is not shown." in Parsed(on.page(path(message))).text
    assert on.post("/messages/pause", {"paused": "no"}).status_code == 303
    assert "paused" not in Parsed(on.page("/messages")).text
    assert on.post("/messages/pause", {}).status_code == 400


# Versions


def test_versions_say_what_changed(on: Console) -> None:
    message = on.message(name="Ask us", content={"title": "Hi", "body": "There", "buttons": [{"label": "No", "action": "dismiss"}]})
    on.clock.advance(HOUR)
    edit(on, message, content={"title": "Hi", "body": "Here"}, audience=CART)
    on.clock.advance(HOUR)
    edit(on, message, priority=2)
    text = Parsed(on.page(path(message, "/versions"))).text
    newest, _, rest = text.partition("Version 2 ")
    second, _, first = rest.partition("Version 1 ")
    assert "3 versions" in newest
    assert "the present one" in newest
    assert "the present one" not in rest
    assert "priority 0 2" in newest
    assert "content.body There Here" in second
    assert 'content.buttons[0] {"label": "No"' in second
    assert "audience nothing {" in second
    assert "state" not in second
    assert "the first" in first


# Test on a page


def link(page: str) -> str:
    (found,) = [href for href in Parsed(page).hrefs if trials.PARAMETER in href]
    return found


def test_a_link_opens_a_page_of_the_site_for_an_hour(on: Console) -> None:
    message = draft(on)
    assert 'value="https://shop.example/"' in on.page(path(message, "/test"))
    answer = on.post(path(message, "/test"), {"page": "https://shop.example/pricing?plan=pro"})
    assert answer.status_code == 200
    found = link(answer.text)
    assert found.startswith("https://shop.example/pricing?plan=pro&")
    keyring = on.services.keyring
    assert trials.find(keyring, on.site, found, on.clock() + HOUR - 1) == Trial(message.public_id, None)
    assert trials.find(keyring, on.site, found, on.clock() + HOUR) is None


@pytest.mark.parametrize("who", ["u-1", "somebody@example.com", "contact id"])
def test_a_person_is_chosen_by_any_of_their_names(on: Console, who: str) -> None:
    on.world.set(user("u-1"), {"name": "Somebody Else", "email": "somebody@example.com"}, verified=True)
    contact = on.contact_id(user("u-1"))
    message = draft(on, content={"body": "{{first_name}}"})
    given = contact if who == "contact id" else who
    answer = on.post(path(message, "/test"), {"page": "https://shop.example/", "who": given})
    assert answer.status_code == 200, Parsed(answer.text).text
    assert trials.find(on.services.keyring, on.site, link(answer.text), on.clock()) == Trial(message.public_id, contact)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("", "Write the whole address of a page"),
        ("/pricing", "Write the whole address of a page"),
        ("javascript:alert(1)", "Write the whole address of a page"),
        ("https://elsewhere.example/", "The page has to be one of this site, whose origins are https://shop.example"),
        ("https://shop.example/" + "x" * 1500, "The page has to be one of this site"),
    ],
)
def test_a_page_that_is_none_of_the_site_has_no_link(on: Console, page: str, said: str) -> None:
    answer = on.post(path(draft(on), "/test"), {"page": page})
    assert answer.status_code == 400
    assert said in Parsed(answer.text).text
    assert trials.PARAMETER not in answer.text


def test_whom_it_would_not_be_shown_to_is_said(on: Console) -> None:
    on.did(user("u-1"), "cart")
    message = draft(on, content=HI)
    for who, said in {"nobody": "There is nobody of this user id", "u-1": "This person has no value for first_name"}.items():
        answer = on.post(path(message, "/test"), {"page": "https://shop.example/", "who": who})
        assert answer.status_code == 400
        assert said in Parsed(answer.text).text
        assert answer.text.count('aria-invalid="true"') == answer.text.count("autofocus") == 1


# Who may


def test_another_page_can_change_nothing(on: Console) -> None:
    message = draft(on)
    for where, fields in {
        path(message, "/state"): {"state": "archived"},
        path(message, "/duplicate"): {},
        path(message, "/copy"): {"to": on.site.key},
        path(message, "/test"): {"page": "https://shop.example/"},
        "/messages/pause": {"paused": "yes"},
    }.items():
        assert on.post(where, fields, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert now(on, message).definition.state == "draft"
    assert "All messages of this site are paused" not in on.page("/messages")


def test_another_sites_message_is_not_there(on: Console) -> None:
    other = on.world.new_site("Other", "https://other.example")
    theirs = draft(on, other)
    for what in ("/live", "/copy", "/versions", "/test"):
        assert on.get(path(theirs, what)).status_code == 404
    for what, fields in {"/state": {"state": "archived"}, "/duplicate": {}, "/copy": {"to": on.site.key}, "/test": {"page": ""}}.items():
        assert on.post(path(theirs, what), fields).status_code == 404
    assert now(on, theirs, other).definition.state == "draft"


def test_what_is_written_stays_text(on: Console) -> None:
    hostile = "<script>alert(1)</script>"
    message = on.message(name=hostile, content={"body": "{{first_name}} " + hostile})
    edit(on, message, content={"body": hostile + " more"})
    for what in ("", "/live", "/copy", "/versions", "/test"):
        assert "<script>alert" not in on.page(path(message, what))


# The colour


def test_a_colour_is_chosen_and_what_becomes_of_it_is_shown(on: Console) -> None:
    on.message()
    assert "/messages/looks" in on.page("/messages")
    assert on.post("/messages/looks", {"colour": "#FFD400"}).status_code == 303
    page = on.page("/messages/looks")
    words = Parsed(page).text
    assert 'value="#ffd400"' in page
    assert "Text on it is black" in words
    assert "On light cards with an edge of #a68a00" in words
    assert "On dark cards as it is; links as they are" in words
    assert on.post("/messages/looks", {"colour": ""}).status_code == 303
    assert "What becomes of it" not in on.page("/messages/looks")


def test_what_is_no_colour_is_said_where_it_stands(on: Console) -> None:
    answer = on.post("/messages/looks", {"colour": "<red>"})
    assert answer.status_code == 400
    assert "Expected a colour such as #1f4fd1" in Parsed(answer.text).text
    assert 'value="&lt;red&gt;"' in answer.text
