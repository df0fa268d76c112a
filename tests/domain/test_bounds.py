"""What anybody may ask for with the site's public key costs as much as what is sent and who it is about, not one times the other."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from collector.domain import attributes, visits
from collector.domain.deliveries import ANSWERED, Report
from collector.domain.doctor import examine
from collector.domain.identities import Key, NewIdentity
from collector.domain.merging import Claim
from collector.domain.submissions import AttributeChange, Event, Outcome, Submission
from collector.storage.database import Connection
from collector.values.clock import HOUR
from collector.values.errors import Reason
from collector.values.ids import new_uuid7
from tests.ingest.test_messages import create
from tests.support.statements import heard
from tests.support.world import World, lead, user


@dataclass
class Work:
    """What was asked of the database: statements, and rows that came back."""

    statements: int = 0
    rows: int = 0


@contextmanager
def worked() -> Iterator[Work]:
    """Count what is asked meanwhile."""
    work = Work()
    execute, rows = Connection._execute, Connection.rows

    def counting(self: Connection, sql: str, parameters: Any) -> Any:
        work.statements += 1
        return execute(self, sql, parameters)

    def counting_rows(self: Connection, sql: str, parameters: Any = ()) -> Any:
        found = rows(self, sql, parameters)
        work.rows += len(found)
        return found

    with patch.object(Connection, "_execute", counting), patch.object(Connection, "rows", counting_rows):
        yield work


def events(world: World, visits: int, **fields: Any) -> list[Event]:
    """One event in each of so many new visits, the earliest first."""
    began = world.clock() - visits
    return [world.event(visit=new_uuid7(began + number), at=began + number, **fields) for number in range(visits)]


def visits_of(world: World, key: Key) -> int | None:
    count: int | None = world.person(key).identities[0].visit_count
    return count


def together(world: World, *submissions: Submission) -> list[Outcome]:
    """Let many submissions be written in one group."""
    return world.services.writer.record(world.site.id, list(submissions))


def sent(who: NewIdentity | Key, *events: Event, **fields: Any) -> Submission:
    return Submission(owner=who.key if isinstance(who, NewIdentity) else who, events=list(events), **{"lead": who, **fields})


@pytest.mark.parametrize("value", ["fair", None])
def test_many_changes_of_one_envelope_take_no_more_statements_than_one(world: World, value: str | None) -> None:
    world.send(lead(), *events(world, 20))
    world.set(lead(), {"utm_source": "first", "custom_attributes.plan": "free"})
    taken = []
    for number in (1, 50):
        world.clock.advance(HOUR)
        changes = [
            AttributeChange({"utm_source": value, "custom_attributes.plan": f"plan {place}"}, world.clock() + place)
            for place in range(number)
        ]
        with worked() as work:
            world.send(lead(), changes=changes)
        taken.append(work)
        assert world.attributes(lead().key).get("utm_source") == value
        assert world.attributes(lead().key)["custom_attributes.plan"] == f"plan {number - 1}"
    assert taken[0] == taken[1]
    assert list(examine(world.services.database)) == []


source = st.sampled_from([True, False])
times = st.integers(0, 5)
values = st.sampled_from([None, "a", "b"])
histories = st.lists(st.tuples(st.sampled_from(["lead", "other", "user"]), source, values, times), max_size=5)


@given(histories, st.sampled_from(["lead", "user"]), source, st.lists(st.tuples(values, times), min_size=2, max_size=5))
@example([("user", True, None, 2)], "lead", False, [("a", 4), ("b", 1), (None, 5), ("b", 1)])
@example([("user", True, None, 2), ("other", False, None, 5)], "lead", False, [("a", 3), ("b", 1)])
@settings(max_examples=settings.default.max_examples // 5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_changes_of_one_envelope_come_to_what_each_by_itself_does(
    world: World, history: list[tuple[str, bool, str | None, int]], who: str, verified: bool, then: list[tuple[str | None, int]]
) -> None:
    began = world.clock()
    found = []
    for at_once in (True, False):
        name = secrets.token_hex(8)
        together(world, *(sent(user(name), lead=lead(f"{one}-{name}")) for one in ("lead", "other")))

        def change(of: str, trusted: bool, *changes: tuple[str | None, int], name: str = name) -> Submission:
            owner = user(name) if of == "user" else lead(f"{of}-{name}").key
            said = [AttributeChange({"custom_attributes.plan": value}, began + at) for value, at in changes]
            return Submission(owner=owner, changes=said, verified=trusted)

        portions = [then] if at_once else [[one] for one in then]
        before = [change(of, trusted, (value, at)) for of, trusted, value, at in history]
        outcomes = together(world, *before, *(change(who, verified, *portion) for portion in portions))[len(before) :]
        places = [place + one[0] for place, outcome in enumerate(outcomes) for one in outcome.protected]
        found.append((places, world.attributes(user(name))))
    assert found[0] == found[1]


def test_the_visits_of_somebody_whom_many_envelopes_are_about_are_read_once(world: World) -> None:
    world.send(lead(), *events(world, 20))
    world.set(lead(), {"utm_source": "first"})
    taken = []
    for number in (1, 20):
        world.clock.advance(HOUR)
        with worked() as work:
            together(world, *(sent(lead(), changes=[AttributeChange({"utm_source": None}, world.clock() + n)]) for n in range(number)))
        taken.append(work.rows)
    assert taken[1] - taken[0] < 10 * 20, "a few rows for each"


def test_visits_that_begin_earlier_are_not_looked_for_in_each_of_the_leads_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "_CHUNK", 10)
    for number in range(30):
        world.send(user(), world.event(visit=new_uuid7(world.clock())), lead=lead(f"lead-{number}"))
    again = events(world, 40)
    taken = []
    for number in (1, 40):
        world.clock.advance(HOUR)
        world.send(user(), *again[:number], lead=lead("lead-0"))
        earlier = [world.event(visit=visit_of(one), at=one.at - 1) for one in again[:number]]
        with worked() as work:
            world.send(user(), *earlier, lead=lead("lead-0"))
        taken.append(work.statements)
    assert taken[1] - taken[0] < 40, "the pairs alone would be 1,200, in 120 statements"
    assert visits_of(world, user()) == 70
    assert list(examine(world.services.database)) == []


def visit_of(event: Event) -> str:
    return str(UUID(bytes=event.visit))


@pytest.mark.parametrize("action", ["seen", "clicked", ANSWERED])
def test_many_reports_of_deliveries_that_never_were_take_no_more_statements_than_one(world: World, action: str) -> None:
    message = create(world, content={"title": "Tell us", "question": {"kind": "text"}})
    world.send(lead(), world.event())
    taken = []
    for number in (1, 1, 50):  # the first brings names
        reports = [Report(message, secrets.token_hex(8), action, world.clock(), answer="yes") for _ in range(number)]
        with worked() as work:
            outcome = world.send(lead(), reports=reports)
        assert outcome.reports == [Reason.DELIVERY_UNKNOWN] * number
        taken.append(work)
    assert taken[1] == taken[2]


def test_what_many_envelopes_of_one_group_report_of_somebody_is_looked_for_at_once(world: World) -> None:
    message = create(world)
    world.send(lead(), world.event())
    taken = []
    for number in (1, 1, 20):
        reports = [Report(message, secrets.token_hex(8), "seen", world.clock()) for _ in range(number)]
        with worked() as work:
            outcomes = together(world, *(sent(lead(), reports=[report]) for report in reports))
        assert [outcome.reports for outcome in outcomes] == [[Reason.DELIVERY_UNKNOWN]] * number
        taken.append(work)
    assert taken[1] == taken[2]


def test_answers_to_any_number_of_invented_messages_are_refused_in_statements_that_are_known(world: World) -> None:
    def invented(number: int) -> list[Report]:
        return [Report(secrets.token_hex(8), secrets.token_hex(8), ANSWERED, world.clock(), answer="yes") for _ in range(number)]

    world.send(lead(), world.event())
    with heard() as few:
        for number in (300, 500):
            world.send(lead(), reports=invented(number))
    with heard() as more:
        for number in range(301, 305):
            world.send(lead(), reports=invented(number))
        world.send(lead(), reports=invented(512))
    assert more <= few
    outcomes = together(world, *(sent(lead(), reports=invented(500)) for _ in range(70)))
    assert {one for outcome in outcomes for one in outcome.reports} == {Reason.DELIVERY_UNKNOWN}


def test_visits_that_one_group_invents_are_bounded_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MOST", 5)
    together(world, *(sent(lead(), *events(world, 4)) for _ in range(3)))
    world.clock.advance(HOUR)
    world.send(lead(), *events(world, 4))
    assert world.counts(lead().key) == {"page-view": 16}
    assert visits_of(world, lead().key) == 5
    assert world.rows("SELECT count(*) FROM visits") == [(5,)]
    assert list(examine(world.services.database)) == []


def test_one_visit_of_many_leads_is_kept_for_so_many_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit that several identities have a part of counts once, but each part is read."""
    monkeypatch.setattr(visits, "MOST", 5)
    again = [visit_of(one) for one in events(world, 3)]
    for number in range(5):
        world.send(user(), lead=lead(f"lead-{number}"))
        world.send(lead(f"lead-{number}"), *(world.event(visit=visit) for visit in again))
    assert visits_of(world, user()) == 3
    assert world.rows("SELECT count(*) FROM visits") == [(2 * visits.MOST,)]
    assert list(examine(world.services.database)) == []


