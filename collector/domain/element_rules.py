"""Events without code, of clicks and submits: rules by CSS selector, as stored.

The tracker applies them in the page and sends what it makes like any event: the collector trusts it as much as any other, and what was
sent before a rule was made cannot be found out. Like every event rule they are never changed, only archived.
"""

from typing import Any

import msgspec

from collector.domain import definitions
from collector.storage.database import Connection
from collector.values.element_rules import ElementRuleDefinition, clean_element_rule
from collector.values.errors import Problem, Reason, Refusal
from collector.values.ids import RowIds, new_public_id

MOST_ACTIVE = 50
"""How many rules a site may have that are not archived."""
MOST_BYTES = 16_384
"""How large their definitions may be together: every visitor's browser loads them."""


class ElementRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. Times in ms; `public_id` is what the API knows."""

    id: int
    public_id: str
    event: str
    definition: ElementRuleDefinition
    created_at: int
    archived_at: int | None


def all_of(connection: Connection, site: int) -> list[ElementRule]:
    """Return every rule of a site, the newest first."""
    return _select(connection, "site = ? ORDER BY id DESC", (site,))


def active(connection: Connection, site: int) -> tuple[ElementRule, ...]:
    """Return the rules that are not archived, the oldest first."""
    return tuple(_select(connection, "site = ? AND archived_at IS NULL ORDER BY id", (site,)))


def get(connection: Connection, site: int, public_id: str) -> ElementRule | None:
    """Return one rule."""
    found = _select(connection, "site = ? AND public_id = ?", (site, public_id))
    return found[0] if found else None


def create(tx: Connection, site: int, row_ids: RowIds, event: str, definition: ElementRuleDefinition, now_ms: int) -> ElementRule:
    """Store a new rule. The event's name was allocated beforehand; whoever asked for it calls `EventRules.forget` after the commit.

    Raises:
        Problem: 409, the site has as many rules as it may have.
    """
    definitions.hold(tx, site)
    text = _json(definition)
    others = tx.rows("SELECT definition FROM element_rules WHERE site = ? AND archived_at IS NULL", (site,))
    if len(others) >= MOST_ACTIVE:
        raise Problem(409, [Refusal(Reason.RULE_LIMIT, None, f"A site has at most {MOST_ACTIVE} rules by selector; archive one first.")])
    if sum(len(one.encode()) for one in (text, *(row[0] for row in others))) > MOST_BYTES:
        message = f"The rules by selector of a site are at most {MOST_BYTES} bytes of JSON together; archive one first."
        raise Problem(409, [Refusal(Reason.RULE_LIMIT, None, message)])
    made = ElementRule(
        id=row_ids.mint(now_ms), public_id=new_public_id(), event=event, definition=definition, created_at=now_ms, archived_at=None
    )
    columns = ("site", "id", "public_id", "event", "definition", "created_at")
    tx.insert("element_rules", columns, [(site, made.id, made.public_id, event, text, now_ms)])
    return made


def archive(tx: Connection, site: int, public_id: str, now_ms: int) -> bool:
    """Let a rule make no more events; those it made stay. False where there is none."""
    sql = "UPDATE element_rules SET archived_at = coalesce(archived_at, ?) WHERE site = ? AND public_id = ?"
    return bool(tx.run(sql, (now_ms, site, public_id)))


def _json(definition: ElementRuleDefinition) -> str:
    return msgspec.json.encode(definition.as_json()).decode()


def _select(connection: Connection, where: str, parameters: tuple[Any, ...]) -> list[ElementRule]:
    sql = f"SELECT id, public_id, event, definition, created_at, archived_at FROM element_rules WHERE {where}"
    return [_rule(row) for row in connection.rows(sql, parameters)]


def _rule(row: tuple[Any, ...]) -> ElementRule:
    number, public_id, event, text, created, archived = row
    return ElementRule(
        id=number,
        public_id=public_id,
        event=event,
        definition=clean_element_rule(msgspec.json.decode(text)),
        created_at=created,
        archived_at=archived,
    )
