"""What is broken deliberately, and which crash tests have to notice: `breaks` makes it so and looks."""

from dataclasses import dataclass

from tests.broken_early import COMMITS, SLOWLY, WRITER, WRITING, Edits, early_apart, early_where_served

DATABASE = "collector/storage/database.py"
FAULTS = "collector/storage/faults.py"
POOLS = "collector/storage/pools.py"
WRITER_PROCESS = "collector/writer_process.py"
SERVICES = "collector/services.py"
TRACKING = "collector/domain/tracking.py"
BODIES = "collector/web/bodies.py"
PRUNING = "collector/domain/pruning.py"
CONSOLE = "collector/web/console/failures.py"


@dataclass(frozen=True)
class Break:
    """What is broken, by which edits (file, text, other text), and which tests must fail: `module::part of the name`."""

    name: str
    edits: Edits
    tests: tuple[str, ...]


NO_ROOM_NEEDED = (BODIES, "            if body.answered or self._kept + size > self._most:\n", "            if False:\n")

NOT_AGAIN = (
    (WRITER_PROCESS, "_ATTEMPTS = 2\n", "_ATTEMPTS = 1\n"),
    (
        WRITER_PROCESS,
        "        raise NoPartner\n\n    def _received",
        '        raise ElsewhereError("", unavailable=True)\n\n    def _received',
    ),
)
"""Edits by which what a writer process was at that ended is not done again, and nobody is told otherwise."""

