"""Auto messages as stored: drafts, live and paused ones, and their numbers. What a definition may hold is in values/messages."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from collector.domain import definitions, segments
from collector.domain.compiled_audiences import Holds, compiled
from collector.domain.identities import marks
from collector.storage.database import Connection, Database
from collector.values.errors import Problem, Refusal
from collector.values.ids import RowIds, new_public_id
from collector.values.messages import IN_THE_VIEW, AutoMessageDefinition, clean_auto_message
from collector.values.page_rules import page_matches, query_names
from collector.values.query_tree import NOTHING, Group, Needs, Node, needs, united

log = logging.getLogger(__name__)

_CACHE_SECONDS = 1.0
_MOST_PAGES = 256
_ANY_RETENTION = 36_500
"""Days: what was valid when it was stored is read whatever the retention is now; measures are bounded by that anyway."""


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
    goal_needs: Needs = NOTHING
    goal_holds: Holds | None = None
    """The same of its goal."""
    has_variables: bool = False

    @property
    def queries(self) -> list[Node]:
        """What it asks about people, its audience and its goal; nothing where it can be shown to nobody any more."""
        definition = self.definition
        asked = [definition.audience, None if definition.goal is None else definition.goal.query]
        return [one for one in asked if one is not None and definition.state != "archived"]

    def as_json(self) -> dict[str, Any]:
        """Return the shape of the API."""
        return {"id": self.public_id, "version": self.version, **self.definition.as_json()}


class Version(msgspec.Struct, frozen=True):
    """What a message was until a time (ms), as JSON."""

    number: int
    until: int
    definition: dict[str, Any]


class NoMessage(LookupError):
    """There is no such message (any more)."""


class MessageWasSent(Exception):
    """The message reached people, so that it stays."""


class MessageInUse(Exception):
    """A segment, or a message that could be shown, asks for the message; `name` is theirs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class MessageChanged(Exception):
    """The message is not what somebody had before them when they asked for something."""


def stamp_of(definition: dict[str, Any]) -> str:
    """Return what tells two definitions (as JSON) apart."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]


Change = Callable[[int, dict[str, Any]], AutoMessageDefinition]
"""Makes a new definition out of a message's version and its JSON."""


_Row = tuple[Any, ...]


class Here(msgspec.Struct, frozen=True):
    """What may come up on one page, of a site's live messages and in their order."""

    on_page: list[tuple[AutoMessage, None]]
    """Those triggered by the page, or by something in its view; no event opened them."""
    awaited: list[AutoMessage]
    """Those triggered by an event."""
    needs: Needs
    """What has to be known of somebody to decide the first."""


class Live:
    """The live messages of a site, higher priority first, then the older; and which of them a page or an event can bring up.

    The same pages and events come again and again while a list is kept, so what was found for them is kept with it.
    """

    def __init__(self, messages: Sequence[AutoMessage], withdrawn_at: int = 0) -> None:
        self.messages = messages
        self.withdrawn_at = withdrawn_at
        """When a message of the site last ceased to be live, or was changed after that (ms); 0 for never."""
        self._on_pages = [message for message in messages if message.definition.trigger.type in {"page", *IN_THE_VIEW}]
        self._on_events = [message for message in messages if message.definition.trigger.type == "event"]
        self._found: dict[str, Here] = {}
        self._after: dict[str, list[AutoMessage]] = {}
        for message in self._on_events:
            self._after.setdefault(message.definition.trigger.event or "", []).append(message)
        self.rank = {message.id: place for place, message in enumerate(messages)}
        """By row id: the place in the list."""
        self.query_names = frozenset(name for message in messages for name in query_names(message.definition.page))
        """The query parameters that page rules ask for."""

    def at(self, url: str) -> "Here":
        """Return the messages whose page rule holds at this address."""
        found = self._found.get(url)
        if found is None:
            on_page = [(message, None) for message in _at_home(self._on_pages, url)]
            found = Here(on_page, _at_home(self._on_events, url), united([message.needs for message, _ in on_page]))
            if len(self._found) >= _MOST_PAGES:
                self._found.clear()
            self._found[url] = found
        return found

    def after(self, event: str) -> Sequence[AutoMessage]:
        """Return the messages triggered by events of this name."""
        return self._after.get(event, ())