def test_leads_with_more_visits_than_one_person_has_do_not_join_without_a_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MOST", 5)
    for name in ("a", "b", "c"):
        world.send(lead(name), *events(world, 3))
    world.send(lead("d"), *events(world, 2))
    assert world.send(user("guest"), lead=lead("a")).claim is Claim.MERGED
    assert world.send(user("guest"), lead=lead("b")).claim is Claim.FULL
    assert world.send(user("guest"), lead=lead("d")).claim is Claim.MERGED
    assert visits_of(world, user("guest")) == 5
    assert visits_of(world, lead("b").key) == 3
    reasons = world.rows("SELECT outcome, reason FROM merges ORDER BY at, id")
    assert reasons == [("merged", "identify"), ("refused", "leads_limit"), ("merged", "identify")]
    assert world.send(user("guest"), lead=lead("c"), verified=True).claim is Claim.MERGED
    assert visits_of(world, user("guest")) == 8
    assert list(examine(world.services.database)) == []


def test_leads_with_one_visit_join_without_a_proof_as_far_as_parts_of_it_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MOST", 5)
    again = [visit_of(one) for one in events(world, 3)]
    claims = []
    for number in range(5):
        world.send(lead(f"lead-{number}"), *(world.event(visit=visit) for visit in again))
        claims.append(world.send(user("guest"), lead=lead(f"lead-{number}")).claim)
    assert claims == [Claim.MERGED] * 3 + [Claim.FULL] * 2


