"""Events without code in the console, by CSS selector: rules about clicks and submits, beside those about page views."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import element_rules
from collector.domain.element_rules import MOST_ACTIVE, ElementRule
from collector.storage.database import Connection
from collector.values.element_rules import clean_element_rule
from tests.support.clock import FakeClock
from tests.support.world import user
from tests.web.test_console_support import Console, Parsed, console


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock) as running:
        running.sign_in()
        yield running


ADDRESS = {"place": "path", "compared": "is", "value": "", "page": ""}
FORM = {"source": "click", "event_name": "added", "selector": "button.buy", **ADDRESS}
VIEWED = {**ADDRESS, "source": "page_view", "event_name": "saw-pricing", "value": "/pricing"}


def rows(*given: tuple[str, str, str]) -> dict[str, str]:
    """Return the form's fields about metadata, row by row: key, attribute, selector."""
    parts = ("key", "attribute", "selector")
    return {f"metadata[{n}].{part}": value for n, row in enumerate(given) for part, value in zip(parts, row, strict=True)}


def rules(on: Console) -> list[ElementRule]:
    with on.services.database.read() as connection:
        return element_rules.all_of(connection, on.site.id)


def only_rule(on: Console) -> dict[str, Any]:
    (rule,) = rules(on)
    return rule.definition.as_json()


def listed(on: Console) -> str:
    """Return what the list says; without rules there is none."""
    return Parsed(on.page("/event-rules").partition("<table")[2].partition("</table>")[0]).text


def values(page: str) -> dict[str, str]:
    """Return what stands in the form's text fields, by name."""
    return {name: html.unescape(value) for name, value in re.findall(r'<input id="[^"]*" name="([^"]*)"[^>]*? value="([^"]*)"', page)}


def field(page: str, name: str) -> str:
    """Return the tag of a field of the form."""
    (tag,) = re.findall(rf'<(?:input|textarea) id="{re.escape(name)}"[^>]*>', page)
    return str(tag)


# Making one


@pytest.mark.parametrize("source", ["click", "submit"])
def test_a_rule_is_made_of_the_form(on: Console, source: str) -> None:
    on.services.event_rules.active(on.site.id)
    answer = on.post("/event-rules", {**FORM, "source": source})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/event-rules?made=added")
    assert [rule.event for rule in rules(on)] == ["added"]
    assert only_rule(on) == {"source": source, "selector": "button.buy", "page": None, "metadata": []}
    assert on.services.event_rules.kept(on.site.id) is None  # so that it counts from the next page on


def test_it_may_be_for_some_pages_only(on: Console) -> None:
    on.post("/event-rules", {**FORM, "compared": "wildcard", "value": "/shop/**"})
    assert only_rule(on)["page"] == {"field": "path", "operator": "wildcard", "value": "/shop/**"}


def test_it_may_be_for_pages_of_several_conditions(on: Console) -> None:
    on.post("/event-rules", {**FORM, "page": '{"operator": "NOT", "value": [{"field": "host", "operator": "is", "value": "b"}]}'})
    assert only_rule(on)["page"] == {"operator": "NOT", "value": [{"field": "host", "operator": "is", "value": "b"}]}


def test_texts_and_attributes_go_with_the_event(on: Console) -> None:
    on.post(
        "/event-rules",
        {**FORM, **rows(("sku", "data-sku", "[data-sku]"), ("name", "", "h2"), ("plan", "data-plan", ""), ("label", "", ""))},
    )
    assert only_rule(on)["metadata"] == [
        {"key": "sku", "from": "attribute", "attribute": "data-sku", "selector": "[data-sku]"},
        {"key": "name", "from": "text", "selector": "h2"},
        {"key": "plan", "from": "attribute", "attribute": "data-plan"},
        {"key": "label", "from": "text"},
    ]


def test_rows_left_empty_are_none(on: Console) -> None:
    on.post("/event-rules", {**FORM, **rows(("", "", ""), ("label", "", ""), ("", "", ""))})
    assert only_rule(on)["metadata"] == [{"key": "label", "from": "text"}]


