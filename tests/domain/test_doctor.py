"""The doctor recounts what is stored, so whatever is changed behind the collector's back is found."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.domain import deletion, imports, merging, pruning, tombstones
from collector.domain.checks.findings import Finding
from collector.domain.doctor import Counts, examine
from collector.domain.imports import Base
from collector.domain.pruning import prune
from collector.domain.submissions import Event
from collector.storage.database import Database
from collector.storage.slices import WEEK
from collector.values.clock import DAY, HOUR
from tests.support.clock import FakeClock
from tests.support.world import World, id_at, lead, user
from tests.support.world import world as start

PLAN = "custom_attributes.plan"
VISIT = "01a2104a-324e-7080-a9b1-02515962ad5b"


def findings(world: World, **options: Any) -> list[Finding]:
    return list(examine(world.services.database, world.services.keyring, **options))


def checks(world: World) -> set[str]:
    return {finding.check for finding in findings(world)}


def write(world: World, *statements: tuple[Any, ...]) -> None:
    """Change rows as the collector never would."""

    def work(tx: Any) -> None:
        for sql, *parameters in statements:
            tx.run(sql, parameters)

    world.services.written.transact(work)


def row_id(world: World, name: str) -> int:
    return int(world.rows("SELECT id FROM identities WHERE site = ? AND value = ?", world.site.id, name)[0][0])


@pytest.fixture
def history(world: World) -> World:
    """Two leads of one user, one of them undone, a lead alone, imports, a deleted person, events old and of a wrong clock."""
    services, site = world.services, world.site.id
    world.send(lead(), world.event(visit=VISIT), world.event("saved"))
    world.set(lead(), {PLAN: "trial", "name": "Ann"})
    world.clock.advance(HOUR)
    world.send(user(), world.event(visit=VISIT), lead=lead())
    world.send(lead("second"), world.event(visit=VISIT))
    world.send(user(), world.event("saved"), lead=lead("second"))
    world.send(lead("alone"), world.event(visit=VISIT), world.event(at=world.clock() - 10 * WEEK))
    world.send(lead("alone"), Event(id_at(world.clock() + 200 * DAY), "saved", world.clock()))
    world.set(user(), {PLAN: "pro", "custom_attributes.seats": 5}, browser=False)
    (merge,) = world.rows("SELECT id FROM merges WHERE lead = ?", row_id(world, "second"))[0]
    services.writer.run(site, lambda tx: merging.undo(tx, site, merge, world.clock()))
    bases = [Base("saved", 7, world.clock() - 400 * DAY, world.clock() - 300 * DAY)]
    services.writer.run(site, lambda tx: imports.set_bases(tx, site, services.names, services.maker, world.clock(), lead().key, bases))
    world.send(lead("gone"), world.event(visit=VISIT))
    services.writer.run(site, lambda tx: deletion.delete_person(tx, site, services.keyring, row_id(world, "gone"), world.clock))
    return world


def test_nothing_is_found_after_real_histories(history: World) -> None:
    counts = Counts()
    assert findings(history, counts=counts) == []
    assert (counts.sites, counts.identities, counts.people) == (1, 4, 3)
    assert counts.events == 9


def test_spans_of_any_length_see_the_same(history: World) -> None:
    write(history, ("UPDATE totals SET own_count = own_count + 1",))
    whole = findings(history)
    assert len(whole) > 5
    assert sorted(map(str, findings(history, span=1))) == sorted(map(str, whole))


def test_at_each_step_of_pruning_and_wiping_nothing_is_found(history: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "STEP", {"sqlite": 1, "postgresql": 1})
    services = history.services
    history.clock.advance(services.settings.retention + 5 * WEEK)
    steps = []
    for step in prune(services.database, services.slices, services.written.transact, history.clock(), services.settings.retention):
        steps.append(step.what)
        assert findings(history) == []
    assert steps.count("moved") > 5
    assert "dropped" in steps
    for _ in deletion.wipe(services.database, services.slices, services.written.transact, history.site.id):
        assert findings(history) == []
    assert history.counts(user()) == {"page-view": 2, "saved": 9}
    assert findings(history) == []


def test_a_deleted_person_that_came_anew_is_no_finding(history: World) -> None:
    history.clock.advance(DAY)
    history.send(lead("gone"), history.event())
    assert findings(history) == []


def test_a_site_without_rows_is_no_finding(world: World) -> None:
    world.new_site("Other")
    assert findings(world) == []


def test_findings_name_site_identity_and_event_with_both_values(history: World) -> None:
    write(history, ("UPDATE totals SET count = 17 WHERE count IS NOT NULL AND identity = ?", row_id(history, "alone")))
    found, other = sorted(findings(history), key=lambda finding: str(finding.name))
    assert (found.check, found.site, found.identity, found.name) == (
        "person_total",
        history.site.key,
        row_id(history, "alone"),
        "page-view",
    )
    assert (other.identity, other.name) == (found.identity, "saved")
    assert found.expected.startswith("2 ")
    assert found.found.startswith("17 ")


def test_findings_hold_no_personal_values(history: World) -> None:
    write(history, ("UPDATE attributes SET value = ?, folded = ? WHERE value IS NOT NULL", '"Bertha Secret"', "bertha secret"))
    told = " ".join(map(str, findings(history)))
    assert "person_attribute" in told
    assert not any(value in told for value in ("Bertha", "bertha", "Ann", "trial", "pro", "lead-1"))


Change = Callable[[World], list[tuple[Any, ...]]]


def this_week(world: World) -> int:
    return world.clock() // WEEK


def an_event(world: World, *, at: int, identity: int) -> tuple[Any, ...]:
    name = world.rows("SELECT id FROM names WHERE text = 'saved'")[0][0]
    sql = f"INSERT INTO events_{this_week(world)} (site, slice, id, identity, name, at, unverified) VALUES (?, ?, ?, ?, ?, ?, 0)"
    return (sql, world.site.id, this_week(world), id_at(at), identity, name, at)


CORRUPTIONS: dict[str, tuple[str, Change]] = {
    "an own count": ("own_total", lambda w: [("UPDATE totals SET own_count = own_count + 1 WHERE own_count = 8",)]),
    "an own first time": ("own_total", lambda w: [("UPDATE totals SET own_first = own_first - 1 WHERE own_count = 8",)]),
    "an own last time": ("own_total", lambda w: [("UPDATE totals SET own_last = own_last + 1 WHERE own_count = 8",)]),
    "an imported count": ("own_total", lambda w: [("UPDATE totals SET imported_count = 6 WHERE imported_count = 7",)]),
    "a pruned count": ("own_total", lambda w: [("UPDATE totals SET base_count = 1, base_first = own_first, base_last = own_first",)]),
    "an event lost": ("own_total", lambda w: [(f"DELETE FROM events_{this_week(w)} WHERE identity = ?", row_id(w, "lead-1"))]),
    "an event added": (
        "own_total",
        lambda w: [an_event(w, at=w.clock(), identity=row_id(w, "lead-1"))],
    ),
    "a total lost": ("own_total", lambda w: [("DELETE FROM totals WHERE identity = ?", row_id(w, "alone"))]),
    "a person's count": ("person_total", lambda w: [("UPDATE totals SET count = count + 1 WHERE count = 9",)]),
    "a person's first time": ("person_total", lambda w: [("UPDATE totals SET first = first + 1 WHERE count = 9",)]),
    "a person's last time": ("person_total", lambda w: [("UPDATE totals SET last = NULL WHERE count = 9",)]),
    "a total of an absorbed lead": ("absorbed_total", lambda w: [("UPDATE totals SET count = 0 WHERE identity = ?", row_id(w, "lead-1"))]),
    "an attribute of an absorbed lead": (
        "absorbed_attribute",
        lambda w: [("UPDATE attributes SET set_at = 1 WHERE identity = ?", row_id(w, "lead-1"))],
    ),
    "a person's attribute": ("person_attribute", lambda w: [("UPDATE attributes SET value = ? WHERE value = ?", '"free"', '"pro"')]),
    "an attribute's number": ("person_attribute", lambda w: [("UPDATE attributes SET num = 6 WHERE num = 5",)]),
    "an attribute's source": ("person_attribute", lambda w: [("UPDATE attributes SET source = 1 WHERE source = 2",)]),
    "an own value": ("person_attribute", lambda w: [("UPDATE attributes SET own_at = own_at + 1 WHERE own_value = ?", '"pro"')]),
    "an own value that is no JSON": (
        "person_attribute",
        lambda w: [("UPDATE attributes SET own_value = 'pro' WHERE own_value = ?", '"pro"')],
    ),
    "the person's activity": ("activity", lambda w: [("UPDATE identities SET active_at = active_at + 1 WHERE value = 'u-1'",)]),
    "the person's visits": ("person_visits", lambda w: [("UPDATE identities SET visit_count = 7 WHERE value = 'u-1'",)]),
    "a visit's end": ("person_visits", lambda w: [("UPDATE visits SET ended_at = ended_at + 60000",)]),
    "an identity's activity": ("activity", lambda w: [("UPDATE identities SET own_active_at = NULL WHERE value = 'alone'",)]),
    "a pointer to nobody": ("pointer", lambda w: [("UPDATE identities SET principal_id = 5 WHERE value = 'lead-1'",)]),
    "a chain": ("pointer", lambda w: [("UPDATE identities SET principal_id = ? WHERE value = 'u-1'", row_id(w, "second"))]),
    "a lead of a lead": ("pointer", lambda w: [("UPDATE identities SET principal_id = ? WHERE value = 'second'", row_id(w, "alone"))]),
    "a line of the journal lost": ("journal", lambda w: [("DELETE FROM merges WHERE undone_at IS NULL",)]),
    "a line into somebody else": ("journal", lambda w: [("UPDATE merges SET target = ? WHERE undone_at IS NULL", row_id(w, "alone"))]),
    "a line too many": ("journal", lambda w: [("UPDATE merges SET undone_at = NULL WHERE undone_at IS NOT NULL",)]),
    "two lines": (
        "journal",
        lambda w: [
            ("DROP INDEX merges_lead",),
            ("UPDATE merges SET lead = ?, undone_at = NULL", row_id(w, "lead-1")),
        ],
    ),
    "a tombstone disregarded": ("tombstone", lambda w: [("UPDATE identities SET value = 'gone' WHERE value = 'alone'",)]),
    "a deleted contact that is back": (
        "tombstone",
        lambda w: [
            ("UPDATE identities SET kind = 'email' WHERE value = 'alone'",),
            ("INSERT INTO tombstones (site, mac, at) VALUES (?, ?, 1)", w.site.id, contact_mac(w, "alone")),
        ],
    ),
    "a deletion of somebody who is there": (
        "deletion",
        lambda w: [("INSERT INTO deletions (site, identity, at) VALUES (?, ?, 1)", w.site.id, row_id(w, "alone"))],
    ),
    "an event of nobody": (
        "event_without_identity",
        lambda w: [("DELETE FROM deletions",)],
    ),
    "an event of another week": (
        "event_slice",
        lambda w: [an_event(w, at=w.clock() - WEEK, identity=row_id(w, "lead-1"))],
    ),
    "an event of a week to come": (
        "event_slice",
        lambda w: [an_event(w, at=w.clock() + WEEK, identity=row_id(w, "lead-1"))],
    ),
    "an id in the overflow and in its week": (
        "event_twice",
        lambda w: [
            (
                f"INSERT INTO events_0 (site, slice, id, identity, name, at, unverified) "
                f"SELECT site, 0, id, identity, name, at, unverified FROM events_{this_week(w)}",
            )
        ],
    ),
    "a slice that is said to be pruned": ("slice", lambda w: [("UPDATE slices SET state = 'pruned' WHERE slice = ?", this_week(w))]),
    "a slice of an unknown state": ("slice", lambda w: [("UPDATE slices SET state = 'lost' WHERE slice = ?", this_week(w) + 1)]),
    "a closed slice that takes events": ("slice", lambda w: [("UPDATE slices SET state = 'closed' WHERE slice = ?", this_week(w))]),
    "a slice without its table": ("slice", lambda w: [("INSERT INTO slices (slice, state) VALUES (9, 'closed')",)]),
    "an open slice out of the timeline": ("slice", lambda w: [out_of_timeline(w)]),
    "a table of no slice": ("slice", lambda w: [("DELETE FROM slices WHERE slice = ?", this_week(w) + 1)]),
    "a cursor of an open slice": (
        "slice",
        lambda w: [("INSERT INTO slice_sites (site, slice, moved) VALUES (?, ?, 5)", w.site.id, this_week(w))],
    ),
    "the overflow closed": ("slice", lambda w: [("UPDATE slices SET state = 'closed' WHERE slice = 0",)]),
    "an event name lost": ("name", lambda w: [("DELETE FROM names WHERE text = 'saved'",)]),
    "an attribute's name lost": ("name", lambda w: [("DELETE FROM names WHERE text = ?", PLAN)]),
    "a name of another kind": ("name", lambda w: [("UPDATE names SET kind = 'attribute' WHERE text = 'saved'",)]),
    "a merge of nobody": ("row_without_identity", lambda w: [("UPDATE merges SET target = 5 WHERE undone_at IS NOT NULL",)]),
    "a delivery without its message": ("delivery_without_message", lambda w: [delivery(w, row_id(w, "alone"))]),
    "a link without its delivery": (
        "link_without_delivery",
        lambda w: [
            (
                "INSERT INTO delivery_links (site, identity, message, n, link, clicked_at) VALUES (?, ?, 1, 1, 'x', 1)",
                w.site.id,
                row_id(w, "alone"),
            )
        ],
    ),
}
ORPHANS: dict[str, Change] = {
    "totals": lambda w: [("INSERT INTO totals (site, name, identity) VALUES (?, 1000, 5)", w.site.id)],
    "attributes": lambda w: [("INSERT INTO attributes (site, attr, identity) VALUES (?, 2, 5)", w.site.id)],
    "visits": lambda w: [("INSERT INTO visits (site, identity, visit, started_at, ended_at) VALUES (?, 5, ?, 1, 1)", w.site.id, b"v")],
    "deliveries": lambda w: [delivery(w, 5)],
    "delivery_links": lambda w: [link(w, 5)],
    "decisions": lambda w: [
        ("INSERT INTO decisions (site, identity, message, outcome, hour, times, last_at) VALUES (?, 5, 1, 'caps', 1, 1, 1)", w.site.id)
    ],
    "merges": lambda w: [("UPDATE merges SET lead = 5 WHERE undone_at IS NOT NULL",)],
    "former_addresses": lambda w: [("INSERT INTO former_addresses (site, identity, mac) VALUES (?, 5, ?)", w.site.id, b"x")],
    "handovers": lambda w: [
        ("INSERT INTO handovers (site, nonce, identity, lead, expires_at) VALUES (?, ?, 5, 'x', 1)", w.site.id, b"x"),
    ],
}


def contact_mac(world: World, value: str) -> bytes:
    """The tombstone of an identity's contact id."""
    ((public_id,),) = world.rows("SELECT public_id FROM identities WHERE value = ?", value)
    return tombstones.mac(world.services.keyring, world.site.id, (tombstones.CONTACT, public_id))


