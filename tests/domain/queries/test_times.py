"""Times: by instant, by day of the site's zone, and relative in rolling 24 hours, to the millisecond at every edge."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.days import day_bounds
from collector.values.ids import new_uuid7
from tests.domain.queries.conftest import NOW
from tests.support.asking import Asking
from tests.support.world import lead

UNITS = {"days": DAY, "hours": HOUR, "minutes": MINUTE}
DUE = "custom_attributes.due_at"


def last(operator: str, value: Any = None, event: str = "saved", **more: Any) -> dict[str, Any]:
    return {"event": event, "field": "last", "operator": operator, **more} | ({} if value is None else {"value": value})


def due(operator: str, value: Any) -> dict[str, Any]:
    return {"field": DUE, "operator": operator, "value": value}


def at_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


# Relative


@pytest.mark.parametrize("unit", UNITS)
def test_relative_times_of_events_turn_at_the_millisecond(asking: Asking, unit: str) -> None:
    edge = 2 * UNITS[unit]
    asking.doing(
        "saved", now=[0], younger=[edge - 1], at=[edge], older=[edge + 1], end=[edge + UNITS[unit] - 1], after=[edge + UNITS[unit]]
    )
    assert asking.found(last(f"more_than_{unit}_ago", 2)) == {"older", "end", "after"}
    assert asking.found(last(f"less_than_{unit}_ago", 2)) == {"now", "younger"}
    assert asking.found(last(f"exactly_{unit}_ago", 2)) == {"at", "older", "end"}


@pytest.mark.parametrize("unit", UNITS)
def test_relative_times_of_dates_turn_at_the_millisecond(asking: Asking, unit: str) -> None:
    edge, following = 2 * UNITS[unit], 3 * UNITS[unit]
    ages = {"now": 0, "younger": edge - 1, "at": edge, "older": edge + 1, "end": following - 1, "after": following}
    asking.having(DUE, ahead=(NOW + 1) / 1_000, **{name: (NOW - age) / 1_000 for name, age in ages.items()})
    assert asking.found(due(f"more_than_{unit}_ago", 2)) == {"older", "end", "after"}
    assert asking.found(due(f"less_than_{unit}_ago", 2)) == {"now", "younger"}
    assert asking.found(due(f"exactly_{unit}_ago", 2)) == {"at", "older", "end"}


@pytest.mark.parametrize("unit", UNITS)
def test_what_lies_ahead_turns_at_the_millisecond_too(asking: Asking, unit: str) -> None:
    edge = 2 * UNITS[unit]
    ahead = {"past": -1, "now": 0, "soon": 1, "before": edge - 1, "at": edge, "beyond": edge + 1}
    asking.having(DUE, **{name: (NOW + distance) / 1_000 for name, distance in ahead.items()})
    assert asking.found(due(f"in_less_than_{unit}", 2)) == {"now", "soon", "before"}
    assert asking.found(due(f"in_more_than_{unit}", 2)) == {"beyond"}
    assert asking.found(due(f"more_than_{unit}_ago", 0)) == {"past"}
    assert asking.found(due(f"less_than_{unit}_ago", 1)) == {"past", "now"}


def test_a_span_may_be_a_part_of_a_day_or_nothing_at_all(asking: Asking) -> None:
    asking.doing("saved", now=[0], half=[DAY // 2], more=[DAY // 2 + 1])
    assert asking.found(last("more_than_days_ago", 0.5)) == {"more"}
    assert asking.found(last("less_than_days_ago", 0.5)) == {"now"}
    assert asking.found(last("more_than_days_ago", 0)) == {"half", "more"}
    assert asking.found(last("less_than_days_ago", 0)) == set()
    assert asking.found(last("exactly_hours_ago", 0)) == {"now"}


def test_a_rolling_day_is_24_hours_on_the_days_the_clock_changes_too(asking: Asking) -> None:
    asking.world.clock.now = at_ms("2026-10-25T12:00:00+01:00")  # 25 hours after noon of the day before
    asking.doing("saved", noon=[25 * HOUR], a_day=[DAY], almost=[DAY - 1])
    assert asking.found(last("more_than_days_ago", 1)) == {"noon"}
    assert asking.found(last("exactly_days_ago", 1)) == {"noon", "a_day"}
    assert asking.found(last("less_than_days_ago", 1)) == {"almost"}


# By day


@pytest.mark.parametrize(
    ("day", "begin", "end", "hours"),
    [
        ("2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 23),
        ("2026-10-25", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 25),
        ("2026-07-01", "2026-07-01T00:00:00+02:00", "2026-07-02T00:00:00+02:00", 24),
    ],
)
def test_days_are_those_of_the_sites_zone_however_long_they_are(asking: Asking, day: str, begin: str, end: str, hours: int) -> None:
    first, following = at_ms(begin), at_ms(end)
    assert following - first == hours * HOUR
    asking.world.clock.now = following + DAY
    edges = {"eve": first - 1, "begin": first, "noon": first + 12 * HOUR, "end": following - 1, "morrow": following}
    asking.doing("saved", **{name: [asking.world.clock() - at] for name, at in edges.items()})
    asking.having(DUE, **{name: at / 1_000 for name, at in edges.items()})
    for asked in (last, due):
        assert asking.found(asked("before", day)) == {"eve"}
        assert asking.found(asked("on", day)) == {"begin", "noon", "end"}
        assert asking.found(asked("after", day)) == {"morrow"}


def test_both_hours_that_the_clock_shows_twice_are_of_that_day(asking: Asking) -> None:
    asking.world.clock.now = at_ms("2026-10-26T12:00:00+01:00")
    twice = {"summer": at_ms("2026-10-25T02:30:00+02:00"), "winter": at_ms("2026-10-25T02:30:00+01:00")}
    asking.doing("saved", **{name: [asking.world.clock() - at] for name, at in twice.items()})
    assert asking.found(last("on", "2026-10-25")) == {"summer", "winter"}


def test_days_of_the_first_and_the_last_year_are_days(asking: Asking) -> None:
    asking.doing("saved", now=[0])
    assert asking.found(last("after", "0001-01-01")) == {"now"}
    assert asking.found(last("before", "9999-12-31")) == {"now"}
    assert asking.found(last("on", "9999-12-31")) == set()


def test_dates_before_1970_are_compared_as_any_other(asking: Asking) -> None:
    born = round(datetime(1950, 5, 17, 12, tzinfo=UTC).timestamp())
    asking.having("custom_attributes.born_at", old=born, young=946_684_800)
    asked = {"field": "custom_attributes.born_at"}
    assert asking.found({**asked, "operator": "before", "value": "1970-01-01"}) == {"old"}
    assert asking.found({**asked, "operator": "on", "value": "1950-05-17"}) == {"old"}
    assert asking.found({**asked, "operator": "<", "value": "1960-01-01T00:00:00Z"}) == {"old"}
    assert asking.found({**asked, "operator": "=", "value": born}) == {"old"}
    assert asking.found({**asked, "operator": "more_than_days_ago", "value": 20_000}) == {"old"}


# By instant


def test_order_is_by_instant_and_not_by_day(asking: Asking) -> None:
    """A documented difference to Intercom, which compares days."""
    asking.doing("saved", before=[1], at=[0], same_day=[HOUR])
    text = datetime.fromtimestamp(NOW / 1_000, UTC).isoformat(timespec="milliseconds")
    for value in (NOW / 1_000, text):
        assert asking.found(last("<", value)) == {"before", "same_day"}
        assert asking.found(last("<=", value)) == {"before", "at", "same_day"}
        assert asking.found(last(">=", value)) == {"at"}
        assert asking.found(last(">", value)) == set()
        assert asking.found(last("=", value)) == {"at"}
        assert asking.found(last("!=", value)) == {"before", "same_day"}
        assert asking.found(last("IN", [value, 5])) == {"at"}
        assert asking.found(last("NIN", [value, 5])) == {"before", "same_day"}


def test_a_time_is_unix_seconds_as_number_or_text_or_iso_8601_in_any_zone(asking: Asking) -> None:
    asking.having(DUE, noon=at_ms("2026-03-01T12:00:00Z") // 1_000)
    for value in (
        1_772_366_400,
        "1772366400",
        "2026-03-01T12:00:00Z",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01 12:00",
        "2026-03-01T12:00:00.000Z",
    ):
        assert asking.found(due("=", value)) == {"noon"}


# The same over the timeline


@pytest.mark.parametrize("more", [{"within_days": 90}, {"where": [{"field": "metadata.never", "operator": "is_unknown"}]}])
def test_what_is_measured_over_the_timeline_is_compared_in_the_same_way(asking: Asking, more: dict[str, Any]) -> None:
    asking.doing("saved", younger=[2 * DAY - 1], at=[2 * DAY], older=[2 * DAY + 1], never=[])
    for field in ("first", "last"):
        asked = {"event": "saved", "field": field, **more}
        assert asking.found({**asked, "operator": "more_than_days_ago", "value": 2}) == {"older"}
        assert asking.found({**asked, "operator": "less_than_days_ago", "value": 2}) == {"younger"}
        assert asking.found({**asked, "operator": "exactly_days_ago", "value": 2}) == {"at", "older"}
        assert asking.found({**asked, "operator": "after", "value": "2026-09-01"}) == {"younger", "at", "older"}
        assert asking.found({**asked, "operator": "is_unknown"}) == {"never"}


# What is kept to the minute


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_activity_is_kept_to_the_minute_and_never_on_another_day_than_the_event_itself(asking: Asking, zone: str) -> None:
    world = asking.world
    world.site = msgspec.structs.replace(world.site, time_zone=zone)
    midnight = day_bounds(date(2026, 9, 20), world.site.zone)[0]
    visits = [new_uuid7(midnight + number) for number in range(2)]
    for name, at, visit in (("before", midnight - 1, visits[0]), ("after", midnight + MINUTE - 1, visits[1])):
        world.send(lead(name), world.event("saved", at=at, visit=visit))
    for day, expected in (("2026-09-19", {"before"}), ("2026-09-20", {"after"})):
        assert asking.found(last("on", day)) == expected
        for field in ("last_active_at", "last_seen_at"):
            assert asking.found({"field": field, "operator": "on", "value": day}) == expected
    exact = (midnight + MINUTE - 1) / 1_000
    assert asking.found(last(">=", exact)) == {"after"}
    assert asking.found({"field": "last_active_at", "operator": ">=", "value": exact}) == set()
    assert asking.found({"field": "last_active_at", "operator": ">", "value": exact - 60}) == {"after"}