def test_one_row_more_is_given_and_nothing_is_made_or_lost(on: Console) -> None:
    answer = on.post("/event-rules", {**FORM, **rows(("sku", "data-sku", "")), "do": "more"})
    assert answer.status_code == 200
    assert rules(on) == []
    found = values(answer.text)
    assert (found["selector"], found["metadata[0].key"], found["metadata[1].key"]) == ("button.buy", "sku", "")
    assert "metadata[2].key" not in found
    assert "autofocus" in field(answer.text, "metadata[1].key")
    assert answer.text.count("autofocus") == 1


def test_there_are_no_more_rows_than_keys_of_an_event(on: Console) -> None:
    given = rows(*((f"k{n}", "", "") for n in range(20)))
    page = on.post("/event-rules", {**FORM, **given, "do": "more"}).text
    assert "metadata[19].key" in values(page)
    assert "metadata[20].key" not in values(page)
    assert "One more key" not in Parsed(page).text
    answer = on.post("/event-rules", {**FORM, **given, **{f"metadata[20].{part}": "k" for part in ("key", "attribute", "selector")}})
    assert answer.status_code == 400
    assert "At metadata : An event has at most 20 metadata keys." in Parsed(answer.text).text
    assert rules(on) == []


@pytest.mark.parametrize(("source", "said"), [("click", "CSS selector of what is clicked"), ("submit", "CSS selector of the form")])
def test_the_form_is_chosen_by_a_link(on: Console, source: str, said: str) -> None:
    (href,) = [href for href in Parsed(on.page("/event-rules")).hrefs if f"source={source}" in href]
    page = on.page(href.removeprefix("/console"))
    assert f'name="source" value="{source}"' in page
    assert said in Parsed(page).text


# What is wrong


