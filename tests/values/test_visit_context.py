"""What the contexts of visits say: the campaign and the referrer of their first page."""

import json

import pytest

from collector.values.visit_context import VISIT_FIELDS, context, described


def said(page: object, first: object = None) -> dict[str, str]:
    return described(None if first is None else json.dumps(first), json.dumps(page))


def test_the_latest_visit_gives_the_plain_fields_and_the_first_one_those_that_say_so() -> None:
    first = {"url": "https://shop.example/?utm_source=news", "referrer": "https://mail.example/", "browser": "Firefox"}
    latest = {"url": "https://shop.example/?utm_medium=cpc", "referrer": "https://search.example/", "browser": "Safari", "os": "iOS"}
    assert said(latest, first) == {
        "first_utm_source": "news", "first_referrer": "https://mail.example/",
        "utm_medium": "cpc", "referrer": "https://search.example/", "browser": "Safari", "os": "iOS",
    }  # fmt: skip


def test_every_field_that_visits_give_is_known_by_name() -> None:
    query = "&".join(f"utm_{name}={name}" for name in ("campaign", "content", "medium", "source", "term"))
    page = {"url": f"https://shop.example/?{query}", "referrer": "https://mail.example/"}
    client = dict.fromkeys(("browser", "browser_version", "os", "device", "browser_language"), "x")
    assert said({**page, **client}, page).keys() == VISIT_FIELDS


def test_a_context_of_before_browsers_were_noted_is_understood() -> None:
    page = {"url": "https://shop.example/?utm_term=shoes", "title": "Shoes", "referrer": "https://search.example/?q=shoes"}
    assert said(page) == {"utm_term": "shoes", "referrer": "https://search.example/?q=shoes"}


@pytest.mark.parametrize(
    "referrer", ["https://shop.example/pricing", "http://SHOP.example:8080/", "not an address", "/path", "https://[", ""]
)
def test_what_tells_nothing_is_no_referrer(referrer: str) -> None:
    assert said({"url": "https://shop.example/", "referrer": referrer}) == {}


@pytest.mark.parametrize("referrer", ["https://www.shop.example/", "android-app://com.example.mail/"])
def test_another_host_is_one(referrer: str) -> None:
    assert said({"url": "https://shop.example/", "referrer": referrer}) == {"referrer": referrer}


@pytest.mark.parametrize(
    ("query", "source"),
    [
        ("utm_source=a+b%20c", "a b c"),
        ("utm_source=%C3%BC", "ü"),
        ("utm_source=x&utm_source=y", "x"),
        ("utm_source=&utm_source=y", "y"),
        ("utm_source=%00%ED%A0%80", "\ufffd" * 4),
        ("utm_source=" + "ä" * 300, "ä" * 255),
        ("utm_source=%20", None),
        ("UTM_SOURCE=x", None),
        ("other=utm_source", None),
    ],
)
def test_a_campaign_is_decoded_bounded_and_can_be_stored(query: str, source: str | None) -> None:
    assert said({"url": f"https://shop.example/?{query}"}).get("utm_source") == source


@pytest.mark.parametrize("broken", ["", "[]", "{", '"x"', '{"url":5,"referrer":[],"browser":{}}', '{"url":"https://[","referrer":"x"}'])
def test_a_context_that_is_none_says_nothing(broken: str) -> None:
    assert described(broken, broken) == {}


def test_page_and_browser_make_one_context() -> None:
    page, client = '{"url":"https://shop.example/"}', '{"os":"Linux"}'
    assert json.loads(context(page, client) or "") == {"url": "https://shop.example/", "os": "Linux"}
    assert (context(page, None), context(None, client), context(None, None)) == (page, client, None)