def _at_home(messages: Sequence[AutoMessage], url: str) -> list[AutoMessage]:
    return [one for one in messages if one.definition.page is None or page_matches(one.definition.page, url)]


class _Kept(msgspec.Struct, frozen=True):
    """A site's live messages, until when they are fresh (monotonic seconds), and what they were made of."""

    until: float
    live: Live
    stored: list[_Row]
    segments: list[_Row]
    withdrawn_at: int
    ready: dict[_Row, AutoMessage | None]


class AutoMessages:
    """Reads and writes auto messages; the live ones of each site are kept for a second, and longer what did not change since."""

    def __init__(self, database: Database, row_ids: RowIds) -> None:
        self._database = database
        self._row_ids = row_ids
        self._lock = threading.Lock()
        self._live: dict[int, _Kept] = {}
        self._changes = 0

    def kept(self, site: int) -> Live | None:
        """Return the live messages where they are in memory and fresh, without asking the database."""
        kept = self._live.get(site)
        return kept.live if kept is not None and kept.until > time.monotonic() else None

    def live(self, site: int) -> Live:
        """Return the live messages."""
        fresh = self.kept(site)
        if fresh is not None:
            return fresh
        changes = self._changes
        with self._database.read() as connection:
            kept = self._read(connection, site, self._live.get(site))
        with self._lock:
            # What was read while something changed may be from before that.
            self._live[site] = kept if changes == self._changes else msgspec.structs.replace(kept, until=0.0)
        return kept.live

    def _read(self, connection: Connection, site: int, before: _Kept | None) -> _Kept:
        """Read the live messages; making one ready costs a hundred times what comparing it does, so those that are as before stay."""
        stored = connection.rows(_LIVE, (site,))
        queries, withdrawn_at = segments.stored(connection, site), connection.value(_WITHDRAWN, (site,)) or 0
        until = time.monotonic() + _CACHE_SECONDS
        if before is not None and (before.stored, before.segments, before.withdrawn_at) == (stored, queries, withdrawn_at):
            return msgspec.structs.replace(before, until=until)
        known = before.ready if before is not None and before.segments == queries else {}
        ready = {row: known[row] if row in known else self._message(connection, site, row) for row in stored}
        live = Live([message for message in ready.values() if message is not None], withdrawn_at)
        return _Kept(until, live, stored, queries, withdrawn_at, ready)

    def query_names(self, site: int) -> frozenset[str]:
        """Return the query parameters that the pages of live messages ask for, as last read; none before that."""
        kept = self._live.get(site)
        return kept.live.query_names if kept is not None else frozenset()

    def all(self, connection: Connection, site: int) -> list[AutoMessage]:
        """Return every message of a site, the newest first."""
        return self._select(connection, "site = ? ORDER BY id DESC", (site,))

    def queries(self, connection: Connection, site: int) -> list[tuple[str, Any]]:
        """Return name and each query (as it was written) of every message that could be shown, now or again."""
        found = [one.definition for one in self.all(connection, site) if one.definition.state != "archived"]
        asked = [(one.name, one.as_json()) for one in found]
        return [(name, json["audience"]) for name, json in asked] + [(name, json["goal"]["query"]) for name, json in asked if json["goal"]]

    def get(self, connection: Connection, site: int, public_id: str) -> AutoMessage | None:
        """Return one message."""
        found = self._select(connection, "site = ? AND public_id = ?", (site, public_id))
        return found[0] if found else None

    def create(self, tx: Connection, site: int, definition: AutoMessageDefinition, now_ms: int) -> AutoMessage:
        """Store a new message. Whoever asked for it calls `forget` after the commit.

        Raises:
            Problem: 400, a query of it asks for a segment or a message that there is not, or for too much.
        """
        definitions.hold(tx, site)
        _check_queries(tx, site, definition)
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

    def update(self, tx: Connection, site: int, public_id: str, change: Change, now_ms: int) -> AutoMessage:
        """Change a message. What was live before gets a new version where more than its state changes; the old one is kept.

        Raises:
            NoMessage: there is none.
            Problem: what `change` raises; 400, it asks for what there is not, or for too much. Taking it down is possible all the same.
        """
        definitions.hold(tx, site)
        tx.run("UPDATE auto_messages SET updated_at = updated_at WHERE site = ? AND public_id = ?", (site, public_id))  # keeps claims out
        present = self.get(tx, site, public_id)
        if present is None:
            raise NoMessage(public_id)
        before = tx.value("SELECT definition FROM auto_messages WHERE site = ? AND id = ?", (site, present.id))
        definition = change(present.version, json.loads(before))
        after = json.dumps(definition.as_json(), ensure_ascii=False)
        edited = {**definition.as_json(), "state": None} != {**json.loads(before), "state": None}
        if edited or definition.state == "live":
            _check_queries(tx, site, definition, public_id)
        version = present.version + 1 if edited and present.live_since is not None else present.version
        if version != present.version:
            columns = ("site", "message", "version", "definition", "until")
            tx.insert("auto_message_versions", columns, [(site, present.id, present.version, before, now_ms)])
        live_since = present.live_since
        if definition.state == "live" and present.definition.state != "live":
            live_since = now_ms
        tx.run(
            "UPDATE auto_messages SET version = ?, state = ?, name = ?, priority = ?, definition = ?, updated_at = ?, live_since = ? "
            "WHERE site = ? AND id = ?",
            (version, definition.state, definition.name, definition.priority, after, now_ms, live_since, site, present.id),
        )
        return msgspec.structs.replace(present, version=version, definition=definition, updated_at=now_ms, live_since=live_since)

    def set_state(self, tx: Connection, site: int, public_id: str, state: str, now_ms: int, stamp: str | None = None) -> AutoMessage:
        """Change the state alone, whatever the limits are that its definition was once within.

        Raises:
            NoMessage: there is none.
            MessageChanged: it is not what `stamp` was made of any more.
            Problem: 400, it is to be live and asks for what there is not, or for too much.
        """

        def change(_version: int, definition: dict[str, Any]) -> AutoMessageDefinition:
            if stamp is not None and stamp != stamp_of(definition):
                raise MessageChanged
            return clean_auto_message({**definition, "state": state}, retention_days=_ANY_RETENTION, stored=state != "live")

        return self.update(tx, site, public_id, change, now_ms)

    @staticmethod
    def is_current(tx: Connection, site: int, message: AutoMessage) -> bool:
        """Say whether a message is live and of this version still, and keep it so until the end of this transaction."""
        lock = " FOR SHARE" if tx.engine == "postgresql" else ""
        sql = f"SELECT 1 FROM auto_messages WHERE site = ? AND id = ? AND version = ? AND state = 'live'{lock}"
        return tx.row(sql, (site, message.id, message.version)) is not None

    def delete(self, tx: Connection, site: int, public_id: str) -> None:
        """Delete a message that never reached anybody.

        Raises:
            NoMessage: there is none.
            MessageWasSent: it reached people, whose caps and whose place in audiences rest on it.
            MessageInUse: a segment, or a message that could be shown, asks for it.
        """
        definitions.hold(tx, site)
        tx.run("UPDATE auto_messages SET updated_at = updated_at WHERE site = ? AND public_id = ?", (site, public_id))
        present = self.get(tx, site, public_id)
        if present is None:
            raise NoMessage(public_id)
        if tx.row("SELECT 1 FROM deliveries WHERE site = ? AND message = ? LIMIT 1", (site, present.id)):
            raise MessageWasSent
        others = [(one.definition.name, query) for one in self.all(tx, site) if one.id != present.id for query in one.queries]
        for name, query in [*others, *((one.name, one.query) for one in segments.all_of(tx, site))]:
            if public_id in needs(query).messages:
                raise MessageInUse(name)
        for table in ("auto_message_versions", "simulations"):
            tx.run(f"DELETE FROM {table} WHERE site = ? AND message = ?", (site, present.id))
        tx.run("DELETE FROM auto_messages WHERE site = ? AND id = ?", (site, present.id))

    @staticmethod
    def versions(connection: Connection, site: int, message: AutoMessage) -> list[Version]:
        """Return what the message was before, the newest first."""
        sql = "SELECT version, until, definition FROM auto_message_versions WHERE site = ? AND message = ? ORDER BY version DESC"
        return [Version(version, until, json.loads(text)) for version, until, text in connection.rows(sql, (site, message.id))]

    @staticmethod
    def public_ids(connection: Connection, site: int, numbers: Sequence[int]) -> list[str]:
        """Return the public ids of messages by row id, the older first."""
        sql = f"SELECT public_id FROM auto_messages WHERE site = ? AND id IN ({marks(numbers)}) ORDER BY id"
        return [row[0] for row in connection.rows(sql, (site, *numbers))] if numbers else []

    def forget(self, site: int) -> None:
        """Look anew at a site's messages when they are asked for next, so that a change of this process is seen at once."""
        with self._lock:
            self._changes += 1
            kept = self._live.get(site)
            if kept is not None:
                self._live[site] = msgspec.structs.replace(kept, until=0.0)

    def _select(self, connection: Connection, where: str, parameters: tuple[Any, ...]) -> list[AutoMessage]:
        """Return the messages of a condition, whose first parameter is the site."""
        rows = connection.rows(f"SELECT {_COLUMNS} FROM auto_messages WHERE {where}", parameters)
        return [message for row in rows if (message := self._message(connection, parameters[0], row)) is not None]

    @staticmethod
    def _message(connection: Connection, site: int, row: _Row) -> AutoMessage | None:
        """Return a stored message; one that cannot be read must not silence the others, so it is reported and passed over."""
        try:
            definition = clean_auto_message(json.loads(row[6]), retention_days=_ANY_RETENTION, stored=True)
        except (Problem, ValueError):
            log.error("the stored message %s cannot be read", row[1])  # noqa: TRY400 (its content is nobody's business)
            return None
        stored = AutoMessage(
            id=row[0],
            public_id=row[1],
            version=row[2],
            definition=definition,
            created_at=row[7],
            updated_at=row[8],
            live_since=row[9],
        )
        return _ready(connection, site, stored)


