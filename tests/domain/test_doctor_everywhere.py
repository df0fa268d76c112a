"""The doctor looks at every table that the schema has, and at every setting that the guide asks for."""

from contextlib import closing
from typing import Any

import pytest

from collector.domain.doctor import examine
from collector.services import bring_up_to_date
from collector.storage.database import Database
from collector.values.clock import system_clock
from tests.domain.test_deletion import tables
from tests.domain.test_deletion_traces import PERSONAL
from tests.domain.test_doctor import ORPHANS, findings, write
from tests.support.postgres import postgres_servers
from tests.support.world import World

LOOKED_AT_OTHERWISE = {
    "identities": "who points where is a check of its own",
    "deletions": "what is there is of identities that are gone",
    "events": "the timeline is recounted: what belongs to nobody is a difference",
}
"""Tables that name an identity, and in which a row of nobody is found by another name."""
KEPT_BY_THE_ENGINE = {"tokens", "account_sites"}
"""Tables whose rows refer to their sites: no connection of the collector's makes one of a site that is not there."""
REQUIRED = {
    "sqlite": (
        "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' AND (c.\"notnull\" OR c.pk) AND c.dflt_value IS NULL"
    ),
    "postgresql": (
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c WHERE c.table_schema = 'public' "
        "AND c.table_name <> 'events' AND c.is_nullable = 'NO' AND c.column_default IS NULL"
    ),
}
VALUES = {"blob": b"x" * 16, "bytea": b"x" * 16, "text": "x", "xid8": "1"}
"""What a column of a type is given; numbers are 1."""


def test_rows_of_nobody_are_looked_for_in_every_table_that_names_an_identity(world: World) -> None:
    naming = {"events" if table.startswith("events_") else table for table, columns in tables(world).items() if columns & PERSONAL}
    assert naming == ORPHANS.keys() | LOOKED_AT_OTHERWISE.keys()


def test_it_finds_rows_of_no_site_in_every_table_of_sites(world: World) -> None:
    required: dict[str, dict[str, str]] = {}
    for table, column, kind in world.rows(REQUIRED[world.services.database.engine]):
        required.setdefault(table, {})[column] = kind.lower()
    weeks = sorted(table for table in required if table.startswith("events_"))[1:]  # one of them stands for all
    left_out = KEPT_BY_THE_ENGINE.union(weeks)
    of_sites = sorted(table for table, columns in required.items() if "site" in columns and table not in left_out)
    planted = {str(site): table for site, table in enumerate(of_sites, 1_000)}
    assert len(planted) > 20
    for site, table in planted.items():
        write(world, row(table, required[table], site=int(site)))
    found = {finding.site for finding in findings(world) if finding.check == "row_without_site"}
    assert [table for site, table in planted.items() if site not in found] == []


@pytest.mark.parametrize("table", sorted(KEPT_BY_THE_ENGINE))
def test_the_engine_takes_no_row_of_a_site_that_is_not_there(world: World, table: str) -> None:
    others = {"tokens": {"id": "bigint", "digest": "blob", "name": "text", "created_at": "bigint"}, "account_sites": {"account": "bigint"}}
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        write(world, row(table, {"site": "bigint", **others[table]}, site=1_000))


def row(table: str, columns: dict[str, str], **given: Any) -> tuple[Any, ...]:
    """The statement that puts a row into a table; a week's event is one of that week."""
    week = int(table.rpartition("_")[2]) if table.startswith("events_") else 1
    values = {name: VALUES.get(kind, 1) for name, kind in columns.items()} | given | ({"slice": week} if "slice" in columns else {})
    return (f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", *values.values())


def test_it_finds_a_server_that_answers_commits_before_they_are_on_disk() -> None:
    off = dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
    with postgres_servers() as servers, closing(Database(f"{servers.new(**off).url}/postgres")) as database:
        bring_up_to_date(database, system_clock())
        assert [str(one) for one in examine(database)] == [f"durable: expected {setting} on, found off" for setting in off]
