"""What is known of people besides what was set: who they are, when they were here, how often."""

from typing import Any

from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.ids import new_uuid7
from tests.domain.queries.conftest import NOW
from tests.support.asking import Asking
from tests.support.world import lead, user


def rule(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "operator": operator} | ({} if value is None else {"value": value})


def visit(asking: Asking, name: str, *times: int) -> None:
    """Let a visitor make a visit with a page view at each of these times (ms)."""
    number = new_uuid7(min(times))
    for at in times:
        asking.world.send(lead(name), asking.world.event(at=at, visit=number))


def test_somebody_who_is_here_for_the_first_time_was_last_seen_when_this_visit_began(asking: Asking) -> None:
    visit(asking, "here", NOW - 10 * MINUTE, NOW)
    assert asking.found(rule("last_seen_at", "=", (NOW - 10 * MINUTE) // 1_000)) == {"here"}
    assert asking.found(rule("last_seen_at", "exactly_minutes_ago", 10)) == {"here"}


def test_somebody_who_is_here_again_was_last_seen_at_the_end_of_the_visit_before(asking: Asking) -> None:
    end = (NOW - 5 * DAY + 20 * MINUTE) // MINUTE * MINUTE
    visit(asking, "here", NOW - 40 * DAY)
    visit(asking, "here", NOW - 5 * DAY, end)
    visit(asking, "here", NOW)
    assert asking.found(rule("last_seen_at", "=", end // 1_000)) == {"here"}
    assert asking.found(rule("last_seen_at", "less_than_minutes_ago", 30)) == set()
    assert asking.found(rule("last_seen_at", "more_than_days_ago", 4)) == {"here"}


def test_a_visit_has_ended_after_thirty_idle_minutes_to_the_millisecond(asking: Asking) -> None:
    """A visit of one page ends when it began, in the middle of a second too."""
    began = NOW
    visit(asking, "gone", began - 10 * DAY)
    visit(asking, "gone", began)
    before, now = rule("last_seen_at", "more_than_days_ago", 9), rule("last_seen_at", "less_than_days_ago", 1)
    for idle in (0, 29 * MINUTE, 30 * MINUTE - 438, 30 * MINUTE - 437, 30 * MINUTE - 1):
        asking.world.clock.now = began + idle
        assert (asking.found(before), asking.found(now)) == ({"gone"}, set()), idle
    for idle in (30 * MINUTE, 30 * MINUTE + 1, HOUR):
        asking.world.clock.now = began + idle
        assert (asking.found(before), asking.found(now)) == (set(), {"gone"}), idle


def test_who_was_never_here_was_never_seen(asking: Asking) -> None:
    asking.doing("saved", rest=[0])
    visit(asking, "here", NOW)
    assert asking.found(rule("last_seen_at", "is_unknown")) == {"rest"}
    assert asking.found(rule("last_seen_at", "!=", 5)) == {"rest", "here"}


def test_visits_are_counted_by_the_browsers_number_whatever_the_order_of_arrival(asking: Asking) -> None:
    numbers = [new_uuid7(NOW - 2 * DAY), new_uuid7(NOW)]
    for name, order in (("forth", (0, 1, 0, 1)), ("back", (1, 0, 1, 0))):
        for place in order:
            at = NOW - 2 * DAY if place == 0 else NOW
            asking.world.send(lead(name), asking.world.event(at=at, visit=numbers[place]))
    assert asking.found(rule("session_count", "=", 2)) == {"forth", "back"}
    assert asking.found(rule("page_view_count", "=", 4)) == {"forth", "back"}
    assert asking.found(rule("last_seen_at", "exactly_days_ago", 2)) == {"forth", "back"}


def test_a_visit_that_a_visitor_goes_on_with_as_a_user_is_one(asking: Asking) -> None:
    number = new_uuid7(NOW)
    asking.world.send(lead("visitor"), asking.world.event(visit=number))
    asking.world.send(user("ada"), asking.world.event(visit=number), lead=lead("visitor"))
    assert asking.found(rule("session_count", "=", 1)) == {"ada"}


def test_a_role_is_lead_or_user(asking: Asking) -> None:
    asking.world.send(lead("visitor"), asking.world.event())
    asking.having("email", ada="ada@shop.example")
    assert asking.found(rule("role", "=", "lead")) == {"visitor"}
    assert asking.found(rule("role", "!=", "lead")) == {"ada"}
    assert asking.found(rule("role", "IN", ["user", "contact"])) == {"ada"}
    assert asking.found(rule("role", "^", "USE")) == {"ada"}
    assert asking.found(rule("role", "=", "User")) == set()
    assert asking.found(rule("role", "is_unknown")) == set()


def test_ids_of_users_are_texts_and_visitors_have_none(asking: Asking) -> None:
    asking.world.send(lead("17"), asking.world.event())
    asking.having("email", **{"17": None, "u-17": None})
    assert asking.found(rule("external_id", "=", "17")) == {"17"}
    assert asking.found(rule("external_id", "=", 17)) == set()
    assert asking.found(rule("external_id", "$", "17")) == {"17", "u-17"}
    assert asking.found(rule("external_id", "is_unknown")) == {"17"}


def test_a_contact_id_finds_one_person(asking: Asking) -> None:
    asking.having("email", ada=None, bea=None)
    contact = asking.world.person(user("ada")).contact_id
    assert asking.found(rule("id", "=", contact)) == {"ada"}
    assert asking.found(rule("id", "IN", [contact, "x"])) == {"ada"}
    assert asking.found(rule("id", "^", contact[:12].upper())) == {"ada"}


def test_times_that_are_worked_out_are_told_to_the_second(asking: Asking) -> None:
    asking.world.send(lead("here"), asking.world.event())
    for field in ("created_at", "updated_at"):
        assert asking.found(rule(field, "=", NOW // 1_000)) == {"here"}, field
        assert asking.found(rule(field, "<=", NOW // 1_000)) == {"here"}, field
        assert asking.found(rule(field, ">", NOW // 1_000)) == set(), field
    minute = NOW // MINUTE * MINUTE // 1_000
    assert asking.found(rule("last_active_at", "=", minute)) == {"here"}


def test_a_merged_person_is_as_old_as_its_oldest_identity(asking: Asking) -> None:
    world = asking.world
    world.send(lead("visitor"), world.event())
    world.clock.advance(3 * DAY)
    world.send(user("ada"), lead=lead("visitor"))
    assert asking.found(rule("created_at", "exactly_days_ago", 3)) == {"ada"}


def test_what_is_shown_as_false_until_it_is_set_is_found_as_false(asking: Asking) -> None:
    for field in ("internal", "unsubscribed_from_emails"):
        asking.having(field, yes=True, no=False, unset=None)
        assert asking.found(rule(field, "=", True)) == {"yes"}, field
        assert asking.found(rule(field, "=", False)) == {"no", "unset"}, field
        assert asking.found(rule(field, "!=", True)) == {"no", "unset"}, field
        assert asking.found(rule(field, "IN", [False, "x"])) == {"no", "unset"}, field
        assert asking.found(rule(field, "is_unknown")) == set(), field
        assert asking.found(rule(field, "has_any_value")) == {"yes", "no", "unset"}, field
        assert asking.found(rule(field, ">", 0)) == set(), field
    for field in ("has_hard_bounced", "marked_email_as_spam"):
        assert asking.found(rule(field, "=", False)) == {"yes", "no", "unset"}, field
        assert asking.found(rule(field, "=", True)) == set(), field
