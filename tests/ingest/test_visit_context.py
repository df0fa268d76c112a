"""What the collector notes of a browser that visits: where it came from, and which it is. Through each entry, as a browser sends it."""

from typing import Any

import pytest

from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import new_uuid7
from collector.values.visit_context import VISIT_FIELDS
from tests.support.browserless import CHROME, Tracker
from tests.support.world import World

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
TABLET = "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"
IPAD = "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1"
CRIOS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1"
)


def said(world: World, tracker: Tracker) -> dict[str, Any]:
    key = ("lead", tracker.lead.split(".")[0]) if tracker.user is None else ("user", tracker.user["id"])
    return {name: value for name, value in world.attributes(key).items() if name in VISIT_FIELDS}


def arrive(tracker: Tracker, url: str = "https://shop.example/", referrer: str = "", at: int | None = None, **headers: str) -> str:
    """Begin a visit with a page view, and return its id."""
    at = tracker.world.clock() if at is None else at
    visit = new_uuid7(at)
    item = {**tracker.event(visit=visit), "at": at, "page": {"url": url, "title": "A page", "referrer": referrer}}
    assert tracker.post("/collect", tracker.envelope(item), **headers).json["accepted"] == 1
    return visit


def test_a_first_visit_says_where_it_came_from_and_with_which_browser(tracker: Tracker, world: World) -> None:
    arrive(
        tracker,
        "https://shop.example/?utm_source=news&utm_medium=email&utm_campaign=fall",
        "https://mail.example/inbox",
        User_Agent=FIREFOX,
        Accept_Language="de-AT,de;q=0.9,en;q=0.8",
    )
    assert said(world, tracker) == {
        "utm_source": "news", "utm_medium": "email", "utm_campaign": "fall", "referrer": "https://mail.example/inbox",
        "first_utm_source": "news", "first_utm_medium": "email", "first_utm_campaign": "fall", "first_referrer": "https://mail.example/inbox",
        "browser": "Firefox", "browser_version": "130.0", "os": "Windows", "device": "desktop", "browser_language": "de-AT",
    }  # fmt: skip


def test_a_later_visit_replaces_all_but_what_the_first_one_said(tracker: Tracker, world: World) -> None:
    arrive(tracker, "https://shop.example/?utm_source=news", "https://mail.example/", User_Agent=FIREFOX, Accept_Language="de")
    world.clock.advance(DAY)
    arrive(tracker, "https://shop.example/?utm_term=shoes", "https://search.example/", User_Agent=IPHONE)
    assert said(world, tracker) == {
        "first_utm_source": "news", "first_referrer": "https://mail.example/", "utm_term": "shoes", "referrer": "https://search.example/",
        "browser": "Safari", "browser_version": "17.5", "os": "iOS", "device": "mobile",
    }  # fmt: skip


def test_what_comes_late_stands_in_its_place(tracker: Tracker, world: World) -> None:
    now = world.clock()
    for age, name in ((2 * DAY, "middle"), (HOUR, "last"), (9 * DAY, "first")):
        arrive(tracker, f"https://shop.example/?utm_source={name}", at=now - age)
    found = said(world, tracker)
    assert (found["first_utm_source"], found["utm_source"]) == ("first", "last")


def test_the_first_event_of_a_visit_speaks_for_it_whichever_came_first(tracker: Tracker, world: World) -> None:
    visit = new_uuid7(world.clock())
    for age, referrer in ((5, "https://second.example/"), (9, "https://first.example/"), (1, "https://third.example/")):
        at = world.clock() - age * MINUTE
        tracker.collect({**tracker.event(visit=visit), "at": at, "page": {"url": "https://shop.example/", "referrer": referrer}})
    assert said(world, tracker)["referrer"] == "https://first.example/"


def test_a_page_view_in_the_middle_of_a_visit_writes_nothing_of_it(tracker: Tracker, world: World) -> None:
    visit = arrive(tracker, "https://shop.example/?utm_source=news", User_Agent=FIREFOX)
    before = world.rows("SELECT * FROM attributes ORDER BY attr, identity"), world.rows("SELECT context FROM visits")
    world.clock.advance(5 * MINUTE)
    page = {"url": "https://shop.example/?utm_source=other", "referrer": "https://elsewhere.example/"}
    tracker.post("/collect", tracker.envelope({**tracker.event(visit=visit), "page": page}), User_Agent=IPHONE)
    assert (world.rows("SELECT * FROM attributes ORDER BY attr, identity"), world.rows("SELECT context FROM visits")) == before


