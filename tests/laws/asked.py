"""People with a past, and queries about them: what the laws about queries are tried on."""

import json
from typing import Any
from urllib.parse import urlencode

import hypothesis.strategies as st

from collector.domain import facts, merging, people
from collector.domain.audiences import matches
from collector.domain.compiled_audiences import compiled
from collector.domain.selection import select
from collector.values.clock import DAY, HOUR, MINUTE
from collector.values.queries import parse
from collector.values.query_tree import needs
from tests.support.world import World, lead, user

EVENTS = ("page-view", "saved", "paid")
PLACES = ("Straße", "STRASSE", "İstanbul", "istanbul", "", "😀 ok", "100", "null", "true")
NUMBERS = (0, 1, 1.0, -0.0, 2.5, 2**53, 2**53 + 1, float(2**53), 10**30, -(10**400), 1e300, 3)
SCALARS = (*PLACES, *NUMBERS, True, False)
ATTRIBUTES = ("custom_attributes.x", "custom_attributes.y", "email", "name")
ADDRESSES = ("Ada@STRASSE", "a@istanbul", "@100", "a@", "a@b@100")
ABOUT_VISITS = ("utm_source", "first_utm_source", "referrer", "first_referrer", "browser", "email_domain")
CLIENTS = tuple(json.dumps({"browser": name}, ensure_ascii=False) for name in PLACES if name)
PAGES = tuple(
    json.dumps({"url": f"https://shop.example/?{urlencode({'utm_source': source})}", "referrer": f"https://shop.{top}/"})
    for source, top in zip(PLACES, ("example", "test") * 5, strict=False)
)
DATES = ("custom_attributes.due_at", "signed_up_at")
METADATA = ("plan", "Price", "due_date", "link")


def events_for(draw: Any, world: World) -> list[Any]:
    made = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(EVENTS))
        at = world.clock() - draw(st.sampled_from((0, 1, MINUTE, 29 * MINUTE, 30 * MINUTE, HOUR, DAY - 1, DAY, 2 * DAY, 40 * DAY)))
        metadata = draw(st.none() | st.fixed_dictionaries({}, optional=_METADATA))
        visit = draw(st.none() | st.sampled_from(VISITS))
        text = None if metadata is None else json.dumps(metadata, ensure_ascii=False)
        made.append(world.event(name, at=at, visit=visit, metadata=text, page=draw(st.none() | st.sampled_from(PAGES))))
    return made


VISITS = tuple(f"01a2104a-324e-7080-a9b1-02515962ad{number:02x}" for number in range(3))
_METADATA: dict[str, Any] = {
    "plan": st.sampled_from(SCALARS),
    "PLAN": st.sampled_from(PLACES),
    "price": st.fixed_dictionaries({"amount": st.integers(0, 5), "currency": st.sampled_from(("eur", "jpy"))}),
    "due_date": st.sampled_from((1_789_000_000, 1_790_000_000.5)),
    "link": st.fixed_dictionaries({"url": st.just("https://example.com/"), "value": st.sampled_from(PLACES)}),
}

_days = st.sampled_from((0, 1, 2, 30, 0.5, 40))
_spans = st.tuples(st.sampled_from(("more_than", "less_than", "exactly")), st.sampled_from(("days", "hours", "minutes")), _days).map(
    lambda it: {"operator": f"{it[0]}_{it[1]}_ago", "value": it[2]}
)
_ahead = st.tuples(st.sampled_from(("in_more_than", "in_less_than")), st.sampled_from(("days", "hours")), _days).map(
    lambda it: {"operator": f"{it[0]}_{it[1]}", "value": it[2]}
)
_dates = st.tuples(st.sampled_from(("before", "after", "on")), st.sampled_from(("2026-09-21", "2026-09-20", "2026-03-29"))).map(
    lambda it: {"operator": it[0], "value": it[1]}
)
_presence = st.sampled_from(("is_unknown", "has_any_value")).map(lambda it: {"operator": it})
_equality = st.sampled_from(("=", "!="))
_order = st.sampled_from((">", "<", ">=", "<="))
_instants = st.sampled_from((1_790_000_000, 1_789_996_400, 1_789_913_600, "2026-09-20"))
_times = st.one_of(
    _spans, _ahead, _dates, _presence,
    st.tuples(_equality | _order, _instants).map(lambda it: {"operator": it[0], "value": it[1]}),
    st.tuples(st.sampled_from(("IN", "NIN")), st.lists(_instants, min_size=1)).map(lambda it: {"operator": it[0], "value": it[1]}),
)  # fmt: skip
_values = st.one_of(
    _presence,
    st.tuples(_equality, st.sampled_from(SCALARS)).map(lambda it: {"operator": it[0], "value": it[1]}),
    st.tuples(_order, st.sampled_from(NUMBERS)).map(lambda it: {"operator": it[0], "value": it[1]}),
    st.tuples(st.sampled_from(("~", "!~", "^", "$")), st.sampled_from(PLACES)).map(lambda it: {"operator": it[0], "value": it[1]}),
    st.tuples(st.sampled_from(("IN", "NIN")), st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4)).map(
        lambda it: {"operator": it[0], "value": it[1]}
    ),
)
_counts = st.one_of(
    _presence,
    st.tuples(_equality | _order, st.sampled_from((0, 1, 2, 1.5, -1, 10**400))).map(lambda it: {"operator": it[0], "value": it[1]}),
    st.tuples(st.sampled_from(("IN", "NIN")), st.lists(st.sampled_from((0, 1, 2, 2.5)), min_size=1)).map(
        lambda it: {"operator": it[0], "value": it[1]}
    ),
)
_money = st.tuples(st.integers(0, 5), st.sampled_from(("EUR", "jpy"))).map(lambda it: {"amount": it[0], "currency": it[1]})
_where = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("metadata.plan", "metadata.price", "metadata.link.value", "metadata.price.amount")), _values).map(
            lambda it: {"field": it[0], **it[1]}
        ),
        st.tuples(st.just("metadata.due_date"), _times).map(lambda it: {"field": it[0], **it[1]}),
        st.tuples(_equality | _order, st.integers(0, 5), st.sampled_from(("EUR", "jpy"))).map(
            lambda it: {"field": "metadata.price", "operator": it[0], "value": {"amount": it[1], "currency": it[2]}}
        ),
        st.tuples(st.sampled_from(("IN", "NIN")), st.lists(_money | st.sampled_from(SCALARS), min_size=1, max_size=3)).map(
            lambda it: {"field": "metadata.price", "operator": it[0], "value": it[1]}
        ),
    ),
    max_size=2,
)
_scope = st.fixed_dictionaries({}, optional={"where": _where, "within_days": st.sampled_from((1, 2, 41))})


