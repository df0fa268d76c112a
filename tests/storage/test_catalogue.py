"""The site comes first in every key, and no index holds what changes with every event: asked of each engine's catalogue."""

import re
from collections.abc import Iterable
from pathlib import Path

from tests.storage.assignments import Assignment, assignments
from tests.storage.catalogue import Index, columns, indices, of_sites
from tests.support.world import World

GUIDE = Path(__file__).resolve().parents[2] / "OPERATING.md"

WITHOUT_SITE = {
    "sites": "is what a site is; found by its key, which pages name",
    "accounts": "somebody who may sign in at the console sees several sites, or all",
    "slices": "a week is closed and dropped for all sites at once",
    "upkeep": "rounds, and what collectors were set to, are of the installation",
    "schema_migrations": "so is the schema",
}
"""Tables whose rows belong to no site."""
OTHER_KEYS = {
    ("tokens", ("digest",)): "a token says which site it is for, so that it is looked for in all of them",
    ("account_sites", ("account", "site")): "asked for by the account, which sees several sites",
}
"""Keys of tables of sites that do not begin with it."""

CHANGED = {
    ("identities", "principal_id"): "a merge and its undoing move the pointer: once or twice for a lead, and never with an event",
    ("identities", "value"): "REST gives a user who is known by an email another one",
    ("attributes", "folded"): "who has this email is looked for; so a new value of any text costs an entry in each index of its row",
    ("merges", "undone_at"): "a lead may be merged again once its merge is undone",
    ("deliveries", "goal_at"): "receipts whose goal is met leave the index of those that wait: once for each receipt",
    ("deliveries", "goal_before"): "the same, for a goal that had been met before",
    ("segments", "name"): "somebody renames it",
    ("simulations", "state"): "one runs at a time: at its beginning and at its end",
}
"""Columns that statements set, and that an index holds or asks for. PostgreSQL then makes an entry in every index of the table."""
PUT_IN = {
    Assignment("{table}", "{settings}"): (),  # `Connection.update`, whose callers are asked instead
    Assignment("deliveries", "{column}"): ("seen_at", "clicked_at", "answered_at", "dismissed_at"),
    Assignment("deliveries", "{noted}"): ("goal_at", "goal_before"),
}
"""What columns stand for, where a statement has them put in."""
TEMPORARY = ("person",)
"""The key of a table that one search makes for itself."""


def test_every_index_and_key_of_a_table_of_sites_begins_with_the_site(world: World) -> None:
    tables = of_sites(world)
    found = {index for index in indices(world) if index.table in tables}
    assert {index.table for index in found} == tables
    assert {(index.table, index.columns) for index in found if index.columns[0] != "site"} == OTHER_KEYS.keys()


def test_only_what_belongs_to_the_installation_has_no_site(world: World) -> None:
    assert columns(world).keys() - of_sites(world) == WITHOUT_SITE.keys()


def test_the_guide_says_where_each_table_would_be_in_citus(world: World) -> None:
    text = GUIDE.read_text("utf-8").partition("| tables | in Citus |")[2].partition("\n\n")[0]
    places = {place: set(re.findall(r"`(\w+)`", tables)) for tables, place in re.findall(r"^\| (`.*?) \| (.*?) \|", text, re.MULTILINE)}
    assert set().union(*places.values()) == columns(world).keys()
    assert places["distributed by `site`, all colocated"] == of_sites(world) - {table for table, _ in OTHER_KEYS}


def test_no_index_holds_what_statements_set_but_for_what_seldom_changes(world: World) -> None:
    found = indices(world)
    held = {(index.table, column) for index in found for column in {*index.columns, *index.asked}}
    assert held & set(changed(found)) == CHANGED.keys()


def test_every_column_that_a_statement_sets_is_one(world: World) -> None:
    """Or a statement was misread, and something that it sets is not looked at."""
    there = columns(world)
    found = changed(indices(world))
    assert len(found) > 60
    assert [one for one in found if one[1] not in there[one[0]]] == []


def changed(found: Iterable[Index]) -> list[tuple[str, str]]:
    """Every column that the program sets in rows that are there, with its table."""
    made = assignments()
    put_in = {one for one in made if "{" in one.column or "{" in one.table}
    assert put_in == PUT_IN.keys()  # what a statement has put in has to be said here
    plain = (made - put_in) | {Assignment(one.table, column) for one, names in PUT_IN.items() for column in names}
    return sorted((_table(one.table, found), one.column) for one in plain if one.table != TEMPORARY)


def _table(of: str | tuple[str, ...], found: Iterable[Index]) -> str:
    """The table of an assignment; where that is told by the key that it meets, the one that has it."""
    if isinstance(of, str):
        return of
    (table,) = {index.table for index in found if index.unique and index.columns == of and not index.asked}
    return table