def delivery(world: World, identity: int) -> tuple[Any, ...]:
    sql = "INSERT INTO deliveries (site, identity, message, n, version, arm, nonce, claimed_at) VALUES (?, ?, 1, 1, 1, 'shown', 'n', 1)"
    return (sql, world.site.id, identity)


def link(world: World, identity: int) -> tuple[Any, ...]:
    sql = "INSERT INTO delivery_links (site, identity, message, n, link, clicked_at) VALUES (?, ?, 1, 1, 'x', 1)"
    return (sql, world.site.id, identity)


def out_of_timeline(world: World) -> tuple[Any, ...]:
    if world.services.database.engine == "postgresql":
        return (f"ALTER TABLE events DETACH PARTITION events_{this_week(world)}",)
    return ("DROP VIEW events",)


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_it_finds(history: World, what: str) -> None:
    check, change = CORRUPTIONS[what]
    write(history, *change(history))
    assert check in checks(history)


@pytest.mark.parametrize("table", ORPHANS)
def test_it_finds_rows_of_nobody_in(history: World, table: str) -> None:
    write(history, *ORPHANS[table](history))
    found = [finding for finding in findings(history) if finding.check == "row_without_identity"]
    assert any(table in finding.found and finding.identity == 5 for finding in found)


def test_it_finds_an_event_whose_slice_is_not_its_tables(history: World) -> None:
    changed = (f"UPDATE events_{this_week(history)} SET slice = slice - 1",)
    if history.services.database.engine == "postgresql":  # which keeps to it by itself, until the table stands alone
        write(history, out_of_timeline(history))
    write(history, changed)
    assert "event_slice" in checks(history)


