"""Auto messages as stored: drafts, live and paused ones, and their numbers. What a definition may hold is in values/messages."""

import json
import logging
import threading
import time
from typing import Any

import msgspec

from collector.domain import segments
from collector.domain.compiled_audiences import Holds, compiled
from collector.domain.identities import marks
from collector.domain.staff import others
from collector.storage.database import Connection, Database
from collector.values.errors import Problem
from collector.values.ids import RowIds, new_public_id
from collector.values.messages import AutoMessageDefinition, clean_auto_message
from collector.values.query_tree import NOTHING, Needs, needs

log = logging.getLogger(__name__)

_CACHE_SECONDS = 1.0
_ANY_RETENTION = 36_500
"""Days: what was valid when it was stored is read whatever the retention is now; measures are bounded by that anyway."""
STEPS = ("sent", "seen", "clicked", "dismissed", "answered", "goal")


class AutoMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One auto message. Times in ms; `public_id` is what the API and the browser know."""

    id: int
    public_id: str
    version: int
    definition: AutoMessageDefinition
    created_at: int
    updated_at: int
    live_since: int | None
    needs: Needs = NOTHING
    """What has to be known of somebody to decide its audience."""
    holds: Holds | None = None
    """Whether its audience holds, worked out where it is loaded to be decided."""
    has_variables: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the shape of the API."""
        return {"id": self.public_id, "version": self.version, **self.definition.as_json()}


class AutoMessages:
    """Reads and writes auto messages; the live ones of each site are kept for a second."""

    def __init__(self, database: Database, row_ids: RowIds) -> None:
        self._database = database
        self._row_ids = row_ids
        self._lock = threading.Lock()
        self._live: dict[int, tuple[float, list[AutoMessage]]] = {}

    def kept(self, site: int) -> list[AutoMessage] | None:
        """Return the live messages where they are in memory and fresh, without asking the database."""
        kept = self._live.get(site)
        return kept[1] if kept is not None and kept[0] > time.monotonic() else None

    def live(self, site: int) -> list[AutoMessage]:
        """Return the live messages, higher priority first, then the older."""
        kept = self.kept(site)
        if kept is not None:
            return kept
        with self._database.read() as connection:
            found = self._select(connection, "site = ? AND state = 'live' ORDER BY priority DESC, id", (site,))
        with self._lock:
            self._live[site] = (time.monotonic() + _CACHE_SECONDS, found)
        return found

    def all(self, connection: Connection, site: int) -> list[AutoMessage]:
        """Return every message of a site, the newest first."""
        return self._select(connection, "site = ? ORDER BY id DESC", (site,))

    def audiences(self, connection: Connection, site: int) -> list[tuple[str, Any]]:
        """Return name and audience (as it was written) of every message that could be shown, now or again."""
        found = [one.definition for one in self.all(connection, site) if one.definition.state != "archived"]
        return [(one.name, one.as_json()["audience"]) for one in found]

    def get(self, connection: Connection, site: int, public_id: str) -> AutoMessage | None:
        """Return one message."""
        found = self._select(connection, "site = ? AND public_id = ?", (site, public_id))
        return found[0] if found else None

    def create(self, tx: Connection, site: int, definition: AutoMessageDefinition, now_ms: int) -> AutoMessage:
        """Store a new message. Whoever asked for it calls `forget` after the commit."""
        number = self._row_ids.mint(now_ms)
        message = AutoMessage(
            id=number,
            public_id=new_public_id(),
            version=1,
            definition=definition,
            created_at=now_ms,
            updated_at=now_ms,
            live_since=now_ms if definition.state == "live" else None,
        )
        tx.run(
            f"INSERT INTO auto_messages (site, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                site,
                number,
                message.public_id,
                1,
                definition.state,
                definition.name,
                definition.priority,
                json.dumps(definition.as_json(), ensure_ascii=False),
                now_ms,
                now_ms,
                message.live_since,
            ),
        )
        return message

    def forget(self, site: int) -> None:
        """Drop what is kept of a site, so that a change of this process is seen at once."""
        with self._lock:
            self._live.pop(site, None)

    def _select(self, connection: Connection, where: str, parameters: tuple[Any, ...]) -> list[AutoMessage]:
        """Return the messages of a condition, whose first parameter is the site."""
        rows = connection.rows(f"SELECT {_COLUMNS} FROM auto_messages WHERE {where}", parameters)
        messages = [message for row in rows if (message := self._message(row)) is not None]
        return [_ready(connection, parameters[0], message) for message in messages]

    @staticmethod
    def _message(row: tuple[Any, ...]) -> AutoMessage | None:
        """Return a stored message; one that cannot be read must not silence the others, so it is reported and passed over."""
        try:
            definition = clean_auto_message(json.loads(row[6]), retention_days=_ANY_RETENTION)
        except (Problem, ValueError):
            log.error("the stored message %s cannot be read", row[1])  # noqa: TRY400 (its content is nobody's business)
            return None
        return AutoMessage(
            id=row[0],
            public_id=row[1],
            version=row[2],
            definition=definition,
            created_at=row[7],
            updated_at=row[8],
            live_since=row[9],
        )


