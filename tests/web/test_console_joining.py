"""Visitors joined to users, in the console: who, when and why, what was refused, and how it is undone."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import contacts
from collector.domain.identities import Key, NewIdentity
from collector.values.clock import DAY, HOUR
from collector.web.console import profile, words
from tests.support.clock import FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console, section

UNDO = re.compile(r'action="/console(/merges/[0-9]+/undo)"')


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def joined(on: Console, name: str = "u-1", visitor: str = "lead-1", **fields: bool) -> None:
    """A visitor looks at a page and signs in."""
    on.viewed(lead(visitor), "/")
    on.did(user(name), "signed-in", lead=lead(visitor), **fields)


def told(on: Console, who: NewIdentity | Key) -> str:
    """What the profile tells of who was joined."""
    return Parsed(section(on.profile(who), "journal")).text


def undoable(on: Console, who: NewIdentity | Key) -> list[str]:
    """Where the profile's buttons to undo lead, the newest merge first."""
    return UNDO.findall(on.profile(who))


def called(on: Console, visitor: str = "lead-1") -> str:
    """What an anonymous visitor is called."""
    found = on.world.rows("SELECT public_id FROM identities WHERE value = ?", visitor)
    return words.short(found[0][0])


def test_who_was_never_joined_has_no_journal(on: Console) -> None:
    on.viewed(lead(), "/")
    assert 'id="journal"' not in on.profile(lead())


@pytest.mark.parametrize(("verified", "word"), [(True, "verified by your server"), (False, "not verified")])
def test_the_journal_says_who_joined_why_when_and_on_whose_word(on: Console, verified: bool, word: str) -> None:
    joined(on, verified=verified)
    on.clock.advance(3 * HOUR)
    text = f"{called(on)} became part of this person when the page said who was signed in, {word}. 3 hours ago Undo joining {called(on)}"
    assert text in told(on, user())


def test_a_merge_on_request_says_who_asked(on: Console) -> None:
    on.world.set(lead("typed"), {"email": "same@example.com"})
    on.world.set(user(), {"email": "same@example.com"}, browser=False)
    on.post(f"/people/{on.contact_id(user())}/join", {"lead": on.contact_id(lead("typed"))})
    assert f"{called(on, 'typed')} became part of this person on request in the console. just now" in told(on, user())


def test_an_undone_merge_says_so_on_both_sides_and_leads_to_the_other(on: Console) -> None:
    joined(on)
    on.clock.advance(2 * HOUR)
    on.post(undoable(on, user())[0])
    on.clock.advance(HOUR)
    since = "3 hours ago Undone in the console 1 hour ago . The two do not join again by themselves."
    how = "when the page said who was signed in, not verified."
    assert f"{called(on)} became part of this person {how} {since}" in told(on, user())
    assert f"This visitor became part of u-1 {how} {since}" in told(on, lead())
    there = {who: f"/console/people/{on.contact_id(who)}" for who in (user(), lead().key)}
    assert there[lead().key] in Parsed(section(on.profile(user()), "journal")).hrefs
    assert there[user()] in Parsed(section(on.profile(lead()), "journal")).hrefs


def test_of_two_visitors_one_is_undone(on: Console) -> None:
    joined(on, visitor="laptop")
    on.clock.advance(DAY)
    joined(on, visitor="phone")
    newest, oldest = undoable(on, user())
    on.post(oldest)
    assert undoable(on, user()) == [newest]
    text = told(on, user())
    assert text.index(f"{called(on, 'phone')} became part") < text.index(f"{called(on, 'laptop')} became part")
    assert text.count("Undone") == 1
    assert on.world.counts(user()) == {"page-view": 1, "signed-in": 2}
    assert on.world.counts(lead("laptop").key) == {"page-view": 1}


def test_undone_twice_is_undone_once(on: Console) -> None:
    joined(on)
    (merge,) = undoable(on, user())
    assert [on.post(merge).status_code for _ in range(2)] == [303, 303]
    on.clock.advance(HOUR)
    assert on.post(merge).status_code == 303
    assert "Undone in the console 1 hour ago" in told(on, user())


def test_a_refused_claim_is_told_to_both_users(on: Console) -> None:
    joined(on)
    on.did(user("u-2"), "signed-in", lead=lead())
    visitor = called(on)
    assert (
        f"{visitor} was not joined to this person: it was another user’s already, so the browser was told to begin a new visitor. "
        "Refused just now"
    ) in told(on, user("u-2"))
    assert f"u-2 signed in in the browser of {visitor} and was kept apart. Refused just now" in told(on, user())
    assert undoable(on, user("u-2")) == []
    assert f"/console/people/{on.contact_id(user('u-2'))}" in Parsed(section(on.profile(user()), "journal")).hrefs


