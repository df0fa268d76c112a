"""Events without code: a rule about addresses makes a named event of each page view that meets it, from then on and back."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from collector import backfill
from collector.domain import element_rules, event_rules
from collector.domain.element_rules import ElementRule
from collector.domain.event_rules import ActiveRules, EventRule
from collector.domain.names import EVENT
from collector.values.clock import DAY
from collector.values.element_rules import clean_element_rule
from collector.values.ids import new_uuid7
from collector.values.messages import clean_auto_message
from collector.values.page_rules import parse_page_rule
from tests.domain.test_slices import pruner
from tests.support.browserless import Tracker
from tests.support.world import World, user

PRICING = {"field": "path", "operator": "is", "value": "/pricing"}


@pytest.fixture
def rule(world: World) -> EventRule:
    return new_rule(world)


def new_rule(world: World, page: Any = PRICING, name: str = "saw-pricing") -> EventRule:
    services = world.services
    services.names.ensure(world.site.id, EVENT, [name], world.clock())
    made: EventRule = services.writer.run(
        world.site.id, lambda tx: services.event_rules.create(tx, world.site.id, name, parse_page_rule(page), world.clock())
    )
    services.event_rules.forget(world.site.id)
    return made


def go_back(world: World, rule: EventRule) -> None:
    for _ in backfill.apply(world.services, world.site, rule):
        pass


def counts(world: World, tracker: Tracker) -> dict[str, int]:
    return world.counts(("lead", tracker.lead.partition(".")[0]))


def test_a_view_that_meets_the_rule_counts_as_the_event_too(world: World, tracker: Tracker, rule: EventRule) -> None:
    answer = tracker.view("/pricing")
    assert (answer["accepted"], answer["duplicates"]) == (1, 0)
    tracker.view("/other")
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 1}


def test_a_repeated_view_makes_no_second_event(world: World, tracker: Tracker, rule: EventRule) -> None:
    tracker.url = "https://shop.example/pricing"
    view = tracker.event()
    tracker.collect(view)
    assert tracker.collect(view)["duplicates"] == 1
    assert counts(world, tracker) == {"page-view": 1, "saw-pricing": 1}


def test_whoever_is_in_a_view_of_somebody_else_gets_no_event_of_it(world: World, tracker: Tracker, rule: EventRule) -> None:
    tracker.url = "https://shop.example/pricing"
    tracker.identify("u-2")
    tracker.collect(tracker.event(view=str(tracker.event()["id"]), repeat=True))
    assert world.counts(user("u-2")) == {}


def test_other_events_on_the_page_make_none(world: World, tracker: Tracker, rule: EventRule) -> None:
    tracker.url = "https://shop.example/pricing"
    tracker.collect(tracker.event("clicked"))
    assert counts(world, tracker) == {"clicked": 1}


def test_the_timeline_is_counted_too_once(world: World, tracker: Tracker) -> None:
    for path in ("/pricing", "/pricing", "/"):
        tracker.view(path)
    rule = new_rule(world)
    tracker.view("/pricing")
    go_back(world, rule)
    go_back(world, rule)
    assert counts(world, tracker) == {"page-view": 4, "saw-pricing": 3}


def test_a_view_that_meets_several_rules_of_one_name_counts_once(world: World, tracker: Tracker, rule: EventRule) -> None:
    wider = new_rule(world, {"field": "path", "operator": "starts", "value": "/pri"})
    tracker.view("/pricing")
    tracker.view("/prices")
    go_back(world, rule)
    go_back(world, wider)
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 2}


def test_a_rule_made_anew_adds_what_it_missed_and_counts_nothing_again(world: World, tracker: Tracker, rule: EventRule) -> None:
    tracker.view("/pricing")
    archive(world, rule)
    tracker.view("/pricing")
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 1}
    go_back(world, new_rule(world))
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 2}


def test_what_was_made_of_the_timeline_belongs_to_whoever_viewed(world: World, tracker: Tracker) -> None:
    tracker.view("/pricing")
    tracker.identify("u-1")
    tracker.view("/pricing")
    go_back(world, new_rule(world))
    assert world.counts(user()) == {"page-view": 2, "saw-pricing": 2}
    made = [event for event in world.timeline(user()) if event.name == "saw-pricing"]
    viewed = [event for event in world.timeline(user()) if event.name == "page-view"]
    assert sorted((one.at, one.lead, one.unverified) for one in made) == sorted((one.at, one.lead, one.unverified) for one in viewed)


def test_going_back_says_nothing_new_of_visits_and_activity(world: World, tracker: Tracker) -> None:
    tracker.view("/pricing", visit=new_uuid7(world.clock()))
    key = ("lead", tracker.lead.partition(".")[0])
    before, active = world.attributes(key), world.person(key).active_at
    assert before["browser"]
    go_back(world, new_rule(world))
    assert counts(world, tracker) == {"page-view": 1, "saw-pricing": 1}
    assert (world.attributes(key), world.person(key).active_at) == (before, active)


def test_interrupted_it_goes_on_where_it_was(world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rules, "STEP", 2)
    for _ in range(7):
        tracker.view("/pricing")
    rule = new_rule(world)
    steps = backfill.apply(world.services, world.site, rule)
    next(steps)
    steps.close()
    assert counts(world, tracker)["saw-pricing"] == 2
    go_back(world, rule)
    assert counts(world, tracker)["saw-pricing"] == 7


def test_counting_live_and_going_back_at_once_count_once(world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rules, "STEP", 3)
    tracker.url = "https://shop.example/pricing"
    views = [tracker.event() for _ in range(40)]
    for view in views[:20]:
        tracker.collect(view)
    rule = new_rule(world)
    back = threading.Thread(target=go_back, args=(world, rule))
    back.start()
    for view in views:
        tracker.collect(view)
    back.join()
    go_back(world, rule)
    assert counts(world, tracker) == {"page-view": 40, "saw-pricing": 40}


def test_a_view_that_waits_to_be_written_since_before_the_rule_was_known_is_found(
    world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, held, gate = world.services, threading.Semaphore(0), threading.Event()

    def hold(_: Any) -> None:
        held.release()
        gate.wait(60)

    rule, services.event_rules._active[world.site.id] = new_rule(world), (float("inf"), ActiveRules((), (), frozenset()))
    threads = []
    for _ in services.writer._threads:  # each writes at the same time as the others, where there are several
        threads.append(_started(services.writer.run, world.site.id, hold))
        held.acquire()
    threads.append(_started(tracker.view, "/pricing"))
    while not services.writer.waiting() and threads[-1].is_alive():
        threads[-1].join(0.001)
    begun, settle = threading.Event(), services.writer.settle
    monkeypatch.setattr(services.writer, "settle", lambda: (begun.set(), settle()))
    threads.append(_started(go_back, world, rule))
    while not begun.is_set() and services.writer.waiting() < 2 and threads[-1].is_alive():
        threads[-1].join(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    assert counts(world, tracker) == {"page-view": 1, "saw-pricing": 1}


def _started(work: Callable[..., Any], *given: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=given)
    thread.start()
    return thread


@pytest.mark.parametrize("pruned", [False, True])
def test_what_is_older_than_the_timeline_is_left(world: World, tracker: Tracker, *, pruned: bool) -> None:
    tracker.view("/pricing")
    world.clock.advance(120 * DAY)
    tracker.view("/pricing")
    if pruned:
        assert list(pruner(world.services))
    go_back(world, new_rule(world))
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 1}


def test_answers_name_the_query_parameters_that_active_rules_ask_for(world: World, tracker: Tracker) -> None:
    made = new_rule(world, {"field": "query.step", "operator": "is", "value": "2"})
    assert tracker.view("/pricing")["query"] == ["step"]
    archive(world, made)
    assert "query" not in tracker.view("/pricing")


def test_a_view_sent_again_with_a_parameter_that_is_allowed_now_meets_the_rule(world: World, tracker: Tracker) -> None:
    new_rule(world, {"field": "query.step", "operator": "is", "value": "2"})
    tracker.url = "https://shop.example/form"
    view = tracker.event()
    tracker.collect(view)
    answer = tracker.collect({**view, "page": {**view["page"], "url": "https://shop.example/form?step=2"}})
    assert (answer["accepted"], answer["duplicates"]) == (0, 1)
    assert counts(world, tracker) == {"page-view": 1, "saw-pricing": 1}


def test_an_archived_rule_makes_nothing_more(world: World, tracker: Tracker, rule: EventRule) -> None:
    tracker.view("/pricing")
    archive(world, rule)
    tracker.view("/pricing")
    assert counts(world, tracker) == {"page-view": 2, "saw-pricing": 1}


def archive(world: World, rule: EventRule) -> None:
    world.services.writer.run(world.site.id, lambda tx: event_rules.archive(tx, world.site.id, rule.public_id, world.clock()))
    world.services.event_rules.forget(world.site.id)


def test_archived_while_going_back_a_rule_makes_nothing_more(world: World, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rules, "STEP", 2)
    for _ in range(7):
        tracker.view("/pricing")
    rule = new_rule(world)
    steps = backfill.apply(world.services, world.site, rule)
    next(steps)
    archive(world, rule)
    assert list(steps) == []
    assert counts(world, tracker) == {"page-view": 7, "saw-pricing": 2}
    with world.services.database.read() as connection:
        stored = event_rules.get(connection, world.site.id, rule.public_id)
    assert stored is not None
    assert stored.backfilled_at is None


class Waiting(logging.Handler):
    """Keeps what is logged, and lets one wait for a number of records."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.enough = threading.Event()
        self._number = number

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if len(self.records) >= self._number:
            self.enough.set()


