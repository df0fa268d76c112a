"""Deletion leaves no trace: no row in any table and no byte in SQLite's file."""

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.domain import contacts, deliveries
from collector.domain.deliveries import Delivery, Report
from collector.domain.identities import EMAIL, NewIdentity
from collector.domain.submissions import AttributeChange, Event, Submission
from collector.values.clock import DAY, HOUR
from collector.values.errors import Reason
from collector.values.ids import new_uuid7, uuid7_bytes
from collector.values.messages import clean_auto_message
from tests.domain.test_deletion import NUMBERS_ALONE, contents, erase, is_sound, tables, upkeep
from tests.support.clock import FakeClock
from tests.support.world import World, lead, user
from tests.support.world import world as start

YEAR = 365 * DAY
PERSONAL = {"identity", "lead", "target", "principal_id"}
"""Columns that name an identity."""


class Life:
    """A person who leaves something in every table; `word` makes each text it leaves."""

    def __init__(self, world: World, word: Callable[[], str]) -> None:
        self.world = world
        self.word = word
        self.user = user(word())
        self.address = (EMAIL, f"{word()}@example.com")
        definition = {"name": "Once", "type": "popup", "state": "live", "content": {"body": "Hello"}}
        made = world.services.writer.run(
            world.site.id,
            lambda tx: world.services.auto_messages.create(
                tx, world.site.id, clean_auto_message(definition, retention_days=90), world.clock()
            ),
        )
        self.message, self.public_message = made.id, made.public_id

    def act(self, do: Callable[..., Any], *which: str, **what: Any) -> None:
        """Do something with the contact, as REST does it."""
        world, services = self.world, self.world.services

        def work(tx: Any) -> None:
            do(tx, world.site.id, services.names, services.maker, world.clock(), *which, **what)

        services.writer.run(world.site.id, work)

    def arrive(self) -> None:
        """Become known by an address, then by a user id too."""
        self.act(contacts.create, external_id=None, values={"email": self.address[1]})
        self.act(contacts.update, self.world.person(self.address).contact_id, external_id=self.user[1], values={})

    def move(self) -> None:
        """Be known by another address from now on."""
        contact, self.address = self.world.person(self.address).contact_id, (EMAIL, f"{self.word()}@example.com")
        self.act(contacts.update, contact, external_id=None, values={"email": self.address[1]})

    def go_on(self) -> NewIdentity:
        """Come with a new browser: look around, sign up, move, change attributes, click in a message, leave. Return the browser's lead."""
        world, word = self.world, self.word
        browser = lead(word(), word())
        world.send(browser, self.event(), self.event(id_at=world.clock() + 5 * YEAR))
        world.set(browser, {"name": word(), "custom_attributes.plan": word() * 3})
        world.send(self.user, self.event(), lead=browser)
        self.move()
        for number in (1, 4, 2):
            world.set(self.user, {"email": f"{word()}@example.com", "name": word() * number}, at=world.clock() + number)
        self.click()
        self.leave(browser)
        return browser

    def event(self, id_at: int | None = None) -> Event:
        now = self.world.clock()
        number, visit = uuid7_bytes(new_uuid7(now if id_at is None else id_at)), uuid7_bytes(new_uuid7(now))
        assert number is not None
        return Event(number, "page-view", now, visit, json.dumps({"url": self.word()}), json.dumps({"path": self.word()}))

    def leave(self, browser: NewIdentity) -> None:
        """Follow a link to another domain of the site, without arriving there."""
        world, services = self.world, self.world.services
        given = services.writer.run(
            world.site.id, lambda tx: services.handovers.make(tx, world.site, browser, self.word(), "pay.example", world.clock())
        )
        assert isinstance(given, str)
        assert not isinstance(given, Reason)

    def click(self) -> None:
        world, nonce, link = self.world, self.word(), self.word()
        person = world.person(self.user)
        owner = person.identities[-1].id
        given = Delivery(owner, self.message, 1, 1, "shown", nonce, world.clock(), None, None, None, None, None, None, None)
        report = Report(self.public_message, nonce, "clicked", world.clock(), link)

        world.services.decisions.note(world.site.id, owner, [(self.message, "offered")], world.clock())
        world.services.decisions.write()

        def work(tx: Any) -> bool | Reason:
            deliveries.insert(tx, world.site.id, given)
            return deliveries.record(tx, world.site.id, person.id, report)

        assert world.services.writer.run(world.site.id, work) is True