BREAKS = (
    Break(
        "SQLite does not sync its log",
        ((DATABASE, '"synchronous": 2,', '"synchronous": 0,'),),
        (
            "durability::power_cut[who serves]",
            "durability::power_cut[who only writes]",
            "durability::for_good[sqlite-who serves]",
            "durability::for_good[sqlite-who only writes]",
        ),
    ),
    Break(
        "PostgreSQL does not wait for its log",
        ((POOLS, 'WRITING = f"READ COMMITTED;', 'WRITING = f"READ COMMITTED; SET LOCAL synchronous_commit = off;'),),
        (
            "durability::for_good[postgresql-who serves]",
            "durability::for_good[postgresql-who only writes]",
            "outages::killed",
            "failover::died",
        ),
    ),
    Break(
        "answered before the commit, apart",
        early_apart(),
        ("outages::before the server has it", "disk::under_the_file", "disk::read_only[sqlite]"),
    ),
    Break(
        "answered before the commit, where it is served",
        early_where_served(),
        ("outages::before the server has it", "disk::under_the_file", "disk::read_only[sqlite]"),
    ),
    Break(
        "answered before a slow commit, apart",
        early_apart(SLOWLY),
        (
            "durability::kills[sqlite]",
            "durability::kills[postgresql]",
            "writer_processes::loses_and_doubles[sqlite]",
            "writer_processes::loses_and_doubles[postgresql]",
        ),
    ),
    Break(
        "answered before a slow commit, where it is served",
        early_where_served(SLOWLY),
        (
            "durability::kills[sqlite]",
            "durability::kills[postgresql]",
            "workers::kills[postgresql]",
            "writer_processes::loses_and_doubles[sqlite]",
            "writer_processes::loses_and_doubles[postgresql]",
        ),
    ),
    Break(
        "who meets a lock does not wait for it",
        (
            (DATABASE, '"busy_timeout": SQLITE_BUSY_SECONDS * 1_000,', '"busy_timeout": 0,'),
            (POOLS, "lock_timeout = '{LOCK_SECONDS}s'", "lock_timeout = '1ms'"),
        ),
        ("durability::kills[sqlite]", "durability::kills[postgresql]", "workers::kills[postgresql]"),
    ),
    Break(
        "a worker that died is not replaced",
        (("collector/serving.py", "respawn_failed_workers=settings.workers > 1", "respawn_failed_workers=False"),),
        ("workers::kills[postgresql]",),
    ),
    Break(
        "duplicates are counted",
        (
            (TRACKING, "            if len(new) < len(rows):", "            if False:"),
            (TRACKING, "            counted += new.values()", "            counted += rows"),
        ),
        ("outages::before its answer arrives", "durability::kills[sqlite]", "durability::kills[postgresql]"),
    ),
    Break(
        "a lost connection is lent again",
        (
            (
                POOLS,
                "    psycopg3_adapter = _Adapter\n",
                "    psycopg3_adapter = _Adapter\n    _is_closed = lambda self, conn: False\n",
            ),
            (POOLS, "return not self._ended and bool(super()._can_reuse(conn))", "return not self._ended"),
            (DATABASE, "                self._pool.manual_close()\n", "                pass\n"),
        ),
        ("outages::at_random", "outages::no_connections"),
    ),
    Break(
        "an idle connection is lent unseen",
        ((POOLS, "            for _ in range(_LOOKS):", "            for _ in range(0):"),),
        ("outages::while_nobody_asks",),
    ),
    Break(
        "silence is listened to for an hour",
        ((POOLS, "SILENCE_SECONDS = 2\n", "SILENCE_SECONDS = 3600\n"),),
        ("outages::falls_silent",),
    ),
    Break(
        "transactions idle and wait without end",
        ((POOLS, "IDLE_SECONDS = 10\n", "IDLE_SECONDS = 3600\n"), (POOLS, "LOCK_SECONDS = 10\n", "LOCK_SECONDS = 3600\n")),
        ("outages::forgets_to_tell",),
    ),
    Break(
        "the place of the file is looked at before the commit alone",
        ((DATABASE, "            self.check_place()  # once more", "            # once more"),),
        ("disk::taken_away_during",),
    ),
    Break(
        "the place of the file is looked at after the commit alone",
        ((DATABASE, "        self.check_place()\n        first", "        first"),),
        ("disk::another_takes_the_place",),
    ),
    Break(
        "a full disk is no outage",
        ((FAULTS, "    sqlite3.SQLITE_FULL,\n", ""), (FAULTS, '{"08", "53", "58"}', '{"08", "58"}')),
        ("disk::under_the_file", "disk::under_the_tables", "disk::middle"),
    ),
    Break(
        "readiness does not ask whether commits are taken",
        ((WRITER, "            self._refused[way] = why\n", "            pass\n"),),
        ("disk::disk_of_its_file", "disk::disk_of_its_tables"),
    ),
    Break(
        "only the last error is looked at",
        (
            (FAULTS, "for cause in _causes(error) if _says_outage(cause)", "for cause in list(_causes(error))[1:2] if _says_outage(cause)"),
            (FAULTS, "_is_out_of_time(cause) for cause in _causes(error)", "_is_out_of_time(cause) for cause in list(_causes(error))[1:2]"),
        ),
        ("disk::under_the_file", "disk::middle"),
    ),
    Break(
        "the console takes outages for faults",
        ((CONSOLE, "        if is_unavailable(error):", "        if False:"),),
        ("outages::ask_to_come_again",),
    ),
    Break(
        "a server that is not there is no outage",
        ((FAULTS, "isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))", "False"),),
        (
            "disk::ends_the_server",
            "outages::no_connections",
            "outages::killed",
            "failover::died",
            "writer_processes::cannot_be_opened[postgresql]",
        ),
    ),
    Break(
        "a read-only database is no outage",
        (
            (FAULTS, '{"25006", ', "{"),
            (FAULTS, "    sqlite3.SQLITE_READONLY,\n", ""),
            (FAULTS, "    sqlite3.SQLITE_IOERR,\n", ""),
        ),
        ("disk::read_only[sqlite]", "disk::read_only[postgresql]"),
    ),
    Break(
        "a commit is waited for without end",
        ((WRITER, "_STUCK_SECONDS = 15\n", "_STUCK_SECONDS = 10**6\n"),),
        ("failover::gone_and_comes_back", "failover::a_collector_ends"),
    ),
    Break(
        "numbers of names outlive their server",
        (("collector/domain/names.py", "        if moves != self._moves:\n", "        if False:\n"),),
        ("failover::lacks_a_new_name[written apart-postgresql]", "failover::lacks_a_new_name[written where it is served-postgresql]"),
    ),
    Break(
        "a connection to the old primary is kept",
        ((DATABASE, "                self._pool.manual_close()\n", "                pass\n"),),
        ("failover::is_the_standby_now",),
    ),
    Break(
        "only the first server of an address is asked",
        (
            (
                POOLS,
                "**_beginning_with(self._last, parameters)",
                '**{**parameters, **{k: str(parameters[k]).split(",")[0] for k in ("host", "port")}}',
            ),
        ),
        ("failover::died",),
    ),
    Break(
        "neither the queue nor all bodies together have an end",
        (
            (
                WRITER,
                "if self._closing or len(self._queue) >= self._queue_limit or self._bytes > self._byte_limit or self._stuck():",
                "if self._closing:",
            ),
            (WRITER, "_STUCK_SECONDS = 15\n", "_STUCK_SECONDS = 10**6\n"),
            NO_ROOM_NEEDED,
        ),
        (
            "overload::full_queue[sqlite]",
            "overload::full_queue[postgresql]",
            "overload::memory[sqlite]",
            "overload::memory[postgresql]",
        ),
    ),
    Break(
        "what is turned away is kept",
        (
            (WRITER, "    def _turn_away(", "    kept: list[object] = []\n\n    def _turn_away("),
            (
                WRITER,
                "            if self._closing or len(self._queue) >=",
                "            self.kept.append(unit.payload)\n            if self._closing or len(self._queue) >=",
            ),
        ),
        (
            "overload::memory[sqlite]",
            "overload::memory[postgresql]",
            "overload::little_is_written[sqlite]",
            "overload::little_is_written[postgresql]",
        ),
    ),
    Break(
        "a shutdown does not wait for answers",
        (
            (
                "collector/serving.py",
                '    _Server(\n        "collector.serving:application",',
                "    class Hasty(_Server):\n        def signal_handler_interrupt(self, *args, **kwargs):\n            os.killpg(0, 9)\n\n"
                '    Hasty(\n        "collector.serving:application",',
            ),
            (
                WRITER,
                "            return\n        self._answer(group, results)\n",
                "            return\n        __import__('time').sleep(0.05)\n        self._answer(group, results)\n",
            ),
        ),
        (
            "overload::whole_queue[sqlite]",
            "overload::whole_queue[postgresql]",
            "durability::in_order[sqlite]",
            "durability::in_order[postgresql]",
            "workers::in_order[postgresql]",
        ),
    ),
    Break(
        "what is too large is not heard out",
        ((BODIES, "_HEARD = 10\n", "_HEARD = 0\n"),),
        (
            "overload::still_reads_why[sqlite-/collect-9000000]",
            "overload::still_reads_why[sqlite-/api/events-9000000]",
            "overload::still_reads_why[postgresql-/collect-9000000]",
            "overload::still_reads_why[postgresql-/api/events-9000000]",
        ),
    ),
    Break(
        "no body is too large",
        (("collector/web/browser.py", "self.limit = services.settings.body_limit", "self.limit = services.settings.body_limit * 2"),),
        ("overload::still_reads_why[sqlite-/collect-1100000]", "overload::still_reads_why[postgresql-/collect-1100000]"),
    ),
    Break(
        "whatever is sent is heard out",
        ((BODIES, "_HEARD = 10\n", "_HEARD = 1_000_000\n"),),
        ("overload::without_end[sqlite]", "overload::without_end[postgresql]"),
    ),
    Break(
        "a refusal does not say when to come back",
        (("collector/ingest/pipeline.py", 'headers=[("Retry-After", "5")]', "headers=[]"),),
        ("overload::full_queue[sqlite]", "disk::under_the_file", "disk::read_only[postgresql]"),
    ),
    Break(
        "a poisonous event costs its whole request",
        ((WRITER, "        if unit.work is not None or unit.whole or", "        if True or"),),
        tuple(
            f"poison::{test}[{where}-{engine}]"
            for test in ("the_events_of_browsers", "the_events_of_a_server", "an_attribute")
            for engine in ("sqlite", "postgresql")
            for where in ("written apart", "written where it is served")
        ),
    ),
    Break(
        "where nothing of a request can be written it is refused",
        (
            (COMMITS, "self._joined(whole) if self._written else None", "self._bulk.joined(payload, [None, None])"),
            (COMMITS, "                        return None\n", "                        return self._bulk.joined(payload, [None, None])\n"),
        ),
        tuple(
            f"poison::keeps_what_it_sent[{where}-{engine}]"
            for engine in ("sqlite", "postgresql")
            for where in ("written apart", "written where it is served")
        ),
    ),
    Break(
        "a single event of a server is written in halves",
        ((WRITER, "if unit.work is not None or unit.whole or", "if unit.work is not None or"),),
        tuple(
            f"poison::brings_somebody[{where}-{engine}]"
            for engine in ("sqlite", "postgresql")
            for where in ("written apart", "written where it is served")
        ),
    ),
    Break(
        "REST may have as many requests wait as come",
        (("collector/web/rsgi.py", "_WAITING = 2 ", "_WAITING = 10**6 "),),
        ("overload::rest_is_turned_away[sqlite]", "overload::rest_is_turned_away[postgresql]"),
    ),
    Break(
        "a collector does not start during an outage",
        (("collector/serving.py", "        if not is_unavailable(error):\n            raise\n", "        raise\n"),),
        ("disk::starts_while_nothing",),
    ),
    Break(
        "a file may have two names",
        (("collector/storage/occupancy.py", "if not alone and path.exists()", "if False and path.exists()"),),
        ("disk::another_name",),
    ),
    Break(
        "writer processes are never started",
        ((SERVICES, "range(threads if apart else 0)", "range(0)"),),
        ("writer_processes::as_many[sqlite]", "writer_processes::as_many[postgresql]"),
    ),
    Break(
        "what a writer process was at that ended is done by nobody",
        (
            (
                WRITER_PROCESS,
                "            if answer is not None:\n                return answer\n",
                "            return answer or Answer()\n",
            ),
        ),
        (
            "writer_processes::done_by_the_next[sqlite]",
            "writer_processes::done_by_the_next[postgresql]",
        ),
    ),
    Break(
        "a writer process that ended while nobody asked is asked",
        (
            (WRITER_PROCESS, "process is None or process.poll() is not None", "process is None"),
            *NOT_AGAIN,
        ),
        ("writer_processes::nobody_asked[sqlite]", "writer_processes::nobody_asked[postgresql]"),
    ),
    Break(
        "where there is no writer process nobody writes",
        ((WRITER, "            with contextlib.suppress(NoPartner):\n", "            with contextlib.nullcontext():\n"),),
        tuple(
            f"writer_processes::{test}{part}]"
            for engine in ("sqlite", "postgresql")
            for test, part in (
                *((f"where_none_can_be_started[{engine}-", why) for why in ("no such program", "no process", "another edition")),
                (f"number_too_large[{engine}", ""),
                (f"what_ends_two[{engine}", ""),
            )
        ),
    ),
    Break(
        "a writer process is waited for without end",
        ((WRITER_PROCESS, "                process.kill()\n\n    def close", "                pass\n\n    def close"),),
        ("writer_processes::was_stopped[sqlite]", "writer_processes::was_stopped[postgresql]"),
    ),
    Break(
        "a writer process goes on when whoever started it has ended",
        (
            (
                WRITING,
                "        while (data := receive(source)) is not None:\n",
                "        while (data := receive(source)) or not __import__('time').sleep(1):\n"
                "            if data is None:\n                continue\n",
            ),
        ),
        ("writer_processes::they_end[sqlite]", "writer_processes::they_end[postgresql]"),
    ),
    Break(
        "a writer process does not take part in working with the file",
        ((WRITER_PROCESS, "self._occupancy.descriptors()", "()"),),
        ("writer_processes::nobody_replaces",),
    ),
    Break(
        "a writer process ends by orders, and what it was at is done by nobody",
        (
            (WRITER_PROCESS, "with processes.orders_held((*processes.ORDERS, *processes.HANGING_UP)):", "with contextlib.nullcontext():"),
            *NOT_AGAIN,
        ),
        ("writer_processes::all_processes_at_once[sqlite]", "writer_processes::all_processes_at_once[postgresql]"),
    ),
    Break(
        "a writer process makes an empty file where there is none",
        ((WRITING, "if file is not None and not file.is_file():", "if file is None and not file:"),),
        ("writer_processes::file_is_away",),
    ),
    Break(
        "a writer process keeps no books of new people",
        ((WRITING, "            self._given.now = group.left\n", "            self._given.now = 10**6\n"),),
        ("writer_processes::the_bound[sqlite]", "writer_processes::the_bound[postgresql]"),
    ),
    Break(
        "a writer process ends where it cannot open the database",
        (
            (
                WRITING,
                "        except Exception as error:  # whatever it is: nothing",
                "        except ZeroDivisionError as error:  # nothing",
            ),
        ),
        ("writer_processes::cannot_be_opened[sqlite]",),
    ),
    Break(
        "bodies take no room",
        (NO_ROOM_NEEDED,),
        ("bodies::no_room[Content-Length: 1000000-sqlite]", "bodies::no_room[Transfer-Encoding: chunked-sqlite]"),
    ),
    Break(
        "bodies may take for ever",
        ((BODIES, "call_later(SECONDS, give_up)", "call_later(SECONDS * 1_000, give_up)"),),
        ("bodies::given_up",),
    ),
    Break(
        "pruning says how far it came in a commit of its own",
        (
            (
                PRUNING,
                '    tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", (upto, site, number))\n',
                "    _later.append((upto, site, number))\n",
            ),
            (
                PRUNING,
                "        moved = transact(lambda tx: _move_some(tx, number, site, limit))\n",
                "        moved = transact(lambda tx: _move_some(tx, number, site, limit))\n"
                "        while _later:\n"
                "            __import__('time').sleep(0.2)\n"
                "            how_far = _later.pop()\n"
                '            transact(lambda tx: tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", how_far))\n',
            ),
            (PRUNING, "_LOCK = 7_", "_later: list = []\n_LOCK = 7_"),
        ),
        ("killed_at_work::none_is_half_done[sqlite]", "killed_at_work::none_is_half_done[postgresql]"),
    ),
)