def test_many_claims_of_one_group_are_folded_together(world: World) -> None:
    names = [f"lead-{number}" for number in range(20)]
    for name in ("first", *names):
        world.send(lead(name), *events(world, 3), changes=[AttributeChange({"custom_attributes.plan": name}, world.clock())])
        world.clock.advance(HOUR)
    world.send(user("guest"), lead=lead("first"))
    with worked() as work:
        outcomes = together(world, *(sent(user("guest"), lead=lead(name)) for name in names))
    assert {outcome.claim for outcome in outcomes} == {Claim.MERGED}
    assert work.rows < 20 * 21 * 3, "or each had read the visits of all before it"
    assert visits_of(world, user("guest")) == 63
    assert world.attributes(user("guest"))["custom_attributes.plan"] == names[-1]
    assert list(examine(world.services.database)) == []


def setting(who: NewIdentity | Key, *names: str, value: str | None = "x", at: int, **fields: Any) -> Submission:
    """What sets attributes of somebody, all to one value at one time."""
    changes = [AttributeChange({f"custom_attributes.{name}": value for name in names}, at)]
    browser = who if isinstance(who, NewIdentity) else None
    return Submission(owner=who if browser is None else browser.key, lead=browser, changes=changes, **fields)


@pytest.mark.parametrize("value", ["new", None])
def test_what_many_envelopes_of_one_group_change_of_somebody_is_read_once(world: World, value: str | None) -> None:
    names, leads = [f"name-{number}" for number in range(10)], [lead(f"lead-{number}") for number in range(20)]
    for one in leads:
        world.send(user("guest"), lead=one)
        together(world, setting(one, *names, at=world.clock()))
    world.clock.advance(HOUR)
    with worked() as work:
        together(world, *(setting(one, *names, value=value, at=world.clock()) for one in leads))
    assert work.rows < 4 * len(leads) * len(names), "what each lead and the person have of it, and once what all of them have"
    assert world.attributes(user("guest")) == ({} if value is None else {f"custom_attributes.{name}": value for name in names})
    assert list(examine(world.services.database)) == []


kinds = st.sampled_from(["lead", "email", "user"])
own_values = st.tuples(kinds, st.tuples(st.sampled_from(['"a"', '"z"', "null"]), st.integers(0, 5), st.sampled_from([1, 2])))


