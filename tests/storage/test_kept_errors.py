"""What failed of somebody's request is told to whoever asked, and keeps nothing of the request."""

import asyncio
import gc
import weakref

import pytest

from collector.storage.database import Connection, Database
from collector.storage.writer import Writer


class Nothing:
    """A bulk that nothing is recorded with."""


def test_an_error_keeps_nothing_alive_of_whoever_met_it(database_url: str) -> None:
    """It comes with the frames that led to it, and Python looks for cycles after so many objects, however large they are."""

    class Asked:
        pass

    def fail(tx: Connection) -> None:
        raise ValueError("a conflict")

    def ask() -> "weakref.ref[Asked]":
        asked = Asked()
        with pytest.raises(ValueError, match="a conflict"):
            writer.run(1, fail)
        return weakref.ref(asked)

    async def await_it() -> "weakref.ref[Asked]":
        asked = Asked()
        with pytest.raises(ValueError, match="a conflict"):
            await writer.done(1, fail)
        return weakref.ref(asked)

    database = Database(database_url)
    writer = Writer(database, Nothing(), queue_limit=10, group_limit=10)
    gc.collect()
    gc.disable()
    try:
        met = [ask(), asyncio.run(await_it())]
        writer.run(1, lambda _: None)  # so that its thread has come to the end of those
        assert [one() for one in met] == [None, None]
    finally:
        gc.enable()
        writer.close()
        database.close()
