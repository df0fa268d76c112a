"""Simulations as stored: the one under way at a site, and what came of the others, kept for a while.

A run lives in a process, of which the collector that started it tells every second or so. One that nothing was heard of for a while has
failed, whoever asks: its process was killed, or the collector that watched it was.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from collector.domain.deletion import Transact
from collector.storage.database import Connection, Database
from collector.values.clock import DAY, MINUTE
from collector.values.ids import new_public_id

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
SILENCE = MINUTE
"""How long nothing may be heard of a run (ms) until it has failed."""
KEPT = 7 * DAY
"""How long what came of one is kept (ms)."""
SHOWN = 20
"""The most runs of a message that are listed, the newest."""

KILLED = "Its process ended before it was through."
SILENT = "Nothing was heard of its process any more; the collector that ran it may have been stopped."
STOPPED = "The collector was stopped."
BROKE_OFF = "It broke off by an error of the collector's own, which its log names."


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation. Times in ms, `progress` in whole percent; `message` is the row id, `result` as `simulation.Result` in JSON."""

    id: str
    message: int
    version: int
    days: int
    state: str
    progress: int
    started_at: int
    beat_at: int
    ended_at: int | None
    reason: str | None
    """Why it has failed, as a sentence."""
    result: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return the shape of the API; times in unix seconds."""
        found = self.result or {"people": None, "times": None, "held_out": None, "looked_at": None, "per_day": [], "assumptions": []}
        return {
            "id": self.id,
            "state": self.state,
            "progress": self.progress,
            "reason": self.reason,
            "version": self.version,
            "days": self.days,
            "started_at": self.started_at // 1000,
            "ended_at": None if self.ended_at is None else self.ended_at // 1000,
            **found,
        }


class AlreadyRunning(Exception):
    """The site has one under way."""


def begin(tx: Connection, site: int, message: int, version: int, days: int, now_ms: int) -> Run:
    """Note that one begins.

    Raises:
        AlreadyRunning: another one does not have an end yet.
    """
    tx.run(
        "UPDATE simulations SET state = ?, reason = ?, ended_at = ? WHERE site = ? AND state = 'running' AND beat_at < ?",
        (FAILED, SILENT, now_ms, site, now_ms - SILENCE),
    )
    run = Run(
        id=new_public_id(),
        message=message,
        version=version,
        days=days,
        state=RUNNING,
        progress=0,
        started_at=now_ms,
        beat_at=now_ms,
        ended_at=None,
        reason=None,
        result=None,
    )
    columns = ("site", *(name for name in Run.__struct_fields__ if name not in ("ended_at", "reason", "result")))
    row = (site, run.id, message, version, days, RUNNING, 0, now_ms, now_ms)
    if not tx.insert("simulations", columns, [row], "ON CONFLICT DO NOTHING RETURNING id"):
        raise AlreadyRunning
    return run


def beat(tx: Connection, site: int, run: str, progress: int, now_ms: int) -> bool:
    """Note that a run goes on; False where it is to go on no more."""
    sql = "UPDATE simulations SET progress = ?, beat_at = ? WHERE site = ? AND id = ? AND state = 'running'"
    return tx.run(sql, (progress, now_ms, site, run)) > 0


def end(
    tx: Connection, site: int, run: str, state: str, now_ms: int, *, reason: str | None = None, result: dict[str, Any] | None = None
) -> bool:
    """Note what became of a run; False where that was known."""
    sql = (
        "UPDATE simulations SET state = ?, reason = ?, result = ?, ended_at = ?, "
        "progress = CASE WHEN ? = 'done' THEN 100 ELSE progress END WHERE site = ? AND id = ? AND state = 'running'"
    )
    text = None if result is None else json.dumps(result, ensure_ascii=False)
    return tx.run(sql, (state, reason, text, now_ms, state, site, run)) > 0


def get(connection: Connection, site: int, message: int, run: str, now_ms: int) -> Run | None:
    """Return a run of a message."""
    row = connection.row(f"SELECT {_COLUMNS} FROM simulations WHERE site = ? AND id = ? AND message = ?", (site, run, message))
    return None if row is None else _run(row, now_ms)


def of_message(connection: Connection, site: int, message: int, now_ms: int) -> list[Run]:
    """Return the runs of a message, the newest first."""
    sql = f"SELECT {_COLUMNS} FROM simulations WHERE site = ? AND message = ? ORDER BY started_at DESC, id LIMIT ?"
    return [_run(row, now_ms) for row in connection.rows(sql, (site, message, SHOWN))]


def drop(database: Database, transact: Transact, site: int, now_ms: int) -> Iterator[int]:
    """Drop what is older than it is kept; yields how many there were."""
    with database.read() as connection:
        rows = connection.rows("SELECT id FROM simulations WHERE site = ? AND started_at < ?", (site, now_ms - KEPT))
    for (run,) in rows:
        yield transact(lambda tx, run=run: tx.run("DELETE FROM simulations WHERE site = ? AND id = ?", (site, run)))  # type: ignore[misc]


def _run(row: tuple[Any, ...], now_ms: int) -> Run:
    run = Run(**dict(zip(Run.__struct_fields__, (*row[:-1], None if row[-1] is None else json.loads(row[-1])), strict=True)))
    if run.state == RUNNING and run.beat_at < now_ms - SILENCE:
        return msgspec.structs.replace(run, state=FAILED, reason=SILENT)
    return run


_COLUMNS = ", ".join(Run.__struct_fields__)
