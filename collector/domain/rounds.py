"""What is written down of upkeep's rounds: when the last one was done whole, what was not done, and which present is believed.

What is taken away is gone for everybody, so that one wrong clock must not decide it. A clock is believed where the database agrees: its
server's own clock on PostgreSQL, and on both engines the newest events, in whose weeks browsers' clocks and collectors' agree. One that is
behind these, and behind the present of the round before, is not believed. Where a clock makes a leap that they do not contradict, the
present follows by a week a night; after a long rest it catches up like that. Where the newest events are too old to agree, because nobody
came or because the clock is wrong, the nights are counted: the present follows by one for each, so that nothing goes before it is as old
as that, and what is personal goes at its age although nobody comes.
"""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

import msgspec

from collector.domain.checks.findings import Finding
from collector.storage import migrations
from collector.storage.database import Connection
from collector.storage.slices import DRIFT, WEEK, newest, too_old
from collector.values.clock import DAY, EARLIEST, HOUR

Attempt = Callable[[str, int], AbstractContextManager[None]]
"""Runs a part of a round for one site (0: for all), and decides what becomes of an exception inside."""

LATE = 2 * DAY
"""How long after a whole round (ms) the next one is missed."""
_TRIAL_BYTES = 65_536
"""More than the room that a full disk leaves in pages already there; random, since PostgreSQL would compress it to nothing."""
_NIGHT, _LONGEST_NIGHT = 20 * HOUR, 30 * HOUR
"""After how long a round is another night's, and what lies between two rounds counts at most where nights are counted."""
_AHEAD = DRIFT + HOUR
"""How far ahead of a right clock (ms) an event of a week may be by its id: REST's happen within the hour, and an id is a day off that."""
HINT = "Set the clock right, or run `leadlight prune --force`, with the settings of the collectors, where it is"
_ROUND, _CLOCK, _TRIAL = "round", "clock", "trial"
"""Rows of what went wrong are named `part` and the part."""


class ClockDoubted(Exception):
    """Nothing is taken away by this clock; the message says what contradicts it."""


class Believed(msgspec.Struct, frozen=True):
    """The present (ms) by which is judged what is old, and why it is not what the clock says, where that matters."""

    now_ms: int
    trouble: str | None = None


def raising(part: str, site: int) -> AbstractContextManager[None]:  # noqa: ARG001 (as every `Attempt`)
    """Let exceptions pass."""
    return nullcontext()


def believed(tx: Connection, sites: Sequence[int], now_ms: int, retention_ms: int, *, trusted: bool = False) -> Believed:
    """Return the present that may be believed of a clock, and write it down. A `trusted` clock is an operator's word.

    Raises:
        ClockDoubted: the database contradicts it.
    """
    if now_ms < EARLIEST:
        raise ClockDoubted(f"the clock says {_date(now_ms)}, as one that nobody has set")
    if trusted:
        _write(tx, _CLOCK, now_ms, now_ms)
        return Believed(now_ms)
    if tx.engine == "postgresql":
        ahead = now_ms - int(tx.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
        if ahead > DRIFT:
            raise ClockDoubted(f"the clock is {ahead // DAY} days ahead of the database server's")
    last = newest(tx, sites)
    quiet = last is None or too_old((last - DAY) // WEEK, now_ms - retention_ms)
    tx.insert("upkeep", ("part", "at", "upto"), [(_CLOCK, 0, now_ms if last is None else last)], "ON CONFLICT DO NOTHING")
    ((at, before),) = tx.rows(f"SELECT at, upto FROM upkeep WHERE part = ?{tx.lock_suffix()}", (_CLOCK,))
    behind = min(before, last or before) - now_ms
    if behind > _AHEAD:  # by it, the present would go back, and then come again night after night
        raise ClockDoubted(f"the clock is {behind // DAY} days behind what was believed, and behind the newest event")
    passed = now_ms - at
    step = min(max(0, passed), _LONGEST_NIGHT) if quiet else passed if 0 <= passed < _NIGHT else WEEK
    upto = min(now_ms, before + step)
    _write(tx, _CLOCK, now_ms, upto)
    waiting = sum(too_old(number, now_ms - retention_ms) and not too_old(number, upto - retention_ms) for number in _open(tx))
    if not waiting:
        return Believed(upto)
    explained = f"the clock is {(now_ms - upto) // DAY} days ahead of what nights since the last rounds explain: {waiting} weeks wait"
    if quiet:
        explained += (
            f", since {'there is no event' if last is None else f'the newest event is {(now_ms - last) // DAY} days old by it'}. {HINT}"
        )
    return Believed(upto, explained)


def note(tx: Connection, now_ms: int, parts: Collection[str], troubles: Mapping[str, str], left: Collection[str] = ()) -> int:
    """Write down how a round of these parts went: what kept each from being done, where anything did.

    Of those that were `left` to another process nothing is known here: what stands of them stays, and the round was not whole.
    """
    for part in sorted(set(parts) - set(left)):
        if part not in troubles:
            tx.run("DELETE FROM upkeep WHERE part = ?", (f"part {part}",))
            continue
        row = (f"part {part}", now_ms, troubles[part])
        tx.insert("upkeep", ("part", "at", "trouble"), [row], "ON CONFLICT (part) DO UPDATE SET trouble = excluded.trouble")
    if not troubles and not left:
        _write(tx, _ROUND, now_ms, None)
    return len(troubles)


def try_to_write(tx: Connection) -> None:
    """Write what takes room of its own in the database, and take it away again: whether that can be committed is what is asked."""
    row = (_TRIAL, 0, secrets.token_hex(_TRIAL_BYTES // 2))
    tx.insert("upkeep", ("part", "at", "trouble"), [row])
    tx.run("DELETE FROM upkeep WHERE part = ?", (_TRIAL,))


def last_whole(connection: Connection) -> int | None:
    """Return when the last round was done whole (ms), or None."""
    found: int | None = connection.value("SELECT at FROM upkeep WHERE part = ?", (_ROUND,))
    return found


def is_late(connection: Connection, now_ms: int) -> bool:
    """Say whether no round was done whole for two days, of which the schema has been there all the time."""
    return now_ms - max(last_whole(connection) or 0, migrations.newest_at(connection)) > LATE


def undone(connection: Connection) -> list[Finding]:
    """Return what upkeep has not done since a time, and why."""
    rows = connection.rows("SELECT substr(part, 6), at, trouble FROM upkeep WHERE trouble IS NOT NULL ORDER BY part")
    return [Finding("upkeep", f"{part} done each night", f"not since {_date(at)}: {trouble}") for part, at, trouble in rows]


def _open(tx: Connection) -> list[int]:
    return [row[0] for row in tx.rows("SELECT slice FROM slices WHERE state = 'open' AND slice > 0")]


def _write(tx: Connection, part: str, at: int, upto: int | None) -> None:
    then = "ON CONFLICT (part) DO UPDATE SET at = excluded.at, upto = excluded.upto"
    tx.insert("upkeep", ("part", "at", "upto"), [(part, at, upto)], then)


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
