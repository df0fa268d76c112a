"""The query box: whom a query describes on the page of people, and why it holds for somebody, or not, on the profile."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from collector.values.clock import DAY
from collector.web.console import asked
from tests.support.clock import START, FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console

REPORTS = {"event": "created-report", "field": "count", "operator": ">", "value": 2}


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def reported(on: Console, name: str, times: int) -> None:
    for number in range(times):
        on.did(user(name), "created-report", at=START - number * DAY)


def people(on: Console, query: Any) -> str:
    return on.page(f"/people?query={quote(query if isinstance(query, str) else json.dumps(query))}")


def profile(on: Console, who: Any, query: Any) -> str:
    return on.page(f"/people/{on.contact_id(who)}?query={quote(query if isinstance(query, str) else json.dumps(query))}")


def nested(rule: Any, times: int) -> Any:
    for _ in range(times):
        rule = {"operator": "NOT", "value": [rule]}
    return rule


# People


def test_the_people_a_query_describes_with_their_number(on: Console) -> None:
    reported(on, "busy", 3)
    reported(on, "idle", 2)
    page = people(on, REPORTS)
    text = Parsed(page).text
    assert "1 person" in text
    assert "busy" in text
    assert "idle" not in text
    assert "Did “created-report” more than 2 times" in text
    assert on.contact_id(user("busy")) in " ".join(Parsed(page).hrefs)


def test_a_person_found_is_looked_at_with_the_same_query(on: Console) -> None:
    reported(on, "busy", 3)
    (href,) = [href for href in Parsed(people(on, REPORTS)).hrefs if on.contact_id(user("busy")) in href]
    assert "It holds" in Parsed(on.page(href.removeprefix("/console"))).text


def test_the_pages_of_a_long_list_keep_the_query(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.web.console.people.PER_PAGE", 1)
    reported(on, "a", 3)
    reported(on, "b", 3)
    reported(on, "c", 1)
    (following,) = [link["href"] for link in Parsed(people(on, REPORTS)).links if link.get("rel") == "next"]
    text = Parsed(on.page(following.removeprefix("/console"))).text
    assert "2–2 of 2 people" in text


def test_a_query_that_describes_nobody(on: Console) -> None:
    reported(on, "a", 1)
    assert "The query describes nobody just now" in Parsed(people(on, REPORTS)).text


@pytest.mark.parametrize("query", ["", "null", " null "])
def test_no_query_describes_everybody_as_over_rest(on: Console, query: str) -> None:
    reported(on, "busy", 3)
    reported(on, "idle", 1)
    assert "2 people" in Parsed(people(on, query)).text


def test_a_segment_is_asked_for_by_its_id(on: Console) -> None:
    reported(on, "busy", 3)
    text = Parsed(people(on, {"field": "segment_id", "operator": "has_any_value"})).text
    assert "0 people" in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ('{"event": "a" "field": "count"}', "At line 1, column 15 : This is no JSON: Expecting ',' delimiter."),
        ('{"operator": "AND",\n"value": [1}', "At line 2, column 12 : This is no JSON"),
        (json.dumps({"operator": "AND", "value": [{**REPORTS, "operator": "is"}]}), 'At query.value[0].operator : There is "is"; expected'),
        (json.dumps({**REPORTS, "within_days": 91}), "At query.within_days : There is 91; expected whole days from 1 to 90"),
        ('{"field": "email", "field": "name", "operator": "is_unknown"}', 'The key "field" stands twice in one object.'),
        ('{"field": "custom_attributes.x", "operator": ">", "value": NaN}', "NaN is no number that can be compared with."),
        ("[" * 5_000, "nested too deeply"),
        ('{"field": "custom_attributes.x", "operator": ">", "value": ' + "9" * 5_000 + "}", "a number of too many digits"),
        ("x" * (asked.LONGEST + 1), "does not fit into an address"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_at_its_place(on: Console, query: str, said: str) -> None:
    reported(on, "busy", 1)
    for page in (people(on, query), profile(on, user("busy"), query)):
        parsed = Parsed(page)
        assert said in parsed.text
        assert 'aria-invalid="true"' in page
        assert 'aria-describedby="query-help query-problem"' in page


def test_the_box_holds_what_was_written_whatever_it_is(on: Console) -> None:
    reported(on, "busy", 1)
    page = people(on, '</textarea><script>alert("é")</script>')
    assert "<script>alert" not in page
    assert "&lt;/textarea&gt;&lt;script&gt;" in page
    assert "style" not in Parsed(page).attributes


def test_filters_stay_what_they_were(on: Console) -> None:
    reported(on, "busy", 3)
    assert "Ask by a query" in on.page("/people?event=created-report")
    assert '<details class="ask">' in on.page("/people?event=created-report")


# One person


def test_each_rule_says_what_was_found_beside_what_was_expected(on: Console) -> None:
    reported(on, "busy", 2)
    query = {"operator": "AND", "value": [REPORTS, nested({"event": "paid", "field": "count", "operator": ">", "value": 0}, 1)]}
    text = Parsed(profile(on, user("busy"), query)).text
    assert "No It does not hold" in text
    assert "✗ Does not hold: All of 2 rules have to hold; 1 does." in text
    assert "✗ Does not hold: “created-report” happened 2 times, expected more than 2." in text
    assert "✓ Holds: None of 1 rule may hold; none does." in text
    assert "What would make it hold One more “created-report”." in text


def test_what_would_end_what_holds(on: Console) -> None:
    reported(on, "busy", 3)
    text = Parsed(
        profile(on, user("busy"), {"event": "created-report", "field": "last", "operator": "less_than_days_ago", "value": 5})
    ).text
    assert "Yes It holds" in text
    assert (
        "What would end it Waiting until 26 Sep 2026, 16:13 (in 5 days), when the last “created-report” is no longer less than 5 days ago."
        in text
    )


def test_where_nothing_would_turn_it_the_profile_says_why(on: Console) -> None:
    reported(on, "busy", 3)
    text = Parsed(profile(on, user("busy"), {"event": "created-report", "field": "count", "operator": "=", "value": 0})).text
    assert "What would make it hold This cannot be made to hold any more:" in text


def test_the_box_is_folded_until_somebody_asks(on: Console) -> None:
    reported(on, "busy", 3)
    assert '<details class="ask" id="asked">' in on.profile(user("busy"))
    assert '<details class="ask" id="asked" open>' in profile(on, user("busy"), REPORTS)


def test_the_deepest_query_is_shown(on: Console) -> None:
    reported(on, "busy", 3)
    assert "happened 3 times" in Parsed(profile(on, user("busy"), nested(REPORTS, 199))).text


def test_what_visitors_wrote_stays_text(on: Console) -> None:
    on.did(lead(), "<b>Éva</b>")
    page = profile(on, lead(), {"event": "<b>Éva</b>", "field": "count", "operator": ">", "value": 5})
    assert "<b>Éva" not in page
    assert "“<b>Éva</b>” happened 1 time, expected more than 5." in Parsed(page).text


def test_on_several_sites_the_box_keeps_the_site(on: Console) -> None:
    other = on.world.new_site("Other", "https://other.example")
    on.account("two@example.com", on.site, other)
    on.sign_in("two@example.com")
    reported_on = on.page(f"/people?site={other.key}")
    assert "Nobody has been here yet" in reported_on
    on.world.site = on.site
    reported(on, "busy", 3)
    page = on.page(f"/people?site={on.site.key}")
    assert page.count(f'<input type="hidden" name="site" value="{on.site.key}">') == 2