def test_no_table_keeps_a_row_of_a_deleted_person(world: World) -> None:
    world.send(user("stays"), world.event(), lead=lead("stays", "stays"))
    life = Life(world, lambda: secrets.token_hex(12))
    world.set(user("stays"), {"email": "stays@example.com", "name": "Stays", "custom_attributes.plan": "free"})
    before = contents(world)
    life.arrive()
    browsers = []
    for _ in range(3):
        world.clock.advance(8 * DAY)
        browsers.append(life.go_on())
    world.send(user("stays"), lead=browsers[0])  # refused, and written down
    full = contents(world)

    personal = {table for table, columns in tables(world).items() if columns & PERSONAL and not table.startswith("events_")}
    filled = {table for table in personal if full[table] - before.get(table, Counter())}
    assert filled == personal - {"deletions"}  # a table that is new has to be filled here

    assert erase(world, life.user)
    after = contents(world)
    assert {table for table in after if after[table] != before.get(table, Counter())} - NUMBERS_ALONE == {"tombstones", "slices"}
    identities, addresses = 1 + 1 + len(browsers), 1 + len(browsers)
    assert world.rows("SELECT count(*) FROM tombstones") == [(identities + 2 * addresses,)]
    assert is_sound(world)


def test_no_byte_of_a_deleted_person_is_left_in_the_file(tmp_path: Path, clock: FakeClock) -> None:
    """Among thousands of others, whose rows make those of the person move from page to page; overwritten values included."""
    planted: list[str] = []

    def word() -> str:
        planted.append(secrets.token_hex(12))
        return planted[-1]

    file = tmp_path / "leadlight.db"
    with start(f"sqlite:///{file}", clock) as world:
        life = Life(world, word)
        life.arrive()
        for _ in range(70):
            clock.advance(8 * HOUR)
            crowd(world, 30)
            life.go_on()
        assert len(pieces(file, planted)) > len(planted)
        assert erase(world, life.user)
        assert len(pieces(file, planted)) < len(planted) / 10  # bytes that moving rows left behind, and no more
        upkeep(world)
        assert pieces(file, planted) == set()
        assert world.rows("PRAGMA user_version") == [(0,)]  # nothing is owed any more
    assert pieces(file, planted) == set()


def crowd(world: World, size: int) -> None:
    """Let others come, whose ids and texts stand anywhere among the person's."""
    submissions = []
    for _ in range(size):
        name = f"{secrets.token_hex(2)}{secrets.token_urlsafe(12).upper()}"
        text = json.dumps({"url": "X" * secrets.randbelow(150)})
        number = uuid7_bytes(new_uuid7(world.clock()))
        assert number is not None
        events = [Event(number, "page-view", world.clock(), number, text, text)]
        changes = [AttributeChange({"email": f"{name}@EXAMPLE.COM", "name": "Y" * secrets.randbelow(60)}, world.clock())]
        submissions.append(Submission(owner=user(name), lead=lead(f"{name}-lead"), events=events, changes=changes))
    world.services.writer.record(world.site.id, submissions)


def pieces(file: Path, planted: list[str]) -> set[bytes]:
    """Return what the file and its companions hold of the planted texts, down to half of one."""
    length = 12
    wanted = {text[start : start + length].encode() for text in planted for start in range(len(text) - length + 1)}
    found: set[bytes] = set()
    for path in file.parent.glob(f"{file.name}*"):
        for run in re.findall(rb"[0-9a-f]{12,}", path.read_bytes()):
            found |= {part for start in range(len(run) - length + 1) if (part := run[start : start + length]) in wanted}
    return found
