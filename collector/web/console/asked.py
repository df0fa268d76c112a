"""The query box: what was written into it, as a query or as what is wrong with it, and what it says of one person."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from collector.domain import outlook, segments
from collector.domain.explanation import Explained, explain
from collector.domain.nearest_change import Nearest, nearest_change
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.services import Services
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.queries import parse
from collector.values.query_tree import Group, Node, needs
from collector.web.console import current, query_words
from collector.web.console.query_words import Line, Rules

_T = TypeVar("_T")
LONGEST = 16_000
"""Signs of a query that goes through an address."""


class Asked(msgspec.Struct, frozen=True):
    """A query as it stands in the box; `node` where it is one, else what is wrong and, where that can be said, at which place."""

    text: str = ""
    node: Node | None = None
    problem: str = ""
    place: str = ""

    @property
    def words(self) -> Rules | None:
        """The query in words."""
        return None if self.node is None else query_words.audience(self.node)

    @property
    def can_be_segment(self) -> bool:
        """Whether the query can be saved: a segment does not ask for segments."""
        return self.node is not None and not segments.asks_for_segments(self.node)


class Answer(msgspec.Struct, frozen=True):
    """What a query says of one person: the verdict with its tree, line by line, and the nearest change."""

    holds: bool
    lines: list[Line]
    nearest: Nearest


class Unreadable(Exception):
    """What was written is not what was asked for; `place` says where, as far as that can be said."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem, place)
        self.problem = problem
        self.place = place


def read(services: Services, connection: Connection) -> Asked:
    """Return the query of the address."""
    text = current.argument("query", LONGEST + 1)
    if len(text) > LONGEST:
        return Asked(text, problem=f"A query of more than {LONGEST:,} characters does not fit into an address. Ask over REST instead.")
    site = current.site()

    def clean(raw: Any) -> Node:
        node = parse(raw, retention_days=services.settings.retention_days, time_zone=site.zone)
        segments.expand(connection, site.id, node)
        return node

    return Asked() if text.strip() in ("", "null") else understood(text, clean)  # which is everybody, as over REST


def understood(text: str, clean: Callable[[Any], Node]) -> Asked:
    """Return what was written as a query; `clean` makes one of its JSON, or raises Refusal."""
    try:
        return Asked(text, decoded(text, clean))
    except Unreadable as error:
        return Asked(text, problem=error.problem, place=error.place)


def decoded(text: str, clean: Callable[[Any], _T]) -> _T:
    """Return what `clean` makes of JSON.

    Raises:
        Unreadable: it is no JSON, or `clean` refused it.
    """
    try:
        return clean(json.loads(text, object_pairs_hook=_members, parse_constant=_no_number))
    except json.JSONDecodeError as error:
        raise Unreadable(f"This is no JSON: {error.msg}.", f"line {error.lineno}, column {error.colno}") from None
    except Refusal as refusal:
        raise Unreadable(refusal.message, refusal.field or "") from None
    except (RecursionError, ValueError):
        raise Unreadable("This is no JSON that can be read: it is nested too deeply, or holds a number of too many digits.") from None


def answer(services: Services, connection: Connection, site: Site, person: Person, node: Node, now_ms: int) -> Answer:
    """Return what a query says of a person."""
    asked = segments.expand(connection, site.id, node)
    ahead = outlook.load(connection, site, services.names, person, needs(asked), now_ms, services.settings.retention)
    explained = explain(asked, ahead.facts(now_ms), now_ms, site.zone, ahead.message_names)
    return Answer(explained.holds, lines(explained), nearest_change(asked, ahead, now_ms, site.zone))


def lines(explained: Explained) -> list[Line]:
    """Return the tree of a verdict line by line, so that the deepest query can be shown."""
    made: list[Line] = []
    waiting: list[Explained | Line] = [explained]
    while waiting:
        top = waiting.pop()
        if isinstance(top, Line):
            made.append(top)
        elif isinstance(top.node, Group):
            made.append(Line("open", top.in_words, top.holds))
            waiting.append(Line("close"))
            waiting.extend(reversed(top.children))
        else:
            made.append(Line("rule", top.in_words, top.holds))
    return made


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        times = Counter(key for key, _ in pairs)
        twice = next(key for key, number in times.items() if number > 1)
        raise Refusal(Reason.QUERY_INVALID, None, f"The key {shown(twice)} stands twice in one object.")
    return made


def _no_number(text: str) -> Any:
    raise Refusal(Reason.QUERY_INVALID, None, f"{text} is no number that can be compared with.")