def _check_queries(tx: Connection, site: int, definition: AutoMessageDefinition, own: str | None = None) -> None:
    """Refuse a message that could be shown, now or again, and asks for a segment or a message that there is not, or for too much."""
    if definition.state == "archived":
        return
    goal = None if definition.goal is None else definition.goal.query
    for field, query in (("audience", definition.audience), ("goal.query", goal)):
        try:
            if query is not None:
                segments.check(tx, site, query, field, own)
        except Refusal as refusal:
            raise Problem(400, [refusal]) from None


def _ready(connection: Connection, site: int, message: AutoMessage) -> AutoMessage:
    """Return a message whose audience holds the segments' own queries, as they are now; its JSON names them as before.

    What does not change from one decision to the next is worked out here, once.
    """
    definition = message.definition
    audience, goal = definition.audience, definition.goal
    if audience is not None:
        audience = _expanded(connection, site, message, audience)
    if goal is not None:
        goal = msgspec.structs.replace(goal, query=_expanded(connection, site, message, goal.query))
    return msgspec.structs.replace(
        message,
        definition=msgspec.structs.replace(definition, audience=audience, goal=goal),
        needs=NOTHING if audience is None else needs(audience),
        holds=None if audience is None else compiled(audience),
        goal_needs=NOTHING if goal is None else needs(goal.query),
        goal_holds=None if goal is None else compiled(goal.query),
        has_variables=bool(definition.content.variables()),
    )


def _expanded(connection: Connection, site: int, message: AutoMessage, node: Node) -> Node:
    """Return a query with its segments' own; one that has become too large by them, which is refused at the door, is nobody's."""
    try:
        return segments.expand(connection, site, node)
    except Refusal:
        log.error("a query of the message %s is too large with its segments", message.public_id)  # noqa: TRY400
        return Group("OR", ())


_COLUMNS = "id, public_id, version, state, name, priority, definition, created_at, updated_at, live_since"
_LIVE = f"SELECT {_COLUMNS} FROM auto_messages WHERE site = ? AND state = 'live' ORDER BY priority DESC, id"
_WITHDRAWN = "SELECT max(updated_at) FROM auto_messages WHERE site = ? AND state <> 'live' AND live_since IS NOT NULL"
