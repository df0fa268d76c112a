"""Messages: what a person did with one is a time like any other, the first time it happened, and unknown before."""

from collections.abc import Iterator
from typing import Any

import pytest

from collector.domain import deliveries
from collector.domain.deliveries import Delivery
from collector.values.clock import DAY
from collector.values.ids import new_uuid7
from collector.values.messages import clean_auto_message
from tests.domain.queries.conftest import NOW
from tests.support.asking import Asking
from tests.support.world import World, lead, user

FIELDS = ("seen", "clicked", "answered", "dismissed", "goal")


class Sent:
    """A message, and what people did with it."""

    def __init__(self, world: World) -> None:
        self.world = world
        raw = {"name": "Hello", "type": "popup", "state": "live", "content": {"title": "Hi", "body": "There"}}
        definition, site = clean_auto_message(raw, retention_days=90), world.site.id
        services = world.services
        self.made = services.writer.run(site, lambda tx: services.auto_messages.create(tx, site, definition, NOW))
        self.id = self.made.public_id
        self._times = 0

    def to(self, name: str, **ages: int) -> None:
        """Let somebody get it once more and do this with it, so many ms ago."""
        self._times += 1
        person = self.world.person(user(name)).id
        times = [NOW - ages[field] if field in ages else None for field in FIELDS]
        row = Delivery(person, self.made.id, self._times, 1, deliveries.SHOWN, new_uuid7(NOW), NOW - 9 * DAY, None, None, *times)
        self.world.services.writer.run(self.world.site.id, lambda tx: deliveries.insert(tx, self.world.site.id, row))

    def rule(self, field: str, operator: str, value: Any = None) -> dict[str, Any]:
        return {"message": self.id, "field": field, "operator": operator} | ({} if value is None else {"value": value})


@pytest.fixture
def sent(asking: Asking) -> Iterator[Sent]:
    asking.having("email", **dict.fromkeys(("ada", "bea", "cleo")))
    return Sent(asking.world)


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_a_message_is_a_time(asking: Asking, sent: Sent, field: str) -> None:
    sent.to("ada", **{field: 2 * DAY + 1})
    sent.to("bea", **{field: 2 * DAY})
    sent.to("cleo")
    assert asking.found(sent.rule(field, "more_than_days_ago", 2)) == {"ada"}
    assert asking.found(sent.rule(field, "exactly_days_ago", 2)) == {"ada", "bea"}
    assert asking.found(sent.rule(field, "on", "2026-09-19")) == {"ada", "bea"}
    assert asking.found(sent.rule(field, "has_any_value")) == {"ada", "bea"}
    assert asking.found(sent.rule(field, "is_unknown")) == {"cleo"}
    assert asking.found(sent.rule(field, ">", (NOW - 3 * DAY) / 1_000)) == {"ada", "bea"}
    assert asking.found(sent.rule(field, "!=", (NOW - 2 * DAY) / 1_000)) == {"ada", "cleo"}
    others = [sent.rule(other, "has_any_value") for other in FIELDS if other != field]
    assert asking.found({"operator": "OR", "value": others}) == set()


def test_of_several_deliveries_the_first_time_counts(asking: Asking, sent: Sent) -> None:
    sent.to("ada", seen=5 * DAY)
    sent.to("ada", seen=DAY, clicked=DAY)
    assert asking.found(sent.rule("seen", "exactly_days_ago", 5)) == {"ada"}
    assert asking.found(sent.rule("clicked", "exactly_days_ago", 1)) == {"ada"}


def test_what_a_visitor_did_counts_for_the_user_it_became(asking: Asking, sent: Sent) -> None:
    world = asking.world
    world.send(lead("visitor"), world.event())
    person = world.person(("lead", "visitor")).id
    row = Delivery(person, sent.made.id, 1, 1, deliveries.SHOWN, new_uuid7(NOW), NOW, None, None, NOW, None, None, None, None)
    world.services.writer.run(world.site.id, lambda tx: deliveries.insert(tx, world.site.id, row))
    assert asking.found(sent.rule("seen", "has_any_value")) == {"visitor"}
    world.send(user("ada"), lead=lead("visitor"))
    assert asking.found(sent.rule("seen", "has_any_value")) == {"ada"}


def test_messages_are_compared_with_each_other_and_with_events(asking: Asking, sent: Sent) -> None:
    other = Sent(asking.world)
    sent.to("ada", seen=2 * DAY)
    sent.to("bea", seen=2 * DAY)
    other.to("ada", dismissed=3 * DAY)
    asking.doing("saved", ada=[DAY], bea=[4 * DAY], cleo=[DAY])
    assert asking.found(sent.rule("seen", ">", {"message": other.id, "field": "dismissed"})) == {"ada", "bea"}
    assert asking.found(sent.rule("seen", "<", {"message": other.id, "field": "dismissed"})) == set()
    saved = {"event": "saved", "field": "last"}
    assert asking.found({**saved, "operator": ">", "value": {"message": sent.id, "field": "seen"}}) == {"ada", "cleo"}
    assert asking.found(sent.rule("seen", ">", saved)) == {"bea"}
    due = {"field": "signed_up_at", "operator": "<", "value": {"message": sent.id, "field": "seen"}}
    assert asking.found(due) == set()


def test_a_message_that_there_is_not_was_seen_by_nobody(asking: Asking, sent: Sent) -> None:
    rule = {"message": "no such message", "field": "seen"}
    assert asking.found({**rule, "operator": "is_unknown"}) == {"ada", "bea", "cleo"}
    assert asking.found({**rule, "operator": "more_than_days_ago", "value": 0}) == set()
