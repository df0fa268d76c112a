"""Settings that have to be the same for all collectors on one database, as each of them tells it.

What is taken away is gone for everybody, so it is judged by the longest time that any of them was set to lately. One that has ended, or was
set anew, is forgotten after a while.
"""

from collections.abc import Mapping

from collector.storage.database import Connection
from collector.values.clock import DAY

HEARD = 3 * DAY
"""How long (ms) a collector counts that was not heard again; they tell it at their start and in each round, every night."""
_ROW = "setting "


def tell(tx: Connection, own: Mapping[str, int], now_ms: int, *, alone: bool = False) -> dict[str, list[int]]:
    """Write down what a collector was set to, and return for each setting all the values that count now, the longest last.

    `alone` is an operator's word that nobody else counts any more.
    """
    if alone:  # also those that a wrong clock told of times to come
        tx.run(f"DELETE FROM upkeep WHERE part LIKE '{_ROW}%'")
    tx.run(f"DELETE FROM upkeep WHERE part LIKE '{_ROW}%' AND at < ?", (now_ms - HEARD,))
    rows = [(f"{_ROW}{name} {value}", now_ms, value) for name, value in sorted(own.items())]
    tx.insert("upkeep", ("part", "at", "upto"), rows, "ON CONFLICT (part) DO UPDATE SET at = larger(upkeep.at, excluded.at)")
    found: dict[str, list[int]] = {name: [] for name in own}
    for part, value in tx.rows(f"SELECT part, upto FROM upkeep WHERE part LIKE '{_ROW}%' ORDER BY upto"):
        name = part.split()[1]
        if name in found:
            found[name].append(value)
    return found


def shortened(connection: Connection, own: Mapping[str, int]) -> dict[str, int]:
    """Return the longest value of each setting that is shorter here than somebody told, however long ago that was.

    A command takes away at once. Its shell may have other settings than the collectors, of which none may have been heard for days.
    """
    told = connection.rows(f"SELECT part, upto FROM upkeep WHERE part LIKE '{_ROW}%' ORDER BY upto")
    longest = {part.split()[1]: int(value) for part, value in told}
    return {name: longest[name] for name in sorted(own) if longest.get(name, 0) > own[name]}


def disagreement(values: Mapping[str, list[int]]) -> str | None:
    """Return in words which settings differ, or None."""
    differing = [f"{name} is {' and '.join(map(str, each))}" for name, each in sorted(values.items()) if len(each) > 1]
    if not differing:
        return None
    return f"collectors on this database are set differently: {', '.join(differing)}; the longest holds until they agree"
