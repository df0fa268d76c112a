"""Names that are not in memory yet are asked for together."""

from typing import Any

import pytest

from collector.domain import people
from collector.domain.names import Names
from collector.storage.database import Connection
from tests.support.world import World, user


def test_after_a_start_somebodys_totals_are_named_by_few_questions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [f"did-{number}" for number in range(120)]
    world.send(user(), *(world.event(name) for name in events))
    services = world.services
    names = Names(services.database, services.written, 1_000)
    asked: list[str] = []
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        asked.append(sql)
        return execute(self, sql, parameters)

    person = world.person(user()).id
    monkeypatch.setattr(Connection, "_execute", spy)
    with services.database.read() as connection:
        assert people.totals(connection, world.site.id, names, person).keys() == set(events)
        assert people.totals(connection, world.site.id, names, person).keys() == set(events)
    assert len(asked) == 3


def test_names_are_told_though_the_memory_of_them_is_emptied_meanwhile(world: World) -> None:
    """It is emptied where it is full, by whichever thread brings one name more."""
    events = [f"did-{number}" for number in range(4)]
    world.send(user(), *(world.event(name) for name in events))
    services = world.services
    names = Names(services.database, services.written, 1_000)
    with services.database.read() as connection:
        numbers = dict(connection.rows("SELECT text, id FROM names WHERE site = ? AND kind = 'event'", (world.site.id,)))
        assert names.text(world.site.id, numbers["did-0"]) == "did-0"
        names._numbers.update({(0, "event", str(number)): number for number in range(200_001)})
        assert names.texts(connection, world.site.id, [1, *(numbers[name] for name in events)]) == ["email", *events]
