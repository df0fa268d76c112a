"""Upgrades of databases in which every table holds rows, each as its version wrote them: nothing changes, all of it means the same.

What rows mean is asked from the schema that brought them on, since every later step goes over those.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from collector import backfill, upkeep
from collector.domain import changes, decisions, deletion, event_rules, handovers, identities, merging, rounds, segments, tombstones
from collector.domain import message_numbers as numbers
from collector.domain import simulation_runs as runs
from collector.domain.auto_messages import AutoMessage
from collector.domain.doctor import examine
from collector.domain.identities import NewIdentity
from collector.domain.pruning import prune
from collector.domain.secrets import digest
from collector.domain.selection import select
from collector.domain.submissions import Event, Outcome, Submission
from collector.goal_keeper import GoalKeeper
from collector.services import Services, build
from collector.settings import Settings
from collector.storage.database import Connection, Database
from collector.values.clock import DAY, HOUR, system_clock
from collector.values.page_rules import parse_page_rule
from collector.values.queries import parse
from tests.storage.earlier import SECRET, event_id
from tests.storage.grown import Grown, lead_id, page
from tests.storage.later import growing
from tests.storage.upgrades import NEWEST, STEPS, columns, events, installation, is_week, people, rows, totals

NEVER = NEWEST + 1
EMPTY: dict[str, tuple[int, str]] = {
    "tombstones": (2, "nobody could be deleted before"),
    "totals.base_last": (2, "nothing was pruned before"),
    "totals.base_first": (2, "nothing was pruned before"),
    "deliveries.goal_at": (11, "messages had no goals before"),
    "deliveries.answered_at": (13, "messages asked nothing before"),
    "slices.moved": (NEVER, "the overflow alone has it, once something was pruned from it: no version here does that"),
    "upkeep.trouble": (NEVER, "the doctor has to tell of it"),
    "week.arrived_at": (NEVER, "only the overflow has it; PostgreSQL's partitions have the same columns"),
}
"""What holds nothing, until which schema, and why."""


class Upgraded:
    """An installation after the upgrade, with the collector of the present on it, and what stood in it before."""

    def __init__(self, url: str, schema: int) -> None:
        self.grown = installation(url, schema)
        self.id = self.grown.site.id
        before = Database(url)
        with before.read() as connection:
            self.columns = columns(connection)
            self.rows = rows(connection, self.columns)
            self.totals, self.people, self.events = (of(connection, self.id) for of in (totals, people, events))
        before.close()
        self.services: Services = build(Settings(database_url=url, secret_key=(self.grown.secret_key,)))
        (self.site,) = self.services.sites.all()

    def ask(self, of: Any, *parameters: Any) -> Any:
        with self.services.database.read() as connection:
            return of(connection, self.id, *parameters)

    def value(self, sql: str, *parameters: Any) -> Any:
        with self.services.database.read() as connection:
            return connection.value(sql, parameters)

    def message(self, name: str) -> AutoMessage:
        found: AutoMessage = self.ask(self.services.auto_messages.get, self.grown.messages[name])
        return found

    def send(self, lead: str, *sent: Event, user: str | None = None) -> Outcome:
        """Record what a browser sends that has had its lead since schema 1."""
        browser = NewIdentity(("lead", lead_id(lead)), digest(SECRET))
        owner = browser.key if user is None else ("user", user)
        outcome: Outcome = self.services.writer.record(self.id, [Submission(owner=owner, lead=browser, events=list(sent))])[0]
        return outcome

    def event(self, name: str, at: int | None = None, **fields: Any) -> Event:
        at = self.services.clock() if at is None else at
        return Event(event_id(at), name, at, **fields)

    def do_upkeep(self) -> None:
        for _ in upkeep.round_of(self.services, self.services.written.transact, upkeep.Report()):
            pass

    def findings(self) -> list[str]:
        return [str(finding) for finding in examine(self.services.database, self.services.keyring)]


@pytest.fixture
def upgraded(request: pytest.FixtureRequest, database_url: str) -> Iterator[Upgraded]:
    made = Upgraded(database_url, request.param)
    yield made
    made.services.close()


def since(*schemas: int) -> pytest.MarkDecorator:
    """Run from these schemas."""
    return pytest.mark.parametrize("upgraded", schemas, ids=lambda schema: f"from-{schema}", indirect=True)


def test_every_table_and_column_of_every_schema_holds_something(database_url: str) -> None:
    """Whoever adds one says in `later` what its version wrote there, or in EMPTY why it did not."""
    database = Database(database_url)
    found: dict[int, set[str]] = {}
    with database.write() as tx:
        for schema in growing(Grown("a secret key", system_clock()), tx):
            tables = columns(tx)
            weeks = {name for name in tables if is_week(name)}
            empty = {name for table, names in tables.items() for name in nothing_in(tx, table, names)}
            assert weeks - empty, "no week holds an event"
            found[schema] = empty - weeks - {name for name, (until, _) in EMPTY.items() if schema < until}
    database.close()
    assert found == {schema: set() for schema in STEPS}


def nothing_in(connection: Connection, table: str, names: list[str]) -> Iterator[str]:
    """Yield the table if it has no row, else those of its columns that are null in all of them; every week's is called `week`."""
    held = connection.row(f"SELECT count(*), {', '.join(f'count({name})' for name in names)} FROM {table}") or (0,)
    if not held[0]:
        yield table
        return
    called = "week" if is_week(table) else table
    yield from (f"{called}.{name}" for name, number in zip(names, held[1:], strict=True) if not number)