def test_a_refused_claim_is_told_to_the_visitor_who_is_alone_again(on: Console) -> None:
    joined(on)
    on.did(user("u-2"), "signed-in", lead=lead())
    on.post(undoable(on, user())[0])
    assert "u-2 signed in in this browser and was kept apart." in told(on, lead())


def test_a_long_journal_is_folded_and_loses_nothing(on: Console) -> None:
    for number in range(13):
        joined(on, visitor=f"lead-{number}")
    assert "3 more" in on.profile(user())
    assert len(undoable(on, user())) == 13


def test_a_journal_without_end_is_shown_page_by_page_each_line_once(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "PER_PAGE", 4)
    for number in range(11):
        joined(on, visitor=f"lead-{number}")
    ids = [f"/merges/{number}/undo" for (number,) in on.world.rows("SELECT id FROM merges ORDER BY id DESC")]
    assert undoable(on, user()) == ids[:4]
    seen, text = ids[:4], section(on.profile(user()), "journal")
    while older := [href for href in Parsed(text).hrefs if "/joined?before=" in href]:
        text = on.page(older[0].removeprefix("/console"))
        seen += UNDO.findall(text)
    assert seen == ids
    whole = f"/people/{on.contact_id(user())}/joined"
    assert f"/console{whole}" in Parsed(text).hrefs
    assert UNDO.findall(on.page(whole)) == ids[:4]
    assert "Nothing older." in Parsed(on.page(f"{whole}?before=1")).text
    visitor = on.world.rows("SELECT public_id FROM identities WHERE value = 'lead-3'")[0][0]
    assert on.get(f"/people/{visitor}/joined").headers["Location"].startswith(f"/console/people/{on.contact_id(user())}")


def test_of_nobody_there_is_no_journal(on: Console) -> None:
    on.viewed(lead(), "/")
    assert "Nobody was joined." in Parsed(on.page(f"/people/{on.contact_id(lead())}/joined")).text
    assert on.get("/people/nobody/joined").status_code == 404


@pytest.mark.parametrize("merge", ["0", "x", "-1", "9" * 18, "9" * 19, "%00"])
def test_what_is_no_merge_is_not_undone(on: Console, merge: str) -> None:
    assert on.post(f"/merges/{merge}/undo").status_code == 404


def test_a_merge_is_not_undone_from_elsewhere(on: Console) -> None:
    joined(on)
    (merge,) = undoable(on, user())
    assert on.post(merge, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert undoable(on, user()) == [merge]


def test_equal_emails_are_offered_and_joined_only_when_asked(on: Console) -> None:
    on.world.set(lead("typed"), {"email": "same@example.com"})
    on.world.set(user("u-1"), {"email": "Same@example.com"}, browser=False)
    visitor, known = on.contact_id(lead("typed")), on.contact_id(user("u-1"))
    assert "Same email" in on.page(f"/people/{known}")
    assert on.world.person(lead("typed").key).id != on.world.person(user("u-1")).id
    assert on.post(f"/people/{known}/join", {"lead": visitor}).status_code == 303
    assert on.world.person(lead("typed").key).id == on.world.person(user("u-1")).id


def test_who_has_gone_while_equal_emails_are_looked_for_is_not_offered(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    on.world.set(lead("typed"), {"email": "same@example.com"})
    on.world.set(lead("stays"), {"email": "same@example.com"})
    on.world.set(user(), {"email": "same@example.com"}, browser=False)
    visitor, stays = on.contact_id(lead("typed")), on.contact_id(lead("stays"))
    with_email = contacts.with_email

    def list_and_merge(*asked: Any) -> list[int]:
        """List people of whom one becomes part of somebody else in the next moment."""
        listed = with_email(*asked)
        on.did(user("u-2"), "signed-in", lead=lead("typed"))
        return listed

    monkeypatch.setattr(contacts, "with_email", list_and_merge)
    page = on.profile(user())
    assert f"/console/people/{stays}" in Parsed(page).hrefs
    assert visitor not in page


def test_a_merge_is_undone_from_the_profile(on: Console) -> None:
    joined(on)
    (merge,) = undoable(on, user())
    answer = on.post(merge)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/console/people/{on.contact_id(user())}#journal")
    assert on.world.person(lead().key).role == "lead"
    assert on.world.counts(lead().key) == {"page-view": 1}
    assert undoable(on, user()) == []


def test_another_sites_merge_is_not_there(on: Console) -> None:
    mine, other = on.world.site, on.world.new_site("Other", "https://other.example")
    on.world.site = other
    joined(on, "theirs", "theirs")
    merge = on.world.rows("SELECT id FROM merges")[0][0]
    on.world.site = mine
    assert on.post(f"/merges/{merge}/undo", {}).status_code == 404
