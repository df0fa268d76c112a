"""Settings that have to be the same for all collectors on one database, as each of them tells it.

What is taken away is gone for everybody, so it is judged by the longest time that any of them was set to lately. One that has ended, or was
set anew, is forgotten after a while.
"""

from collections.abc import Collection, Mapping

from collector.storage.database import Connection
from collector.values.clock import DAY

HEARD = 3 * DAY
"""How long (ms) a collector counts that was not heard again; they tell it at their start and in each round, every night."""
_ROW = "setting "


Told = dict[str, list[int]]
"""For each setting all the values that count, the longest last."""


def tell(tx: Connection, own: Mapping[str, int], now_ms: int, *, alone: bool = False) -> Told:
    """Write down what a collector was set to, and return what all of them told.

    `alone` is an operator's word that nobody else counts any more.
    """
    if alone:  # also those that a wrong clock told of times to come
        tx.run(f"DELETE FROM upkeep WHERE part LIKE '{_ROW}%'")
    rows = [(f"{_ROW}{name} {value}", now_ms, value) for name, value in sorted(own.items())]
    tx.insert("upkeep", ("part", "at", "upto"), rows, "ON CONFLICT (part) DO UPDATE SET at = larger(upkeep.at, excluded.at)")
    return _told(tx, own)


def forget(tx: Connection, own: Mapping[str, int], present_ms: int) -> Told:
    """Forget who was not heard lately, and return what counts then. The present is one that is believed, or others would be forgotten
    by a wrong clock.
    """
    tx.run(f"DELETE FROM upkeep WHERE part LIKE '{_ROW}%' AND at < ?", (present_ms - HEARD,))
    return _told(tx, own)


def _told(connection: Connection, names: Collection[str]) -> Told:
    found: Told = {name: [] for name in names}
    for part, value in connection.rows(f"SELECT part, upto FROM upkeep WHERE part LIKE '{_ROW}%' ORDER BY upto"):
        name = part.split()[1]
        if name in found:
            found[name].append(value)
    return found


def shortened(connection: Connection, own: Mapping[str, int]) -> dict[str, int]:
    """Return the longest value of each setting that is shorter here than somebody told, however long ago that was.

    A command takes away at once. Its shell may have other settings than the collectors, of which none may have been heard for days.
    """
    longest = {name: values[-1] for name, values in _told(connection, own).items() if values}
    return {name: longest[name] for name in sorted(own) if longest.get(name, 0) > own[name]}


def disagreement(values: Told) -> str | None:
    """Return in words which settings differ, or None."""
    differing = [f"{name} is {' and '.join(map(str, each))}" for name, each in sorted(values.items()) if len(each) > 1]
    if not differing:
        return None
    return f"collectors on this database are set differently: {', '.join(differing)}; the longest holds until they agree"
