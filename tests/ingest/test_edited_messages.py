"""A message that somebody edits while a browser claims it: what is shown is what it is now."""

import functools
import itertools
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from collector.ingest.claims import claim
from collector.ingest.effects import Write
from collector.ingest.senders import Headers
from collector.values.messages import clean_auto_message
from tests.ingest.test_messages import create
from tests.support.browserless import ORIGIN, Tracker
from tests.support.world import World

pytestmark = pytest.mark.parametrize("new_tracker", ["rsgi"], indirect=True)


def edit(world: World, message: str, **fields: Any) -> None:
    def change(_: int, definition: dict[str, Any]) -> Any:
        return clean_auto_message({**definition, **fields}, retention_days=90)

    work = functools.partial(
        world.services.auto_messages.update, site=world.site.id, public_id=message, change=change, now_ms=world.clock()
    )
    world.services.writer.run(world.site.id, work)


def claimed(tracker: Tracker, message: str, meanwhile: Callable[[], None]) -> Any:
    """Claim as an entry does; `meanwhile` happens once, after what is needed was read and before the permission is written."""
    body = {key: value for key, value in tracker.envelope().items() if key != "items"}
    body |= {"message": message, "nonce": secrets.token_urlsafe(16), "page": {"url": tracker.url}}
    services = tracker.world.services
    exchange = claim(services, json.dumps(body).encode(), Headers(origin=ORIGIN))
    result = None
    try:
        for number in itertools.count():
            effect = exchange.send(result)
            if number == 1:  # the first reads what is needed
                meanwhile()
            result = services.writer.run(effect.site, effect.work) if isinstance(effect, Write) else effect.call()  # type: ignore[union-attr]
    except StopIteration as answer:
        return answer.value


def test_a_message_that_is_paused_while_it_is_claimed_is_not_shown(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    assert claimed(tracker, message, lambda: edit(world, message, state="paused")) == {"message": None, "reason": "state"}


def test_a_message_whose_text_changes_while_it_is_claimed_is_shown_with_the_new_one(tracker: Tracker, world: World) -> None:
    message = create(world)
    tracker.view()
    answer = claimed(tracker, message, lambda: edit(world, message, content={"title": "Goodbye", "body": "Later."}))
    assert answer["message"]["title"] == "Goodbye"
    with world.services.database.read() as connection:
        assert connection.value("SELECT version FROM deliveries") == 2
