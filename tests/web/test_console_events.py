"""Events in the console: their names, who did one most often, and the rules that make events without code."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from collector import backfill
from collector.domain import event_rules
from collector.domain.event_rules import EventRule
from collector.values.clock import DAY
from collector.values.page_rules import rule_json
from tests.support.clock import START, FakeClock
from tests.support.world import lead, user
from tests.web.test_console_support import Console, Parsed, console


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


def saved(on: Console, name: str, *days: int) -> None:
    for number, ago in enumerate(days):
        on.did(user(name), "saved", at=START - ago * DAY - number)


def top(on: Console, query: str = "event=saved") -> str:
    return on.page(f"/events/top?{query}")


def rules(on: Console) -> list[EventRule]:
    with on.services.database.read() as connection:
        return event_rules.all_of(connection, on.site.id)


def viewed(on: Console, path: str, ago: int = 0) -> None:
    on.world.send(lead(), on.world.event(at=on.clock() - ago, page=f'{{"url": "https://shop.example{path}"}}'))


FORM = {"source": "page_view", "event_name": "saw-pricing", "place": "path", "compared": "is", "value": "/pricing"}


# Names


def test_names_lead_to_who_did_it_most_often(on: Console) -> None:
    saved(on, "a", 1)
    on.did(user("a"), "odd/name & more")
    hrefs = Parsed(on.page("/events")).hrefs
    assert "/console/events/top?event=saved" in hrefs
    (odd,) = [href for href in hrefs if "odd" in href]
    assert "odd/name & more" in Parsed(on.page(odd.removeprefix("/console"))).text


def test_names_are_filtered(on: Console) -> None:
    saved(on, "a", 1)
    on.did(user("a"), "bought")
    text = Parsed(on.page("/events?q=SAV")).text
    assert "1 name" in text
    assert "bought" not in text
    assert "No such name" in Parsed(on.page("/events?q=zzz")).text


def test_without_events_the_page_says_where_they_come_from(on: Console) -> None:
    assert "No events yet" in Parsed(on.page("/events")).text


def test_a_profile_leads_from_its_counts_to_others_who_did_it(on: Console) -> None:
    saved(on, "a", 1)
    assert "/console/events/top?event=saved" in Parsed(on.profile(user("a"))).hrefs


# Who did it most often


def test_who_did_it_most_often(on: Console) -> None:
    saved(on, "busy", *[40] * 5)
    saved(on, "lately", 1, 2)
    text = Parsed(top(on)).text
    assert "Of all time" in text
    assert text.index("busy 5") < text.index("lately 2")
    text = Parsed(top(on, "event=saved&days=30")).text
    assert "Within the last 30 days" in text
    assert "lately 2" in text
    assert "busy" not in text


def test_everybody_who_did_it_is_a_query(on: Console) -> None:
    saved(on, "busy", *[40] * 5)
    saved(on, "lately", 1, 2)
    (href,) = [href for href in Parsed(top(on, "event=saved&days=30")).hrefs if "/people?query=" in href]
    assert "1 person" in Parsed(on.page(href.removeprefix("/console"))).text


@pytest.mark.parametrize("days", ["0", "91", "x", "-1", "99999999999999999999"])
def test_a_window_beyond_the_timeline_is_refused(on: Console, days: str) -> None:
    saved(on, "a", 1)
    answer = on.get(f"/events/top?event=saved&days={days}")
    assert answer.status_code == 400
    assert "The timeline holds 90 days: count within 1 to 90" in Parsed(answer.text).text
    assert 'aria-invalid="true"' in answer.text


def test_the_whole_timeline_is_a_window(on: Console) -> None:
    saved(on, "a", 1)
    assert "a 1" in Parsed(top(on, "event=saved&days=90")).text


def test_pages(on: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.web.console.events.PER_PAGE", 1)
    saved(on, "first", 1, 2, 3)
    saved(on, "second", 1, 2)
    (following,) = [link["href"] for link in Parsed(top(on, "event=saved&days=7")).links if link.get("rel") == "next"]
    page = on.page(following.removeprefix("/console"))
    assert on.contact_id(user("second")) in page
    assert on.contact_id(user("first")) not in page
    assert [link["href"] for link in Parsed(page).links if link.get("rel") == "next"] == []
    assert "beyond the last" in Parsed(top(on, "event=saved&page=9")).text


def test_nobody_did_it(on: Console) -> None:
    saved(on, "a", 80)
    assert "No event called never-sent has ever arrived" in Parsed(top(on, "event=never-sent")).text
    assert "Nobody did this within the last 7 days" in Parsed(top(on, "event=saved&days=7")).text
    assert on.get("/events/top").status_code == 200


# Rules


def test_a_rule_is_made_of_the_form(on: Console) -> None:
    on.services.event_rules.active(on.site.id)
    answer = on.post("/event-rules", FORM)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/event-rules?made=saw-pricing")
    (rule,) = rules(on)
    assert on.services.event_rules.kept(on.site.id) is None  # so that it counts from the next page view on
    assert (rule.event, rule_json(rule.page)) == ("saw-pricing", {"field": "path", "operator": "is", "value": "/pricing"})
    text = Parsed(on.page("/event-rules?made=saw-pricing")).text
    assert "saw-pricing counts from now on." in text
    assert "The path is “/pricing”" in text


def test_a_rule_about_a_parameter_and_one_of_several_conditions(on: Console) -> None:
    on.post("/event-rules", {**FORM, "place": "query", "parameter": "plan", "value": "pro"})
    conditions = [{"field": "path", "operator": "is", "value": "/a"}, {"field": "host", "operator": "is", "value": "b"}]
    several = json.dumps({"operator": "OR", "value": conditions})
    on.post("/event-rules", {**FORM, "event_name": "either", "value": "", "page": several})
    later, first = rules(on)
    assert rule_json(first.page) == {"field": "query.plan", "operator": "is", "value": "pro"}
    assert "At least one of these holds" in Parsed(on.page("/event-rules")).text
    assert later.event == "either"


def test_the_page_says_what_was_counted_and_how_far_it_went_back(on: Console) -> None:
    viewed(on, "/pricing", DAY)
    on.post("/event-rules", FORM)
    text = Parsed(on.page("/event-rules")).text
    assert "Going back counts from now on; earlier page views follow within minutes 0 0" in text
    for _ in backfill.apply(on.services, on.site, rules(on)[0]):
        pass
    text = Parsed(on.page("/event-rules")).text
    assert "Counting the last 90 days were added just now 1 1" in text


def test_a_stopped_rule_makes_no_more_events(on: Console) -> None:
    on.post("/event-rules", FORM)
    (rule,) = rules(on)
    on.services.event_rules.active(on.site.id)
    on.clock.advance(1)
    answer = on.post(f"/event-rules/{rule.public_id}/stop")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/event-rules")
    assert rules(on)[0].archived_at == on.clock()
    assert on.services.event_rules.kept(on.site.id) is None
    text = Parsed(on.page("/event-rules")).text
    assert "Stopped just now" in text
    assert "Stop…" not in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"event_name": ""}, "At event_name :"),
        ({"event_name": "x" * 121}, "At event_name :"),
        ({"event_name": "page-view"}, "At event_name : Choose another name"),
        ({"value": ""}, "At page.value : Write what the address has to be."),
        ({"value": "x" * 2_049}, "At page.value :"),
        ({"compared": "like"}, "At page.operator :"),
        ({"place": "title"}, "At page.field :"),
        ({"place": "query"}, "At page.field :"),
        ({"page": "{}"}, "At page : Fill in the one condition or the JSON, not both."),
        ({"value": "", "page": '{"operator": "AND"'}, "At line 1, column"),
        ({"value": "", "page": '{"operator": "AND", "value": [{"field": "x"}]}'}, "At page.value[0]"),
    ],
)
def test_what_is_wrong_is_said_at_its_place_and_nothing_is_lost(on: Console, fields: dict[str, str], said: str) -> None:
    given = {**FORM, **fields}
    answer = on.post("/event-rules", given)
    assert answer.status_code == 400
    assert said in Parsed(answer.text).text
    assert answer.text.count('aria-invalid="true"') == answer.text.count("autofocus") == 1
    assert given["event_name"][:100] in answer.text
    assert rules(on) == []


def test_what_no_rule_is_made_of_is_refused(on: Console) -> None:
    assert on.post("/event-rules", {**FORM, "source": "thought"}).status_code == 400


def test_another_page_can_change_nothing(on: Console) -> None:
    on.post("/event-rules", FORM)
    (rule,) = rules(on)
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert on.post("/event-rules", FORM, headers=elsewhere).status_code == 403
    assert on.post(f"/event-rules/{rule.public_id}/stop", headers=elsewhere).status_code == 403
    assert [one.archived_at for one in rules(on)] == [None]


def test_another_sites_rules_are_not_there(on: Console) -> None:
    on.post("/event-rules", FORM)
    (rule,) = rules(on)
    other = on.world.new_site("Other", "https://other.example")
    on.account("two@example.com", other)
    on.browser = on.new_browser()
    on.sign_in("two@example.com")
    assert on.post(f"/event-rules/{rule.public_id}/stop").status_code == 404
    assert "/stop" not in on.page("/event-rules")
    saved(on, "a", 1)
    assert "Nobody" in Parsed(top(on)).text


def test_names_stay_text(on: Console) -> None:
    name = "<script>alert(1)</script>"
    on.did(user("a"), name)
    on.post("/event-rules", {**FORM, "event_name": name})
    for path in ("/events", f"/events/top?event={quote(name)}", "/event-rules", f"/event-rules?made={quote(name)}"):
        assert "<script>alert" not in on.page(path)
