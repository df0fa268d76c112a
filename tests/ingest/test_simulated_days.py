"""What a simulation says of some days is what happened on them: the same people are served for real, and then replayed."""

from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from collector.domain import past
from collector.domain.auto_messages import AutoMessage
from collector.domain.replay import Scene, replay
from collector.domain.simulation import scene_of
from collector.values.messages import clean_auto_message
from collector.web.browser import Responder
from tests.ingest.visitors import Crowd
from tests.support.browserless import ENTRIES, Tracker
from tests.support.clock import FakeClock
from tests.support.world import World
from tests.support.world import world as start

DAYS = 20
COUNT = {"field": "count", "operator": ">"}
MESSAGES: dict[str, dict[str, Any]] = {
    "pricing": {
        "audience": {"event": "page-view", **COUNT, "value": 2},
        "page": {"field": "path", "operator": "starts", "value": "/pricing"},
        "frequency": {"type": "every_time", "max": 3, "every_days": 1},
        "priority": 5,
    },
    "saved": {
        "trigger": {"type": "event", "event": "saved", "where": [{"field": "metadata.plan", "operator": "=", "value": "pro"}]},
        "ignore_caps": True,
        "frequency": {"type": "once"},
    },
    "users": {"audience": {"field": "role", "operator": "=", "value": "user"}, "holdout_percent": 30, "priority": 1},
    "waiting": {
        "trigger": {"type": "time", "seconds": 20},
        "audience": {"event": "page-view", **COUNT, "value": 3, "within_days": 7},
        "priority": 2,
        "frequency": {"type": "every_time", "every_days": 2},
    },
    "back": {
        "trigger": {"type": "exit_intent"},
        "audience": {
            "operator": "AND",
            "value": [
                {"field": "session_count", "operator": ">", "value": 1},
                {"field": "last_seen_at", "operator": "more_than_days_ago", "value": 1},
            ],
        },
        "priority": 3,
        "frequency": {"type": "once"},
    },
    "cart": {
        "audience": {
            "operator": "AND",
            "value": [
                {"event": "cart", "field": "last", "operator": ">", "value": {"event": "checked-out", "field": "last"}},
                {"field": "utm_source", "operator": "=", "value": "mail"},
                {"event": "cart", **COUNT, "value": 0, "where": [{"field": "metadata.plan", "operator": "=", "value": "free"}]},
            ],
        },
        "priority": 4,
        "frequency": {"type": "every_time", "max": 2},
    },
    "paid": {"trigger": {"type": "event", "event": "paid"}, "ignore_caps": True, "content": {"body": "{{event.metadata.plan}}"}},
}


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    with start(database_url, clock, message_budget_ms=60_000) as running:
        yield running


def create(world: World, name: str, **fields: Any) -> str:
    """Make a live message and return its id."""
    raw = {"name": name, "type": "popup", "state": "live", "content": {"body": "Hello"}, **fields}
    definition = clean_auto_message(raw, retention_days=90)
    made = world.services.writer.run(
        world.site.id, lambda tx: world.services.auto_messages.create(tx, world.site.id, definition, world.clock())
    )
    world.services.auto_messages.forget(world.site.id)
    return made.public_id


def scene(world: World, message: str, days: int) -> Scene:
    services = world.services
    with services.database.read() as connection:
        found = services.auto_messages.get(connection, world.site.id, message)
    assert found is not None
    others: list[AutoMessage] = list(services.auto_messages.live(world.site.id).messages)
    return scene_of(services.database, world.site, found, others, days, world.clock(), services.settings.retention)


Pair = tuple[str, str, str, int]
"""Contact, message, arm and time (ms)."""


def served(world: World) -> set[Pair]:
    """What everybody got."""
    sql = (
        "SELECT p.public_id, m.name, d.arm, d.claimed_at FROM deliveries d JOIN auto_messages m ON m.site = d.site AND m.id = d.message "
        "JOIN identities i ON i.site = d.site AND i.id = d.identity JOIN identities p ON p.site = i.site AND p.id = i.principal_id"
    )
    return set(world.rows(sql))


def simulated(world: World, scene: Scene) -> set[Pair]:
    """What everybody would have got."""
    found: set[Pair] = set()
    services = world.services
    for people in past.everybody(services.database, services.names, world.site.id, scene.wanted, scene.oldest, scene.since):
        for person in [] if isinstance(people, int) else people:
            for one in replay(scene, person):
                found.add((person.identities[0].public_id, one.message.definition.name, one.arm, one.at))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_days_that_were_served_are_simulated_alike(world: World, seed: int) -> None:
    ids = {name: create(world, name, **fields) for name, fields in MESSAGES.items()}
    client = Client(ENTRIES["wsgi"](Responder(world.services)))
    crowd = Crowd(world, lambda: Tracker(world, client), people=200, days=DAYS, seed=seed)
    crowd.serve()
    real = served(world)
    print(len(real), {name: sum(one[1] == name for one in real) for name in MESSAGES})
    assert simulated(world, scene(world, ids["pricing"], DAYS + 1)) == real