@since(*STEPS[:-1])
def test_an_upgrade_leaves_every_row_as_it_was_and_the_doctor_finds_nothing(upgraded: Upgraded) -> None:
    del upgraded.columns["schema_migrations"], upgraded.rows["schema_migrations"]
    with upgraded.services.database.read() as connection:
        assert rows(connection, upgraded.columns) == upgraded.rows
    assert upgraded.findings() == []


@since(*STEPS[:-1])
def test_the_first_upkeep_after_an_upgrade_changes_no_person_and_no_total(upgraded: Upgraded) -> None:
    upgraded.do_upkeep()
    assert upgraded.ask(totals) == upgraded.totals
    assert upgraded.ask(people) == upgraded.people
    kept = {number: event for number, event in upgraded.events.items() if event[1] >= upgraded.grown.now - 90 * DAY}
    assert upgraded.ask(events) == kept
    assert upgraded.value("SELECT count(*) FROM slices WHERE state = 'closed'") == 0
    assert upgraded.findings() == []


@since(1)
def test_imported_totals_still_count(upgraded: Upgraded) -> None:
    pat = upgraded.grown.people["pat"]
    assert upgraded.value("SELECT count FROM totals WHERE site = ? AND identity = ?", upgraded.id, pat) == 7


@since(2)
def test_a_week_of_which_half_was_moved_is_pruned_and_no_count_changes(upgraded: Upgraded) -> None:
    services = upgraded.services
    done = list(prune(services.database, services.slices, services.written.transact, upgraded.grown.now, services.settings.retention))
    assert {step.what for step in done} >= {"moved", "dropped"}
    assert upgraded.ask(totals) == upgraded.totals
    assert upgraded.findings() == []


@since(2)
def test_a_tombstone_still_refuses_what_is_older_than_the_deletion(upgraded: Upgraded) -> None:
    outcome = upgraded.send("gone-phone", upgraded.event("saved", upgraded.grown.now - 2 * DAY))
    assert outcome.turned_away
    assert upgraded.ask(identities.find, [("lead", lead_id("gone-phone")), ("user", "gone")]) == {}


@since(2)
def test_an_interrupted_deletion_is_finished(upgraded: Upgraded) -> None:
    left = "SELECT count(*) FROM events WHERE site = ? AND identity NOT IN (SELECT id FROM identities WHERE site = ?)"
    assert upgraded.value(left, upgraded.id, upgraded.id) > 0
    upgraded.do_upkeep()
    assert upgraded.value(left, upgraded.id, upgraded.id) == 0
    assert upgraded.value("SELECT count(*) FROM deletions") == 0