def _ready(connection: Connection, site: int, message: AutoMessage) -> AutoMessage:
    """Return a message whose audience holds the segments' own queries, as they are now; its JSON names them as before.

    What does not change from one decision to the next is worked out here, once.
    """
    definition, audience = message.definition, message.definition.audience
    if audience is not None and segments.asks_for_segments(audience):
        audience = segments.expand(connection, site, audience)
        definition = msgspec.structs.replace(definition, audience=audience)
    return msgspec.structs.replace(
        message,
        definition=definition,
        needs=NOTHING if audience is None else needs(audience),
        holds=None if audience is None else compiled(audience),
        has_variables=bool(definition.content.variables()),
    )


_COLUMNS = "id, public_id, version, state, name, priority, definition, created_at, updated_at, live_since"


def stats(connection: Connection, site: int, message: AutoMessage) -> dict[str, Any]:
    """Return a message's numbers, counted from its deliveries: each person counts once for each step, staff not at all.

    `matched` counts the people for whom everything held when they met it: those it was sent to and those held out.
    """
    numbers = recipients(connection, site, [message.id])[message.id]
    links = connection.rows(
        "SELECT link, count(DISTINCT i.principal_id) FROM delivery_links l JOIN identities i ON i.site = l.site AND i.id = l.identity "
        f"WHERE l.site = ? AND l.message = ? AND {others('i.principal_id')} GROUP BY link ORDER BY 2 DESC, 1",
        (site, message.id, site),
    )
    return {
        **numbers,
        "links": [{"link": link, "clicked": clicked} for link, clicked in links],
        "rates": _rates(numbers),
        "holdout": {"percent": message.definition.holdout_percent, "people": numbers["held_out"]},
        "lift": {"available": False, "in_words": "There is no goal or no holdout to compare with."},
    }


def recipients(connection: Connection, site: int, messages: list[int]) -> dict[int, dict[str, int]]:
    """Return the people counted at each step, by message row id; staff is not among them."""
    counts = {number: dict.fromkeys(("matched", "held_out", *STEPS), 0) for number in messages}
    if not messages:
        return counts
    columns = ", ".join(
        f"count(DISTINCT CASE WHEN d.arm = 'shown' AND d.{column} IS NOT NULL THEN i.principal_id END)"
        for column in ("claimed_at", "seen_at", "clicked_at", "dismissed_at", "answered_at", "goal_at")
    )
    rows = connection.rows(
        f"SELECT d.message, count(DISTINCT i.principal_id), count(DISTINCT CASE WHEN d.arm <> 'shown' THEN i.principal_id END), {columns} "
        "FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity "
        f"WHERE d.site = ? AND d.message IN ({marks(messages)}) AND {others('i.principal_id')} GROUP BY d.message",
        (site, *messages, site),
    )
    for number, matched, held_out, *steps in rows:
        counts[number] = {"matched": matched, "held_out": held_out, **dict(zip(STEPS, steps, strict=True))}
    return counts


def _rates(numbers: dict[str, int]) -> dict[str, Any]:
    """Return the rates of sent and of seen, as fractions of 1; None where nothing was sent or seen."""
    parts = ("seen", "clicked", "dismissed", "answered", "goal")
    return {
        f"of_{base}": {part: round(numbers[part] / numbers[base], 4) if numbers[base] else None for part in parts if part != base}
        for base in ("sent", "seen")
    }
