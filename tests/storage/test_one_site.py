"""No statement crosses sites: whatever is sent while serving says of which site's rows it is, as a value.

And what is written while serving is what upgrades are tried with.
"""

from collections.abc import Collection, Iterator

import pytest

from collector.domain.doctor import examine
from collector.values.clock import DAY
from tests.storage.catalogue import of_sites
from tests.storage.earlier import RETENTION, Happened, Turn, event_id
from tests.storage.traffic import Traffic
from tests.storage.upgrades import columns
from tests.storage.versions import NEWEST
from tests.support.clock import FakeClock
from tests.support.statements import crossings, heard, plain, unlike, written
from tests.web.test_console_support import Console, console

WEEKLY = "DELETE FROM slice_sites WHERE slice = ?"
SERVING = {
    ("tokens", "WHERE digest = ?"): "a token says which site it is for",
    ("account_sites", "WHERE account = ?"): "an account says which sites it sees",
    ("slice_sites", WEEKLY): "a week ends for all sites at once, with its table",
}
"""What crosses sites while serving: a part of the statement for each table."""
EXAMINING = "SELECT min(site) FROM"
CURSORS = "SELECT site, slice, moved FROM slice_sites"


@pytest.fixture
def on(database_url: str, clock: FakeClock) -> Iterator[Console]:
    with console(database_url, clock, message_budget_ms=60_000) as running:  # time limits measure the machine
        running.sign_in()
        yield running


BY_COMMANDS = {"accounts", "account_sites", "schema_migrations"}
"""What no collector writes while it serves."""


def test_a_statement_says_of_which_sites_rows_it_is_and_writes_what_upgrades_are_tried_with(on: Console) -> None:
    tables = of_sites(on.world)
    with heard() as statements:
        Traffic(on).run()
    named = {table for table in tables if any(f" {table}" in sql for sql in statements)}
    assert named == tables  # a table that is new has to be used here
    assert len(statements) > 300
    found = crossings(statements, tables)
    unknown = [(table, sql) for table, sql in found if not any(table == one and part in sql for one, part in SERVING)]
    assert unknown == []
    assert {key for key in SERVING if any(key[0] == table and key[1] in sql for table, sql in found)} == SERVING.keys()
    check_versions(on, statements)


def check_versions(on: Console, statements: Collection[str]) -> None:
    """The newest of `versions` writes whatever the product does: what that writes beside or otherwise is a version more."""
    now, database = on.clock(), on.services.database
    newest = NEWEST("a secret key", now)
    with database.read() as connection:
        tables = {plain(table) for table in columns(connection)}
    with heard() as known:
        database.transact(lambda tx: newest.install(tx, now))
        for at in (now - 1_000 * DAY, now):
            database.transact(lambda tx, at=at: newest.make_slices(tx, at))  # type: ignore[misc]
            sent = [Happened(event_id(at - RETENTION + ahead), "saved", at - RETENTION) for ahead in (0, 900 * DAY)]
            database.transact(lambda tx, at=at, sent=sent: newest.post(tx, "lead", "lead", sent, at))  # type: ignore[misc]
        database.transact(lambda tx: newest.set_plan(tx, "lead", "pro", now))
        database.transact(lambda tx: newest.show(tx, "lead", now))
        database.transact(lambda tx: newest.merge(tx, "lead", "bob", now))
        database.transact(lambda tx: newest.refuse(tx, "lead", "eve", now))
        for number in range(3):  # a week is closed, moved and dropped
            for task in newest.tasks():
                database.transact(lambda tx, task=task, number=number: task(tx, Turn(0, number, now)))  # type: ignore[misc]
    assert unlike(written(statements), written(known), tables) == set()
    assert tables - written(known).inserted.keys() == BY_COMMANDS


def test_the_doctor_goes_through_site_by_site_once_it_knows_them_all(on: Console) -> None:
    traffic = Traffic(on)
    traffic.define()
    traffic.visit()
    tables = of_sites(on.world)
    with heard() as statements:
        assert list(examine(on.services.database, on.services.keyring)) == []
    found = crossings(statements, tables)
    assert [sql for _, sql in found if not sql.startswith((EXAMINING, CURSORS))] == []


TABLES = {"totals", "identities", "events", "changes"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM totals",
        "SELECT name, identity FROM totals",
        "DELETE FROM totals WHERE name = ?",
        "SELECT 1 FROM totals, identities WHERE totals.site = ?",
        "SELECT 1 FROM totals t JOIN identities i ON i.id = t.identity WHERE t.site = ?",
        "SELECT 1 FROM totals WHERE site = ? AND identity IN (SELECT id FROM identities WHERE principal_id = ?)",
        "SELECT 1 FROM totals WHERE site = ? UNION ALL SELECT 1 FROM totals",
        "SELECT (SELECT max(at) FROM totals WHERE name = ?) FROM totals WHERE site = ?",
        "SELECT 1 FROM events_17 WHERE slice = ?",
        "UPDATE totals t SET count = n.count FROM unnest(?, ?) AS n (site, count) WHERE t.site = n.site",
        "UPDATE totals SET count = 1 WHERE name = ' site = ? '",
        "INSERT INTO totals (name, identity) VALUES (?, ?)",
        "INSERT INTO changes (site, position) VALUES (?, (SELECT max(position) FROM changes))",
        "WITH w AS (SELECT id FROM identities) SELECT 1 FROM w",
        "COPY (SELECT id FROM identities WHERE id > ?) TO STDOUT",
    ],
)
def test_a_statement_that_crosses_sites_is_noticed(sql: str) -> None:
    assert crossings([sql], TABLES)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM totals WHERE site = ?",
        "SELECT 1 FROM totals t JOIN identities i ON i.site = t.site AND i.id = t.identity WHERE t.site = ?",
        "SELECT 1 FROM totals t, identities i WHERE t.site = i.site AND t.site = ?",
        "SELECT 1 FROM totals p WHERE p.site = ? AND EXISTS (SELECT 1 FROM identities i WHERE i.site = p.site)",
        "SELECT 1 FROM (SELECT site, id FROM identities WHERE site = ?) k JOIN totals t ON t.site = k.site",
        "WITH w AS (SELECT id FROM identities WHERE site = ?) SELECT 1 FROM w",
        "UPDATE totals t SET count = n.count FROM unnest(?, ?) AS n (name, count) WHERE t.site = ? AND t.name = n.name",
        "UPDATE identities SET active_at = ?3 WHERE site = ?1 AND id = ?2",
        "INSERT INTO totals (site, name) SELECT site, name FROM totals WHERE site = ? ON CONFLICT (site, name) DO UPDATE SET count = 1",
        "INSERT INTO changes (site, position) VALUES (?, coalesce((SELECT max(position) FROM changes WHERE site = ?), 0) + 1)",
        "SELECT site FROM sites",
    ],
)
def test_a_statement_about_one_site_is_none_that_crosses(sql: str) -> None:
    assert crossings([sql], TABLES) == []