@since(1)
def test_a_pair_that_was_parted_does_not_merge_by_itself(upgraded: Upgraded) -> None:
    assert upgraded.send("tablet", upgraded.event("saved"), user="uma").claim is merging.Claim.BLOCKED


@since(2)
def test_the_journal_still_says_who_undid_a_merge(upgraded: Upgraded) -> None:
    watch = upgraded.grown.people["watch"]
    assert upgraded.value("SELECT undone_by FROM merges WHERE site = ? AND lead = ?", upgraded.id, watch) == "rest"


@since(3)
def test_another_visit_is_added_to_those_counted(upgraded: Upgraded) -> None:
    sql = "SELECT visit_count FROM identities WHERE site = ? AND id = ?"
    lone = upgraded.grown.people["lone"]
    before = upgraded.value(sql, upgraded.id, lone)
    upgraded.send("lone", upgraded.event("page-view", visit=event_id(upgraded.grown.now)))
    assert upgraded.value(sql, upgraded.id, lone) == before + 1 > 2


@since(4)
def test_a_reader_who_stands_before_what_was_purged_has_to_begin_anew(upgraded: Upgraded) -> None:
    first = "1" if upgraded.services.database.engine == "sqlite" else "1:1:"
    with pytest.raises(changes.Purged):
        upgraded.ask(changes.since, first)


@since(4)
def test_the_feed_goes_on_behind_what_it_held(upgraded: Upgraded) -> None:
    position = upgraded.ask(changes.position)
    upgraded.send("lone", upgraded.event("saved"))
    assert upgraded.ask(changes.since, position)[0] == {upgraded.grown.people["lone"]}


@since(5)
def test_a_segment_still_finds_those_it_means(upgraded: Upgraded) -> None:
    services = upgraded.services
    with services.database.read() as connection:
        (segment,) = segments.all_of(connection, upgraded.id)
        query = parse({"field": "segment_id", "operator": "=", "value": segment.public_id}, retention_days=90)
        node = segments.expand(connection, upgraded.id, query)
        with select(connection, upgraded.site, services.names, node, services.clock(), services.settings.retention) as (found, _):
            assert set(found.ids(connection)) == {upgraded.grown.people[name] for name in ("kim", "pat")}


@since(6)
def test_a_rule_goes_back_over_the_timeline_from_where_it_came_to(upgraded: Upgraded) -> None:
    (rule,) = upgraded.ask(event_rules.pending)
    for _ in backfill.apply(upgraded.services, upgraded.site, rule):
        pass
    with upgraded.services.database.read() as connection:
        home = "SELECT e.identity, e.at FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity WHERE e.site = ? "
        home += "AND e.name = ? AND e.at >= ? AND e.page LIKE ? ORDER BY 1, 2"
        oldest, names = upgraded.grown.now - 90 * DAY, upgraded.grown.names
        views = connection.rows(home, (upgraded.id, names["page-view"], oldest, '%"path":"/"%'))
        assert connection.rows(home, (upgraded.id, names["came-home"], oldest, "%")) == views
    assert upgraded.findings() == []


@since(6)
def test_another_rule_of_the_same_event_counts_no_view_again(upgraded: Upgraded) -> None:
    services, rule = upgraded.services, parse_page_rule({"field": "path", "operator": "starts", "value": "/than"})
    made = services.writer.run(upgraded.id, lambda tx: services.event_rules.create(tx, upgraded.id, "ordered", rule, services.clock()))
    for _ in backfill.apply(services, upgraded.site, made):
        pass
    assert upgraded.ask(totals) == upgraded.totals


@since(6)
def test_a_rule_makes_an_event_of_a_new_view(upgraded: Upgraded) -> None:
    rules = upgraded.services.event_rules.active(upgraded.id).views
    made = event_rules.derived(rules, upgraded.site.salt, [upgraded.event("page-view", page=page("/thanks"))])
    assert [event.name for event in made] == ["ordered"]


