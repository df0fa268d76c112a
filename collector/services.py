"""What one process works with, put together once: settings, clock, database, writer, sites, names. Handed on, never global."""

import contextlib
import functools

import msgspec

from collector.domain import mending
from collector.domain.auto_messages import AutoMessages
from collector.domain.breaker import Breaker
from collector.domain.columns import Columns
from collector.domain.decisions import Decisions
from collector.domain.event_rules import EventRules
from collector.domain.handovers import Handovers
from collector.domain.identities import Maker
from collector.domain.limits import NewPeople, PerMinute
from collector.domain.losses import Losses
from collector.domain.names import Names
from collector.domain.rule_scripts import RuleScripts
from collector.domain.secrets import Keyring
from collector.domain.sites import Sites, site_ids
from collector.domain.tracking import Ledger
from collector.settings import Settings, require_secret_key
from collector.simulations import Simulations
from collector.storage.database import Database
from collector.storage.faults import ClockUnset
from collector.storage.migrations import migrate
from collector.storage.occupancy import Occupancy
from collector.storage.slices import Slices
from collector.storage.writer import Writer
from collector.values.clock import Clock, system_clock
from collector.values.ids import RowIds
from collector.writer_process import WriterProcess


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one process. `writer` is the only way to write while serving."""

    settings: Settings
    clock: Clock
    database: Database
    keyring: Keyring
    row_ids: RowIds
    maker: Maker
    slices: Slices
    names: Names
    sites: Sites
    auto_messages: AutoMessages
    decisions: Decisions
    simulations: Simulations
    columns: Columns
    event_rules: EventRules
    rule_scripts: RuleScripts
    handovers: Handovers
    losses: Losses
    writer: Writer
    written: Database
    guests: Database
    """For deciding messages: nothing waits long there."""
    lookups: Database
    """For what the tracker and readiness look up: no report keeps them waiting for a connection."""
    breaker: Breaker
    occupancy: Occupancy

    def close(self) -> None:
        """Write what is queued and close the connections; what cannot be closed keeps nothing else from it."""
        with contextlib.ExitStack() as last:  # from the last to the first
            last.callback(self.occupancy.close)
            for database in {id(one): one for one in (self.database, self.guests, self.lookups, self.written)}.values():
                last.callback(database.close)
            for part in (self.writer, self.columns, self.simulations):
                last.callback(part.close)


def bring_up_to_date(database: Database, now_ms: int, *, again: bool = False) -> list[int]:
    """Migrate the schema, fill what is new in it in small steps, and return the numbers of the steps that ran.

    With `again` that is also gone through where no step ran: whoever began may have been interrupted. Else it is left to upkeep.

    Raises:
        SchemaError: the database is of a newer version, or a table was in use whenever it was asked for.
    """
    ran = migrate(database, now_ms)
    with database.read() as connection:
        sites = site_ids(connection) if ran or (again and mending.is_due(connection, now_ms)) else []
    for site in sites:
        for _ in mending.mend(database, database.transact, site, now_ms):
            pass
    return ran


WRITERS = {"sqlite": 1, "postgresql": 2}
"""How many transactions one process has under way: a file takes one at a time."""

DECIDERS, CLAIMERS = 4, 4
"""Threads that decide messages, and that answer claims."""
_GUEST_MS = 2_000
_LOOKUPS = 4
_READERS_MB = 8  # a hundred threads may read at a time, and the system keeps the file in memory too


def build(settings: Settings, clock: Clock = system_clock, *, apart: bool = False) -> Services:
    """Open the database, bring its schema up to date and start the writer, with processes of its own where these are to be had `apart`.

    Raises:
        SettingsError: there is no secret key.
    """
    require_secret_key(settings)
    with contextlib.ExitStack() as opened:
        occupancy = opened.enter_context(contextlib.closing(Occupancy(settings.database_url)))
        connections = settings.database_connections
        database = Database(settings.database_url, connections=connections, cache_mb=_READERS_MB)
        opened.callback(database.close)
        bring_up_to_date(database, clock())
        opened.pop_all()
    keyring = Keyring(settings.secret_key)
    row_ids = RowIds()
    # The writer has connections of its own: readers must never keep it waiting for one.
    written = Database(settings.database_url, connections=4)
    slices = Slices(written, settings.retention)
    with contextlib.suppress(ClockUnset):  # who waits for the time to be set is told so, each time, and answered once it is
        slices.ensure(clock())
    guests = lookups = database  # readers of a file wait for nobody
    if database.engine == "postgresql":
        lookups = Database(settings.database_url, connections=_LOOKUPS)
        guests = Database(settings.database_url, connections=DECIDERS + CLAIMERS, statement_ms=_GUEST_MS)
        with guests.read():  # connecting is not in the budget of the first who asks
            pass
    names = Names(database, written, settings.new_names_per_day, (guests, lookups))
    maker = Maker(row_ids, keyring)
    new_people = NewPeople(settings.new_leads_per_minute)
    ledger = Ledger(written, slices, names, maker, clock, new_people)
    threads = WRITERS[written.engine]
    apart = apart and settings.writes_apart()
    partners = [WriterProcess(settings, written, occupancy, clock, new_people) for _ in range(threads if apart else 0)]
    writer = Writer(
        written,
        ledger,
        queue_limit=settings.queue_limit,
        group_limit=settings.group_limit,
        threads=threads,
        partners=partners,
    )
    # On PostgreSQL a wait for a lock must not keep the writer waiting: who can do without goes past it, as upkeep does.
    transact = functools.partial(writer.run, 0) if written.engine == "sqlite" else written.transact
    return Services(
        occupancy=occupancy,
        written=written,
        settings=settings,
        clock=clock,
        database=database,
        keyring=keyring,
        row_ids=row_ids,
        maker=maker,
        slices=slices,
        names=names,
        sites=Sites(lookups, keyring, row_ids),
        auto_messages=AutoMessages(guests, row_ids),
        guests=guests,
        lookups=lookups,
        breaker=Breaker(),
        columns=Columns(database, names, clock, settings.columns_bytes),
        event_rules=EventRules(lookups, row_ids),
        rule_scripts=RuleScripts(),
        handovers=Handovers(keyring, PerMinute(settings.handovers_per_minute)),
        losses=Losses(transact),
        decisions=Decisions(transact),
        simulations=Simulations(settings, clock, transact),
        writer=writer,
    )
