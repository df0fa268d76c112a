"""A message of which nothing could be seen is held back, as one that lacks a value is."""

import json

import pytest

from collector.values.errors import Problem
from tests.ingest.test_messages import create, numbers
from tests.support.browserless import Tracker
from tests.support.world import World


@pytest.mark.parametrize("body", ['{{first_name | fallback: ""}}', '**{{first_name | fallback: "\u200b "}}**\n\n---'])
def test_what_comes_to_blanks_for_somebody_is_held_back_from_them(tracker: Tracker, world: World, body: str) -> None:
    message = create(world, content={"body": body})
    tracker.view()
    assert tracker.claim(message) == {"message": None, "reason": "content"}
    tracker.collect({"type": "identify", "at": world.clock(), "attributes": {"name": "Ann"}})
    assert tracker.claim(message)["message"]
    assert numbers(world, message)["sent"] == 1


def test_a_message_of_blanks_from_before_they_were_refused_can_be_read_and_mended_and_is_not_shown(tracker: Tracker, world: World) -> None:
    message, messages = create(world), world.services.auto_messages
    with world.services.database.read() as connection:
        found = messages.get(connection, world.site.id, message)
        assert found is not None
        blank = json.dumps({**found.definition.as_json(), "content": {"body": " "}})
    world.services.writer.run(0, lambda tx: tx.run("UPDATE auto_messages SET definition = ? WHERE id = ?", (blank, found.id)))
    messages.forget(world.site.id)
    tracker.view()
    assert tracker.claim(message) == {"message": None, "reason": "content"}
    for state in ("paused", "archived"):
        world.services.writer.run(
            world.site.id, lambda tx, state=state: messages.set_state(tx, world.site.id, message, state, world.clock())
        )
    with pytest.raises(Problem):
        world.services.writer.run(world.site.id, lambda tx: messages.set_state(tx, world.site.id, message, "live", world.clock()))