@since(8)
def test_a_rule_by_selector_still_goes_to_the_browser(upgraded: Upgraded) -> None:
    (rule,) = upgraded.services.event_rules.active(upgraded.id).elements
    assert (rule.event, rule.definition.selector) == ("called", "button.call")
    assert b'"button.call"' in upgraded.services.rule_scripts.script(upgraded.site.key, [rule]).plain


@since(9)
def test_a_deletion_covers_the_address_somebody_had_before(upgraded: Upgraded) -> None:
    services, pat, before = upgraded.services, upgraded.grown.people["pat"], ("email", "pat.old@example.com")
    at = services.clock()
    assert services.writer.run(upgraded.id, lambda tx: deletion.delete_person(tx, upgraded.id, services.keyring, pat, lambda: at))
    assert upgraded.ask(tombstones.times, services.keyring, [before]) == {before: at}


@since(9)
def test_a_contact_id_still_tells_who_of_those_with_an_address_was_deleted(upgraded: Upgraded) -> None:
    key = ("email", "max@example.com")
    assert upgraded.ask(tombstones.told_by_contact, upgraded.services.keyring, [key]) == {key}


@since(10)
def test_the_last_round_and_the_present_it_believed_still_count(upgraded: Upgraded) -> None:
    now = upgraded.grown.now
    assert upgraded.ask(lambda connection, _: rounds.last_whole(connection)) == now - 12 * HOUR
    believed = upgraded.services.written.transact(lambda tx: rounds.believed(tx, [upgraded.id], now, 90 * DAY))
    assert (believed.now_ms, believed.trouble) == (now, None)


@since(11)
def test_whoever_waits_for_a_goal_still_meets_it(upgraded: Upgraded) -> None:
    message = upgraded.message("Upgrade")
    before = upgraded.ask(numbers.stats, message)
    assert (before["sent"], before["goal"], before["held_out"]) == (3, 1, 1)
    upgraded.send("lone", upgraded.event("upgraded"))
    keeper = GoalKeeper(upgraded.services)
    keeper.look(upgraded.services.clock())
    keeper.stop()
    assert upgraded.ask(numbers.stats, message)["goal"] == 2


@since(12)
def test_what_a_message_was_before_it_was_edited_is_still_told(upgraded: Upgraded) -> None:
    message = upgraded.message("Hello")
    (before,) = upgraded.ask(upgraded.services.auto_messages.versions, message)
    assert (message.version, message.as_json()["content"]["body"]) == (2, "Hello again")
    assert (before.number, before.definition["content"]["body"]) == (1, "Hello")


@since(13)
def test_an_answer_still_counts(upgraded: Upgraded) -> None:
    found = upgraded.ask(numbers.stats, upgraded.message("Team"))
    assert (found["answered"], found["other_answers"]) == (1, 0)
    assert found["answers"] == [{"answer": "small", "answered": 1}, {"answer": "large", "answered": 0}]


@since(14)
def test_what_was_decided_is_still_told(upgraded: Upgraded) -> None:
    message = upgraded.message("Hello").id
    (decided,) = upgraded.ask(decisions.of_person, upgraded.grown.people["lone"], message)
    assert (decided.outcome, decided.times) == ("caps", 3)


@since(15)
def test_a_lead_on_its_way_to_another_domain_still_arrives(upgraded: Upgraded) -> None:
    own = NewIdentity(("lead", lead_id("new")), digest("another"))
    services = upgraded.services
    taken = services.writer.run(upgraded.id, lambda tx: handovers.take(tx, upgraded.site, services.keyring, upgraded.grown.handover, own))
    assert taken == handovers.Taken(f"{lead_id('lone')}.{SECRET}", signed_in=False)


@since(16)
def test_what_came_of_simulations_is_still_told(upgraded: Upgraded) -> None:
    now = upgraded.services.clock()
    killed, failed, done = upgraded.ask(runs.of_message, upgraded.grown.message, now)
    assert (killed.state, killed.reason) == (runs.FAILED, runs.SILENT)
    assert (failed.state, failed.reason, failed.result) == (runs.FAILED, "The collector was stopped.", None)
    assert (done.state, done.progress, done.as_json()["people"]) == (runs.DONE, 100, 1)