def test_interrupted_again_and_again_going_back_rests_longer_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(backfill, "MOST_SECONDS", 0.008)
    with world.services.written.write() as tx:
        tx.run("ALTER TABLE event_rules RENAME TO away")
    waiting = Waiting(5)
    backfill.log.addHandler(waiting)
    running = backfill.Backfill(world.services)
    try:
        assert waiting.enough.wait(60)
    finally:
        running.stop()
        backfill.log.removeHandler(waiting)
    rests = [record.args[0] for record in waiting.records[:5] if isinstance(record.args, tuple)]
    assert rests == [0.002, 0.004, 0.008, 0.008, 0.008]


def test_a_message_triggered_by_the_event_may_be_claimed(world: World, tracker: Tracker, rule: EventRule) -> None:
    definition = clean_auto_message(
        {
            "name": "Pricing",
            "type": "popup",
            "state": "live",
            "content": {"body": "Hello"},
            "trigger": {"type": "event", "event": "saw-pricing"},
            "audience": {"event": "saw-pricing", "field": "count", "operator": "=", "value": 2},
        },
        retention_days=90,
    )
    services = world.services
    services.writer.run(world.site.id, lambda tx: services.auto_messages.create(tx, world.site.id, definition, world.clock()))
    services.auto_messages.forget(world.site.id)
    assert tracker.view("/pricing")["messages"] == []
    assert len(tracker.view("/pricing")["messages"]) == 1