def _event(field: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.sampled_from((*EVENTS, "never-sent")), _scope).map(lambda it: {"event": it[0], "field": field, **it[1]})


_moments = st.one_of(_event("first"), _event("last"))
_rules = st.one_of(
    st.tuples(st.sampled_from((*ATTRIBUTES, "role", "external_id", "session_count", "page_view_count", "owner_id")), _values).map(
        lambda it: {"field": it[0], **it[1]}
    ),
    st.tuples(st.sampled_from((*DATES, "created_at", "last_seen_at", "last_active_at", "updated_at")), _times).map(
        lambda it: {"field": it[0], **it[1]}
    ),
    st.tuples(_event("count"), _counts).map(lambda it: {**it[0], **it[1]}),
    st.tuples(_moments, _times).map(lambda it: {**it[0], **it[1]}),
    st.tuples(_moments, _equality | _order, _moments).map(lambda it: {**it[0], "operator": it[1], "value": it[2]}),
    st.tuples(_event("count"), _equality | _order, _event("count")).map(lambda it: {**it[0], "operator": it[1], "value": it[2]}),
    st.tuples(st.sampled_from((*DATES, "last_seen_at")), _equality | _order, _moments).map(
        lambda it: {"field": it[0], "operator": it[1], "value": it[2]}
    ),
    st.tuples(st.sampled_from(("custom_attributes.x", "session_count")), _equality | _order, _event("count")).map(
        lambda it: {"field": it[0], "operator": it[1], "value": it[2]}
    ),
)
_about_visits = st.tuples(st.sampled_from(ABOUT_VISITS), _values).map(lambda it: {"field": it[0], **it[1]})


def _grouped(rules: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        rules,
        lambda inner: st.tuples(st.sampled_from(("AND", "OR", "NOT")), st.lists(inner, min_size=1, max_size=3)).map(
            lambda it: {"operator": it[0], "value": it[1]}
        ),
        max_leaves=5,
    )


queries = _grouped(_rules)
all_queries = _grouped(_rules | _about_visits)
"""The same, and what visits say of a person."""


def live(world: World, draw: Any, number: int) -> None:
    """Let a visitor do something, sign up perhaps, perhaps be taken apart again."""
    browser = lead(f"l-{number}")
    world.send(browser, *events_for(draw, world), client=draw(st.none() | st.sampled_from(CLIENTS)))
    values = draw(st.dictionaries(st.sampled_from(ATTRIBUTES), st.none() | st.sampled_from(SCALARS), max_size=2))
    values |= draw(st.dictionaries(st.just("utm_source"), st.none() | st.sampled_from(PLACES), max_size=1))
    values |= draw(st.dictionaries(st.just("email"), st.sampled_from(ADDRESSES), max_size=1))
    values |= draw(st.dictionaries(st.sampled_from(DATES), st.sampled_from((1_790_000_000, 1_789_913_600, 1_790_100_000.5)), max_size=1))
    world.set(browser, values)
    if draw(st.booleans()):
        world.send(user(f"u-{number % 2}"), *events_for(draw, world), lead=browser)
        merges = world.rows("SELECT id FROM merges WHERE site = ? AND outcome = 'merged' AND undone_at IS NULL", world.site.id)
        if merges and draw(st.integers(0, 3)) == 0:
            world.services.writer.run(world.site.id, lambda tx: merging.undo(tx, world.site.id, merges[-1][0], world.clock()))


def in_sql(world: World, raw: Any) -> list[int]:
    """Return the principal ids of those whom a query describes, as SQL has them."""
    node = parse(raw, retention_days=90)
    with (
        world.services.database.read() as connection,
        select(connection, world.site, world.services.names, node, world.clock(), world.services.settings.retention) as (selection, _),
    ):
        found = selection.ids(connection)
        assert selection.count(connection) == len(found)
        return found


def in_memory(world: World, raw: Any) -> list[int]:
    """Return the same as people are asked one after the other, in memory."""
    node = parse(raw, retention_days=90)
    found = []
    with world.services.database.read() as connection:
        rows = connection.rows("SELECT id FROM identities WHERE site = ? AND principal_id = id ORDER BY id", (world.site.id,))
        for (number,) in rows:
            person = people.load(connection, world.site.id, number)
            retention = world.services.settings.retention
            known = facts.load(connection, world.site, world.services.names, person, needs(node), world.clock(), retention)
            holds = matches(node, known, world.clock(), world.site.zone)
            assert compiled(node)(known, world.clock(), world.site.zone) is holds
            if holds:
                found.append(number)
    return found