def test_a_late_event_of_a_deleted_person_is_wiped_and_no_finding(history: World) -> None:
    assert history.rows("SELECT count(*) FROM deletions") == [(1,)]
    assert findings(history) == []


def test_it_finds_a_damaged_page_of_the_file(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "leadlight.db"
    with start(f"sqlite:///{path}", clock) as world:
        world.send(lead(), world.event(visit=VISIT))
        (page, size) = world.rows("SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'totals_identity'")[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    assert [finding.check for finding in examine(Database(f"sqlite:///{path}"))] == ["file"]


def test_it_finds_a_reference_into_nothing(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "leadlight.db"
    with start(f"sqlite:///{path}", clock):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:  # which does not hold rows to their references
        raw.execute("DELETE FROM sites")
    assert {finding.check for finding in examine(Database(f"sqlite:///{path}"))} == {"file", "row_without_site"}


def test_it_sees_one_moment_while_events_are_written(history: World) -> None:
    write(history, ("UPDATE totals SET own_count = own_count + 1",))
    before = findings(history, span=1)
    found = []
    for finding in examine(history.services.database, history.services.keyring, span=1):
        found.append(finding)
        history.send(lead("alone"), history.event(), history.event("saved"))
        history.send(lead(f"new-{len(found)}"), history.event())
    assert len(found) > 5
    assert found == before