@given(st.lists(own_values, max_size=8))
@example([("email", ("null", 3, 1)), ("email", ('"a"', 5, 1)), ("lead", ("null", 1, 2)), ("lead", ('"a"', 2, 1))])
def test_of_what_leads_have_the_last_value_of_a_source_decides(own: list[tuple[str, attributes.Own]]) -> None:
    assert attributes.fold_own(attributes._last_of_leads(own)) == attributes.fold_own(own)


@given(st.lists(st.tuples(st.sampled_from(["lead", "other", "third", "user"]), source, values, times), max_size=8))
@example([("lead", False, "a", 2), ("other", False, "b", 1), ("lead", True, None, 1), ("other", True, "b", 0)])
@example([("lead", True, "a", 1), ("other", False, None, 4), ("third", False, "b", 3), ("lead", True, None, 2)])
@settings(max_examples=settings.default.max_examples // 5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_one_group_changes_comes_to_what_each_change_in_a_group_of_its_own_does(
    world: World, history: list[tuple[str, bool, str | None, int]]
) -> None:
    began = world.clock()
    found = []
    for at_once in (True, False):
        name = secrets.token_hex(8)
        together(world, *(sent(user(name), lead=lead(f"{one}-{name}")) for one in ("lead", "other", "third")))
        changes = [
            setting(user(name) if of == "user" else lead(f"{of}-{name}").key, "plan", value=value, at=began + at, verified=trusted)
            for of, trusted, value, at in history
        ]
        outcomes = together(world, *changes) if at_once else [outcome for change in changes for outcome in together(world, change)]
        found.append(([outcome.protected for outcome in outcomes], world.attributes(user(name))))
    assert found[0] == found[1]


def test_leads_that_set_more_than_those_of_one_person_do_not_join_without_a_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MOST", 5)
    for name in ("a", "b", "c"):
        together(world, setting(lead(name), "one", "two", "three", at=world.clock()))
    together(world, setting(lead("d"), "one", "two", at=world.clock()))
    world.set(lead("d"), {"utm_source": "fair", "email": "d@shop.example"})
    world.set(user("guest"), {f"custom_attributes.{number}": "x" for number in range(9)}, lead=lead("a"))
    assert world.send(user("guest"), lead=lead("b")).claim is Claim.FULL
    assert world.send(user("guest"), lead=lead("d")).claim is Claim.MERGED, "a user's own values are as many as there are names"
    reasons = world.rows("SELECT outcome, reason FROM merges ORDER BY at, id")
    assert reasons == [("merged", "identify"), ("refused", "leads_limit"), ("merged", "identify")]
    assert world.send(user("guest"), lead=lead("c"), verified=True).claim is Claim.MERGED
    assert list(examine(world.services.database)) == []


def test_many_claims_of_one_group_are_bounded_by_what_all_the_leads_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MOST", 5)
    leads = [lead(f"lead-{number}") for number in range(5)]
    together(world, *(setting(one, "one", "two", at=world.clock()) for one in leads))
    outcomes = together(world, *(sent(user("guest"), lead=one) for one in leads))
    assert [outcome.claim for outcome in outcomes] == [Claim.MERGED] * 2 + [Claim.FULL] * 3


def test_leads_of_one_person_set_so_much_and_then_only_change_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MOST", 3)
    for name in ("a", "b"):
        world.send(user("guest"), lead=lead(name))
    first, second, other = together(
        world,
        setting(lead("a"), "one", "two", at=world.clock()),
        setting(lead("b"), "one", "two", "three", at=world.clock()),
        setting(lead("a"), "two", "three", value="later", at=world.clock() + 1),
    )
    assert first.protected == []
    assert second.protected == [(0, f"custom_attributes.{name}", Reason.LEADS_LIMIT) for name in ("two", "three")]
    assert other.protected == [(0, "custom_attributes.three", Reason.LEADS_LIMIT)]
    assert world.attributes(user("guest")) == {"custom_attributes.one": "x", "custom_attributes.two": "later"}
    assert world.set(lead("b"), {"name": "Ada"}).protected == [], "a standard attribute"
    assert world.set(lead("b"), {"custom_attributes.three": "proved"}, verified=True).protected == []
    assert world.set(user("guest"), {"custom_attributes.four": "own"}, lead=lead("a")).protected == []
    assert world.set(lead("alone"), {f"custom_attributes.{number}": "x" for number in range(9)}).protected == []
    assert list(examine(world.services.database)) == []
