"""What a process keeps of its definitions: a change of its own is seen by whoever asks next, whatever is being read meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from collector.domain.auto_messages import AutoMessages
from collector.domain.sites import Sites
from collector.storage.database import Connection, Database
from collector.values.messages import clean_auto_message
from tests.support.world import World

HELLO = {"name": "Hello", "type": "popup", "state": "live", "content": {"body": "Hello"}}


class Overtaken:
    """A database of which one reader is overtaken: when it has read, and before it can keep that, something else happens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.meanwhile: Callable[[], Any] | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._database.read() as connection:
            yield connection
        if (happens := self.meanwhile) is not None:
            self.meanwhile = None
            happens()


def test_a_message_that_goes_live_while_the_others_are_read(world: World) -> None:
    services, database = world.services, Overtaken(world.services.database)
    messages = AutoMessages(database, services.row_ids)  # type: ignore[arg-type]  # it reads, and nothing else

    def goes_live() -> None:
        definition = clean_auto_message(HELLO, retention_days=90)
        services.written.transact(lambda tx: messages.create(tx, world.site.id, definition, world.clock()))
        messages.forget(world.site.id)

    database.meanwhile = goes_live
    messages.live(world.site.id)
    assert messages.kept(world.site.id) is None
    assert [one.definition.name for one in messages.live(world.site.id).messages] == ["Hello"]


def test_messages_that_are_paused_while_their_site_is_read(world: World) -> None:
    services, database = world.services, Overtaken(world.services.database)
    sites = Sites(database, services.keyring, services.row_ids)  # type: ignore[arg-type]  # it reads, and nothing else

    def pauses() -> None:
        services.written.transact(lambda tx: sites.change(tx, world.site.id, messages_paused=True))
        sites.forget()

    database.meanwhile = pauses
    sites.by_key(world.site.key)
    assert sites.kept(world.site.key) is None
    found = sites.by_key(world.site.key)
    assert found is not None
    assert found.settings.messages_paused
