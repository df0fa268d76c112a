"""What is given out about the timeline does not depend on when it was pruned: each answer is the same before and after."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from collector.domain import simulation
from collector.domain.submissions import Event
from collector.storage.slices import DRIFT, OVERFLOW
from collector.values.clock import DAY
from collector.values.ids import event_id_text
from tests.conftest import ENGINES
from tests.domain.test_slices import RETENTION, YEAR, pruner
from tests.support.world import id_at, lead, user
from tests.web.test_api_support import Rest, serving_once
from tests.web.test_console_support import Console, Parsed

DAYS, SIGNED_UP = 40, 32
OTHERS = 5
"""How many users there are besides, each of whom saved on some of the days only."""
PRO = [{"field": "metadata.plan", "operator": "=", "value": "pro"}]
COUNT = {"event": "saved", "field": "count", "operator": ">"}
BASE = {"event_name": "saved", "count": 3, "first": 1_600_000_000, "last": 1_600_000_100}
QUERIES: dict[str, Any] = {
    "how often ever": {**COUNT, "value": 8},
    "how often within days": {**COUNT, "value": 2, "within_days": 14},
    "how often with conditions": {**COUNT, "value": 1, "where": PRO},
    "how often within days with conditions": {**COUNT, "value": 0, "where": PRO, "within_days": 9},
    "first with conditions": {"event": "saved", "field": "first", "operator": "more_than_days_ago", "value": 12, "where": PRO},
    "last within days": {"event": "saved", "field": "last", "operator": "less_than_days_ago", "value": 3, "within_days": 10},
    "never with conditions": {"event": "saved", "field": "count", "operator": "=", "value": 0, "where": PRO},
    "more often than ever before": {**COUNT, "where": PRO, "value": {"event": "page-view", "field": "count", "within_days": 7}},
}


class Known(NamedTuple):
    """A collector and what is asked for there: a contact, a message that an event opens, a segment, single events; and its console."""

    rest: Rest
    contact: str
    message: str
    segment: str
    events: dict[int, str]
    """The ids of those of the contact, by day."""
    console: Console

    def get(self, path: str) -> Any:
        answer = self.rest.get(path.format(**self._asdict()))
        return answer.status_code, answer.json if answer.status_code == 200 else answer.json["errors"][0]["code"]

    def post(self, path: str, body: Any) -> Any:
        answer = self.rest.post(path.format(**self._asdict()), body)
        assert answer.status_code == 200, answer.text
        return answer.json

    def page(self, path: str) -> str:
        """What one reads on a page of the console."""
        return Parsed(self.console.page(path.format(**self._asdict()))).text


def lived(rest: Rest) -> dict[int, str]:
    """Let a visitor do something each day, sign up and go on, and others do the same now and then.

    Clocks are right on some days, a day off on others, or years. Returns the ids of the visitor's events by day.
    """
    world, begin = rest.world, rest.clock()
    found: dict[int, str] = {}
    for day in range(DAYS):
        world.clock.now = begin + day * DAY
        now, plan = world.clock(), "pro" if day % 3 else "free"
        written = now + (0, DRIFT, -DRIFT, 3 * YEAR, -3 * YEAR)[day % 5]
        page, metadata = '{"url": "https://shop.example/pricing"}', f'{{"plan": "{plan}"}}'
        visit = id_at(now)
        made = [Event(id_at(written), name, now, visit, page, metadata) for name in ("page-view", "saved")]
        if day < SIGNED_UP:
            world.send(lead(), *made)
        else:
            world.send(user(), *made, lead=lead())
        for number in range(OTHERS):
            if day % (number + 2) == 0:
                world.send(user(f"other-{number}"), Event(id_at(written), "saved", now, None, page, metadata), browser=False)
        found[day] = event_id_text(made[1].id)
    return found


def asked(path: str, query: Any) -> Callable[[Known], Any]:
    return lambda known: known.post(path, {"query": query})


def opens(day: int) -> Callable[[Known], Any]:
    return lambda known: known.get(f"/contacts/{{contact}}/explain/{{message}}?event_id={known.events[day]}")


def exported(known: Known) -> Any:
    """An export says how much of each total was pruned, and nothing else that depends on it."""
    status, document = known.get("/contacts/{contact}/export")
    return status, {**document, "totals": [{key: value for key, value in one.items() if key != "base"} for one in document["totals"]]}


def simulated(known: Known) -> Any:
    services, site = known.rest.world.services, known.rest.world.site
    with services.database.read() as connection:
        message = services.auto_messages.get(connection, site.id, known.message)
    assert message is not None
    scene = simulation.scene_of(services.database, site, message, [], 14, known.rest.clock(), services.settings.retention)
    return simulation.simulate(services.database, services.names, scene, lambda _: None)


READS: dict[str, Callable[[Known], Any]] = {
    "the contact": lambda known: known.get("/contacts/{contact}"),
    "its timeline": lambda known: known.get("/contacts/{contact}/timeline?per_page=150"),
    "one name of its timeline": lambda known: known.get("/contacts/{contact}/timeline?event_name=saved"),
    "what it did before sign-up": lambda known: known.get("/contacts/{contact}/timeline?before_sign_up=true&per_page=150"),
    "its events": lambda known: known.get("/events?type=user&user_id=u-1&per_page=1000"),
    "its totals": lambda known: known.get("/events?type=user&user_id=u-1&summary=true"),
    "its export": exported,
    "its segments": lambda known: known.get("/contacts/{contact}/segments"),
    "why it is shown a message": lambda known: known.get("/contacts/{contact}/explain/{message}"),
    "an imported base set anew": lambda known: (
        known.post("/events/summaries", {"user_id": "u-1", "event_summaries": BASE}),
        known.get("/events?type=user&user_id=u-1&summary=true"),
    ),
    "a segment": lambda known: known.get("/segments/{segment}"),
    "the segments": lambda known: known.get("/segments?include_count=true"),
    "for how many a message is": lambda known: known.get("/auto_messages/{message}/reach"),
    "who did it most often ever": lambda known: known.get("/events/top?event_name=saved"),
    "who did it most often lately": lambda known: known.get("/events/top?event_name=saved&within_days=9"),
    "who did it most often on the whole timeline": lambda known: known.get("/events/top?event_name=saved&within_days=14"),
    "a simulation": simulated,
    "its profile in the console": lambda known: known.page("/people/{contact}"),
    "what it did before sign-up, in the console": lambda known: known.page("/people/{contact}/before-sign-up"),
    "why it is shown a message, in the console": lambda known: known.page("/people/{contact}/why/{message}"),
    **{f"whom a query describes: {name}": asked("/contacts/search", query) for name, query in QUERIES.items()},
    **{f"why a query holds: {name}": asked("/contacts/{contact}/explain", query) for name, query in QUERIES.items()},
    **{f"whether an event of day {day} opens a message": opens(day) for day in range(DAYS)},
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Answers(NamedTuple):
    """Where events stood, and what every read gave, before the timeline was pruned and after."""

    places: tuple[dict[str, int], dict[str, int]]
    given: tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def answers(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    with serving_once(engine, request, tmp_path_factory, retention_days=RETENTION // DAY) as rest:
        events = lived(rest)
        audience = {**COUNT, "value": 2, "where": PRO}
        message = {"name": "Saved", "type": "popup", "state": "live", "content": {"body": "{{event.metadata.plan}}"}}
        opened = rest.post("/auto_messages", {**message, "trigger": {"type": "event", "event": "saved"}, "audience": audience}).json["id"]
        segment = rest.post("/segments", {"name": "Pro", "query": QUERIES["how often with conditions"]}).json["id"]
        console = Console(rest.world)
        console.sign_in()
        known = Known(rest, rest.world.person(user()).contact_id, opened, segment, events, console)
        known.post("/events/summaries", {"user_id": "u-1", "event_summaries": BASE})
        places, given = [stood(rest)], [{name: read(known) for name, read in READS.items()}]
        assert list(pruner(rest.world.services))
        places.append(stood(rest))
        given.append({name: read(known) for name, read in READS.items()})
        yield Answers((places[0], places[1]), (given[0], given[1]))


def stood(rest: Rest) -> dict[str, int]:
    """Where the events that were sent stand."""
    sql = "SELECT e.id, e.slice FROM events e JOIN names n ON n.site = e.site AND n.id = e.name WHERE n.text IN ('saved', 'page-view')"
    return {event_id_text(bytes(number)): where for number, where in rest.world.rows(sql)}


@pytest.mark.parametrize("read", READS)
def test_an_answer_is_the_same_before_and_after(answers: Answers, read: str) -> None:
    before, after = answers.given
    assert before[read] == after[read]


def test_much_was_there_before_that_is_gone_in_weeks_and_in_the_overflow(answers: Answers) -> None:
    before, after = answers.places
    gone = {where for event, where in before.items() if event not in after}
    assert OVERFLOW in gone
    assert len(gone) > 2
    assert OVERFLOW in after.values()


def test_what_is_older_than_the_timeline_is_not_explained_though_it_stands_there(answers: Answers) -> None:
    """The last week that goes is not gone when the timeline has left its first days behind."""
    before, _ = answers.given
    of_days = [before[f"whether an event of day {day} opens a message"][0] for day in range(DAYS)]
    first = DAYS - 1 - RETENTION // DAY
    assert of_days == [404] * first + [200] * (DAYS - first)