def new_click_rule(world: World) -> ElementRule:
    services, site = world.services, world.site.id
    definition = clean_element_rule({"source": "click", "selector": "button"})
    made: ElementRule = services.writer.run(site, lambda tx: services.event_rules.create(tx, site, "pressed", definition, world.clock()))
    services.event_rules.forget(site)
    return made


def script(world: World) -> str | None:
    """The name of the script with the rules of the site."""
    return world.services.rule_scripts.name(world.site.key, world.services.event_rules.active(world.site.id).elements)


def test_answers_name_the_script_of_rules_by_selector_while_there_are_any(world: World, tracker: Tracker) -> None:
    assert "rules" not in tracker.view("/")
    rule = new_click_rule(world)
    named = tracker.view("/")["rules"]
    assert named == script(world)
    assert tracker.collect(tracker.event("other"))["rules"] == named
    world.services.writer.run(world.site.id, lambda tx: element_rules.archive(tx, world.site.id, rule.public_id, world.clock()))
    world.services.event_rules.forget(world.site.id)
    assert "rules" not in tracker.view("/")


def test_an_answer_that_refuses_every_item_names_the_rules_too(world: World, tracker: Tracker) -> None:
    """Or the page would take it that there are none any more, and stop applying them."""
    new_click_rule(world)
    new_rule(world, {"field": "query.plan", "operator": "is", "value": "pro"})
    answer = tracker.collect(tracker.event("x", metadata={f"key-{number}": 1 for number in range(21)}))
    assert (answer["accepted"], answer["rules"], answer["query"]) == (0, script(world), ["plan"])


def test_a_rule_by_selector_makes_nothing_of_page_views_and_has_nothing_to_go_back_over(world: World, tracker: Tracker) -> None:
    new_click_rule(world)
    tracker.view("/pricing")
    assert counts(world, tracker) == {"page-view": 1}
    with world.services.database.read() as connection:
        assert event_rules.pending(connection, world.site.id) == []


def test_whoever_asked_not_to_be_tracked_is_told_of_no_rules(world: World, tracker: Tracker) -> None:
    new_click_rule(world)
    answer = tracker.post("/collect", tracker.envelope(tracker.event()), **{"Sec-GPC": "1"})
    assert (answer.status_code, "rules" in answer.json) == (202, False)


def test_sites_share_no_rules(world: World, tracker: Tracker) -> None:
    new_click_rule(world)
    other = world.new_site("Other")
    assert world.services.event_rules.active(other.id).elements == ()