@pytest.mark.parametrize(
    ("fields", "at", "said"),
    [
        ({"event_name": "page-view"}, "event_name", "At event_name : Choose another name"),
        ({"selector": ""}, "selector", "At selector : A required field is missing."),
        ({"selector": "a["}, "selector", "At selector :"),
        ({"selector": "a" * 501}, "selector", "At selector :"),
        ({"place": "query", "parameter": "plan"}, "value", "At page.value : Write what the address has to be."),
        ({"value": "/a", "compared": "like"}, "value", "At page.operator :"),
        ({"value": "/a", "page": "{}"}, "page", "At page : Fill in the one condition or the JSON, not both."),
        ({"page": '{"operator": "AND"'}, "page", "At line 1, column"),
        ({"page": '{"operator": "AND", "value": [{"field": "x"}]}'}, "page", "At page.value[0]"),
        (rows(("", "data-sku", "")), "metadata[0].key", "At metadata[0].key :"),
        (rows(("a", "", ""), ("A", "", "")), "metadata[1].key", "At metadata[1].key :"),
        (rows(("made_at", "", "")), "metadata[0].key", "At metadata[0].key : A key that ends in _at"),
        (rows(("a", "value", "")), "metadata[0].attribute", "At metadata[0].attribute :"),
        (rows(("a", "", "b >")), "metadata[0].selector", "At metadata[0].selector :"),
        (rows(("", "", ""), ("a", "", "b >")), "metadata[0].selector", "At metadata[0].selector :"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(on: Console, fields: dict[str, str], at: str, said: str) -> None:
    given = {**FORM, **fields}
    answer = on.post("/event-rules", given)
    assert answer.status_code == 400
    assert said in Parsed(answer.text).text
    tag = field(answer.text, at)
    assert all(part in tag for part in ('aria-invalid="true"', "autofocus", f"{at}-problem"))
    assert answer.text.count('aria-invalid="true"') == answer.text.count("autofocus") == answer.text.count(f'id="{at}-problem"') == 1
    kept = values(answer.text).values()
    assert [value for name, value in given.items() if name.startswith(("event", "sel", "meta", "value")) and value not in kept] == []
    assert rules(on) == []


def test_everything_that_is_wrong_is_said_at_once_and_the_keyboard_is_at_the_first(on: Console) -> None:
    fields = {"selector": "a[", "value": "/a", "compared": "like", **rows(("made_at", "value", "b >"))}
    page = on.post("/event-rules", {**FORM, **fields}).text
    wrong = ["selector", "value", "metadata[0].key", "metadata[0].attribute", "metadata[0].selector"]
    assert [name for name in values(page) if 'aria-invalid="true"' in field(page, name)] == wrong
    assert [name for name in values(page) if "autofocus" in field(page, name)] == ["selector"]


def test_the_rules_about_pages_are_open_where_something_stands_in_them(on: Console) -> None:
    def opened(page: str) -> bool:
        return '<details class="pages-part" open>' in page

    assert not opened(on.page("/event-rules?source=click"))
    assert opened(on.post("/event-rules", {**FORM, "value": "/a", "do": "more"}).text)
    assert opened(on.post("/event-rules", {**FORM, "page": "{"}).text)


def test_more_rules_than_browsers_load_are_refused(on: Console) -> None:
    definition = clean_element_rule({"source": "click", "selector": "a"})

    def work(tx: Connection) -> None:
        for _ in range(MOST_ACTIVE):
            on.services.event_rules.create(tx, on.site.id, "other", definition, on.clock())

    on.services.writer.run(on.site.id, work)
    answer = on.post("/event-rules", FORM)
    assert answer.status_code == 409
    assert "A site has at most 50 rules by selector; archive one first." in Parsed(answer.text).text
    assert values(answer.text)["selector"] == "button.buy"
    assert len(rules(on)) == MOST_ACTIVE


# The list


def test_the_list_says_what_a_rule_selects_and_reads(on: Console) -> None:
    given = rows(("sku", "data-sku", "[data-sku]"), ("name", "", "h2"), ("label", "", ""))
    on.post("/event-rules", {**FORM, "value": "/shop", **given})
    text = listed(on)
    assert "Clicks on button.buy Pages where this holds The path is “/shop”" in text
    assert "sku : the attribute data-sku of the first [data-sku] in it name : the text of the first h2 in it label : the text" in text
    assert "<code><bdi>button.buy</bdi></code>" in on.page("/event-rules")


def test_a_rule_about_submits_says_so(on: Console) -> None:
    on.post("/event-rules", {**FORM, "source": "submit", "selector": "form#sign-up"})
    assert "Submits of form#sign-up" in listed(on)


def test_it_counts_from_when_it_was_made_and_says_what_was_counted(on: Console) -> None:
    on.post("/event-rules", FORM)
    on.did(user("a"), "added")
    on.did(user("a"), "added")
    on.did(user("b"), "added")
    assert "Counting counts from when it was made, just now 3 2" in listed(on)


def test_rules_of_every_source_stand_together_the_newest_first_and_stopped_ones_last(on: Console) -> None:
    for form in (VIEWED, FORM, {**VIEWED, "event_name": "saw-docs"}, {**FORM, "event_name": "removed"}):
        on.clock.advance(1)
        on.post("/event-rules", form)
    (newest, _) = rules(on)
    on.post(f"/event-rules/{newest.public_id}/stop")
    text = listed(on)
    assert sorted(("removed", "saw-docs", "added", "saw-pricing"), key=text.index) == ["saw-docs", "added", "saw-pricing", "removed"]
    assert "4 rules" in Parsed(on.page("/event-rules")).text


def test_a_stopped_rule_makes_no_more_events(on: Console) -> None:
    on.post("/event-rules", FORM)
    (rule,) = rules(on)
    on.services.event_rules.active(on.site.id)
    on.clock.advance(1)
    answer = on.post(f"/event-rules/{rule.public_id}/stop")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/event-rules")
    assert rules(on)[0].archived_at == on.clock()
    assert on.services.event_rules.kept(on.site.id) is None
    assert "Stopped just now" in listed(on)
    assert "Stop…" not in listed(on)


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
    assert "button.buy" not in listed(on)
    assert [one.archived_at for one in rules(on)] == [None]


def test_what_was_written_stays_text(on: Console) -> None:
    odd = "a[title='<script>alert(1)</script>']"
    given = {**FORM, "selector": odd, **rows(("<script>alert(2)</script>", "", odd))}
    assert "<script>alert" not in on.post("/event-rules", {**given, "do": "more"}).text
    assert on.post("/event-rules", given).status_code == 303
    assert only_rule(on)["selector"] == odd
    assert "<script>alert" not in on.page("/event-rules")