def test_an_event_outside_of_any_visit_says_nothing(tracker: Tracker, world: World) -> None:
    page = {"url": "https://shop.example/?utm_source=news", "referrer": "https://mail.example/"}
    tracker.collect({**tracker.event(), "page": page})
    assert said(world, tracker) == {}


def test_rest_events_say_nothing(world: World) -> None:
    event = world.event(visit=new_uuid7(world.clock()), page='{"url":"https://shop.example/?utm_source=news"}')
    world.send(("user", "u-1"), event, browser=False, client='{"os":"Linux"}')
    assert world.attributes(("user", "u-1")) == {}


def test_the_own_site_is_no_referrer(tracker: Tracker, world: World) -> None:
    arrive(tracker, "https://shop.example/a", "https://shop.example/b")
    assert "referrer" not in said(world, tracker)


@pytest.mark.parametrize(
    ("agent", "browser", "version", "system", "device"),
    [
        (CHROME, "Chrome", "140.0.0.0", "Linux", "desktop"),
        (FIREFOX, "Firefox", "130.0", "Windows", "desktop"),
        (EDGE, "Edge", "140.0.0.0", "Windows", "desktop"),
        (IPHONE, "Safari", "17.5", "iOS", "mobile"),
        (CRIOS, "Chrome", "126.0.6478.54", "iOS", "mobile"),
        (ANDROID, "Chrome", "140.0.0.0", "Android", "mobile"),
        (TABLET, "Chrome", "140.0.0.0", "Android", "tablet"),
        (IPAD, "Safari", "12.1.2", "iOS", "tablet"),
        ("curl/8.5.0", "curl", "8.5.0", None, "desktop"),
        ("something of nobody's", None, None, None, None),
        ("", None, None, None, None),
    ],
)
def test_browsers_are_known_by_their_user_agent(
    tracker: Tracker, world: World, agent: str, browser: str | None, version: str | None, system: str | None, device: str | None
) -> None:
    visit = new_uuid7(world.clock())
    tracker.post("/collect", tracker.envelope(tracker.event(visit=visit), automation="count"), User_Agent=agent)
    found = said(world, tracker)
    assert tuple(found.get(name) for name in ("browser", "browser_version", "os", "device")) == (browser, version, system, device)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("en-US,en;q=0.9", "en-US"),
        ("de", "de"),
        (" fr ;q=0.8, en", "fr"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("*", None),
        ("", None),
        ("'; --", None),
    ],
)
def test_the_language_is_the_first_one_asked_for(tracker: Tracker, world: World, header: str, language: str | None) -> None:
    arrive(tracker, Accept_Language=header)
    assert said(world, tracker).get("browser_language") == language


def test_an_endless_user_agent_does_no_harm(tracker: Tracker, world: World) -> None:
    arrive(tracker, User_Agent=FIREFOX + " x" * 3_000, Accept_Language="a" * 9_000)
    assert said(world, tracker)["browser"] == "Firefox"


def test_what_a_page_sets_counts_before_what_the_visit_says_until_it_is_unset(tracker: Tracker, world: World) -> None:
    arrive(tracker, "https://shop.example/?utm_source=news")
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"utm_source": "fair"}})
    assert said(world, tracker)["utm_source"] == "fair"
    world.clock.advance(DAY)
    arrive(tracker, "https://shop.example/?utm_source=search")
    assert said(world, tracker)["utm_source"] == "fair"
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"utm_source": None}})
    assert said(world, tracker)["utm_source"] == "search"


def test_a_page_may_call_an_attribute_of_its_own_browser_or_device(tracker: Tracker, world: World) -> None:
    arrive(tracker)
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"device": "scanner"}})
    assert world.attributes(("lead", tracker.lead.split(".")[0]))["custom_attributes.device"] == "scanner"
    assert said(world, tracker)["device"] == "desktop"


def test_who_signs_up_in_the_middle_of_a_visit_keeps_where_it_came_from(tracker: Tracker, world: World) -> None:
    visit = arrive(tracker, "https://shop.example/?utm_source=news", "https://mail.example/")
    world.clock.advance(MINUTE)
    tracker.identify("u-1")
    page = {"url": "https://shop.example/welcome", "referrer": "https://shop.example/"}
    tracker.collect({**tracker.event(visit=visit), "page": page})
    found = said(world, tracker)
    assert (found["utm_source"], found["referrer"], found["first_referrer"]) == ("news", "https://mail.example/", "https://mail.example/")
