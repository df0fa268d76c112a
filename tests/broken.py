"""What is broken deliberately, and which crash tests have to notice: `breaks` makes it so and looks."""

from tests.broken_operations import ENGINES, OPERATIONS
from tests.broken_promises import (
    COMMITS,
    DATABASE,
    IN_VAIN,
    ORDERS_FOR_WRITERS,
    POOLS,
    PROMISES,
    WRITER,
    WRITER_PROCESS,
    WRITING,
    Break,
    saying,
)

FAULTS = "collector/storage/faults.py"
SERVICES = "collector/services.py"
BODIES = "collector/web/bodies.py"
PRUNING = "collector/domain/pruning.py"
CONSOLE = "collector/web/console/failures.py"

NO_ROOM_NEEDED = (BODIES, "            if body.answered or self._kept + size > self._most:\n", "            if False:\n")

NO_TIME_LIMIT = (BODIES, "call_later(SECONDS, give_up)", "call_later(SECONDS * 1_000, give_up)")

GOES_NOT_ON = r"waited in vain for \d+ more events acknowledged|not everything could be delivered"
FAULT = r"wrong \['500: "
NOT_UNDONE = r"isinstance\(\w+\.exception\(\), Overloaded\)|SELECT id FROM events"

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
    *PROMISES,
    *OPERATIONS,
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
        saying(rf"{GOES_NOT_ON}|{FAULT}", "outages::at_random", "outages::no_connections"),
    ),
    Break(
        "an idle connection is lent unseen",
        ((POOLS, "            for _ in range(_LOOKS):", "            for _ in range(0):"),),
        saying(r"== \{202\}", "outages::while_nobody_asks"),
    ),
    Break(
        "silence is listened to for an hour",
        ((POOLS, "SILENCE_SECONDS = 2\n", "SILENCE_SECONDS = 3600\n"),),
        saying("an answer 503 for everybody", "outages::falls_silent"),
    ),
    Break(
        "transactions idle and wait without end",
        ((POOLS, "IDLE_SECONDS = 10\n", "IDLE_SECONDS = 3600\n"), (POOLS, "LOCK_SECONDS = 10\n", "LOCK_SECONDS = 3600\n")),
        saying("waited in vain for an answer 202 for everybody", "outages::forgets_to_tell"),
    ),
    Break(
        "the place of the file is looked at before the commit alone",
        ((DATABASE, "            self.check_place()  # once more", "            # once more"),),
        saying("DID NOT RAISE", "disk::taken_away_during"),
    ),
    Break(
        "the place of the file is looked at after the commit alone",
        ((DATABASE, "        self.check_place()\n        first", "        first"),),
        saying("assert 200 == 503", "disk::another_takes_the_place"),
    ),
    Break(
        "a full disk is no outage",
        ((FAULTS, "    sqlite3.SQLITE_FULL,\n", ""), (FAULTS, '{"08", "53", "58"}', '{"08", "58"}')),
        {
            **saying(FAULT, "disk::under_the_file", "disk::under_the_tables"),
            "disk::middle": NOT_UNDONE,
        },
    ),
    Break(
        "readiness does not ask whether commits are taken",
        ((WRITER, "            self._refused[way] = why\n", "            pass\n"),),
        saying(r"== \(503, False\)", "disk::disk_of_its_file", "disk::disk_of_its_tables"),
    ),
    Break(
        "only the last error is looked at",
        (
            (FAULTS, "for cause in _causes(error) if _says_outage(cause)", "for cause in list(_causes(error))[1:2] if _says_outage(cause)"),
            (FAULTS, "_is_denied(cause) for cause in _causes(error)", "_is_denied(cause) for cause in list(_causes(error))[1:2]"),
        ),
        {"disk::under_the_file": FAULT, "disk::middle": NOT_UNDONE},
    ),
    Break(
        "the console takes outages for faults",
        ((CONSOLE, "        if is_unavailable(error):", "        if False:"),),
        saying(r'"Retry-After"\]\) == \(503, "5"\)', "outages::ask_to_come_again"),
    ),
    Break(
        "a server that is not there is no outage",
        ((FAULTS, "isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))", "False"),),
        {
            **saying(FAULT, "disk::ends_the_server", "outages::no_connections", "outages::killed", "failover::died"),
            "writer_processes::cannot_be_opened[postgresql]": r"is_unavailable\(failed.value\)",
        },
    ),
    Break(
        "a read-only database is no outage",
        (
            (FAULTS, '{"25006", ', "{"),
            (FAULTS, "    sqlite3.SQLITE_READONLY,\n", ""),
            (FAULTS, "    sqlite3.SQLITE_IOERR,\n", ""),
        ),
        saying(FAULT, "disk::read_only[sqlite]", "disk::read_only[postgresql]"),
    ),
    Break(
        "a commit is waited for without end",
        ((WRITER, "_STUCK_SECONDS = 15\n", "_STUCK_SECONDS = 10**6\n"),),
        saying(IN_VAIN, "failover::gone_and_comes_back", "failover::a_collector_ends"),
    ),
    Break(
        "numbers of names outlive their server",
        (("collector/domain/names.py", "        if moves != self._moves:\n", "        if False:\n"),),
        saying(
            "'new': 2",
            "failover::lacks_a_new_name[written apart-postgresql]",
            "failover::lacks_a_new_name[written where it is served-postgresql]",
        ),
    ),
    Break(
        "a connection to the old primary is kept",
        ((DATABASE, "                self._pool.manual_close()\n", "                pass\n"),),
        saying(GOES_NOT_ON, "failover::is_the_standby_now"),
    ),
    Break(
        "only the first server of an address is asked",
        (
            (
                POOLS,
                "**_beginning_with(self._last, db.parameters)",
                '**{**db.parameters, **{k: str(db.parameters[k]).split(",")[0] for k in ("host", "port")}}',
            ),
        ),
        saying(GOES_NOT_ON, "failover::died"),
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
        {
            # Who waits for an answer and who waits for anybody's have the same patience.
            **saying("no more answers|answer is not None", "overload::full_queue[sqlite]", "overload::full_queue[postgresql]"),
            **saying(r"bytes, then|== \{503\}", "overload::memory[sqlite]", "overload::memory[postgresql]"),
        },
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
        saying(
            "bytes, then",
            "overload::memory[sqlite]",
            "overload::memory[postgresql]",
            "overload::little_is_written[sqlite]",
            "overload::little_is_written[postgresql]",
        ),
    ),
    Break(
        "what REST turns away is kept",
        (
            (
                "collector/web/rsgi.py",
                "        protocol.response_bytes(",
                "        vars(self).setdefault('kept', []).append(answer.status == 503 and locals().get('body'))\n"
                "        protocol.response_bytes(",
            ),
            (
                BODIES,
                "                    parts.clear()\n",
                "                    if limit > 2**20:\n"
                "                        vars(self._all).setdefault('kept', []).extend([*parts, part])\n"
                "                    parts.clear()\n",
            ),
        ),
        saying(
            "bytes, then",
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
        {
            **saying(r"QUEUE <= len", *(f"overload::whole_queue[{engine}-{orders}]" for engine in ENGINES for orders in (0, 6))),
            **saying(r"collector.stop\(\) == 0", "durability::in_order[sqlite]", "durability::in_order[postgresql]"),
            **saying(r"collector.stop\(\) == 0", "workers::in_order[postgresql]"),
        },
    ),
    Break(
        "what is too large is not heard out",
        ((BODIES, "_HEARD = 10\n", "_HEARD = 0\n"),),
        saying(
            "BrokenPipeError|ConnectionResetError",
            "overload::still_reads_why[sqlite-/collect-9000000]",
            "overload::still_reads_why[sqlite-/api/events-9000000]",
            "overload::still_reads_why[postgresql-/collect-9000000]",
            "overload::still_reads_why[postgresql-/api/events-9000000]",
        ),
    ),
    Break(
        "no body is too large",
        (("collector/web/browser.py", "self.limit = services.settings.body_limit", "self.limit = services.settings.body_limit * 2"),),
        saying(
            r"== \(413, ", "overload::still_reads_why[sqlite-/collect-1100000]", "overload::still_reads_why[postgresql-/collect-1100000]"
        ),
    ),
    Break(
        "whatever is sent is heard out",
        ((BODIES, "_HEARD = 10\n", "_HEARD = 1_000_000\n"), NO_TIME_LIMIT),
        saying("DID NOT RAISE|did not match", "overload::without_end[sqlite]", "overload::without_end[postgresql]"),
    ),
    Break(
        "a refusal does not say when to come back",
        (("collector/ingest/pipeline.py", 'headers=[("Retry-After", "5")]', "headers=[]"),),
        {
            "overload::full_queue[sqlite]": r"\(503, None\)",
            **saying("503 without Retry-After", "disk::under_the_file", "disk::read_only[postgresql]"),
        },
    ),
    Break(
        "a poisonous event costs its whole request",
        ((WRITER, "        if unit.work is not None or unit.whole or", "        if True or"),),
        saying(
            r"assert answers == \[\(202, EVENTS - 1|KeyError: 'accepted'",
            *(
                f"poison::{test}[{where}-{engine}]"
                for test in ("the_events_of_browsers", "the_events_of_a_server", "an_attribute")
                for engine in ("sqlite", "postgresql")
                for where in ("written apart", "written where it is served")
            ),
        ),
    ),
    Break(
        "where nothing of a request can be written it is refused",
        (
            (COMMITS, "self._joined(whole) if self._written else None", "self._bulk.joined(payload, [None, None])"),
            (COMMITS, "                        return None\n", "                        return self._bulk.joined(payload, [None, None])\n"),
        ),
        saying(
            r'== \(500, "internal"\)',
            *(
                f"poison::keeps_what_it_sent[{where}-{engine}]"
                for engine in ("sqlite", "postgresql")
                for where in ("written apart", "written where it is served")
            ),
        ),
    ),
    Break(
        "a single event of a server is written in halves",
        ((WRITER, "if unit.work is not None or unit.whole or", "if unit.work is not None or"),),
        saying(
            r'== \(500, "internal"\)',
            *(
                f"poison::brings_somebody[{where}-{engine}]"
                for engine in ("sqlite", "postgresql")
                for where in ("written apart", "written where it is served")
            ),
        ),
    ),
    Break(
        "REST may have as many requests wait as come",
        (("collector/web/rsgi.py", "_WAITING = 2 ", "_WAITING = 10**6 "),),
        saying(  # or those who wait behind others are told so when they have given up, or when the writer is given up
            r'no more answers|TimeoutError|\["writer"\] is True',
            "overload::rest_is_turned_away[sqlite]",
            "overload::rest_is_turned_away[postgresql]",
        ),
    ),
    Break(
        "a collector does not start during an outage",
        (("collector/serving.py", "        if not is_unavailable(error):\n            raise\n", "        raise\n"),),
        saying("collector ended with 1", "disk::starts_while_nothing"),
    ),
    Break(
        "a file may have two names",
        (("collector/storage/occupancy.py", "if not alone and path.exists()", "if False and path.exists()"),),
        saying("TimeoutExpired", "disk::another_name"),
    ),
    Break(
        "writer processes are never started",
        ((SERVICES, "range(threads if apart else 0)", "range(0)"),),
        saying(r"assert 0 == [12]", "writer_processes::as_many[sqlite]", "writer_processes::as_many[postgresql]"),
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
        saying("none begins in its place", "writer_processes::done_by_the_next[sqlite]", "writer_processes::done_by_the_next[postgresql]"),
    ),
    Break(
        "a writer process that ended while nobody asked is asked",
        (
            (WRITER_PROCESS, "process is None or process.poll() is not None", "process is None"),
            *NOT_AGAIN,
        ),
        saying("assert 503 == 202", "writer_processes::nobody_asked[sqlite]", "writer_processes::nobody_asked[postgresql]"),
    ),
    Break(
        "where there is no writer process nobody writes",
        ((WRITER, "            with contextlib.suppress(NoPartner):\n", "            with contextlib.nullcontext():\n"),),
        saying(
            "NoPartner",
            *(
                f"writer_processes::{test}{part}]"
                for engine in ("sqlite", "postgresql")
                for test, part in (
                    *((f"where_none_can_be_started[{engine}-", why) for why in ("no such program", "no process", "another edition")),
                    (f"number_too_large[{engine}", ""),
                    (f"what_ends_two[{engine}", ""),
                )
            ),
        ),
    ),
    Break(
        "a writer process is waited for without end",
        ((WRITER_PROCESS, "                process.kill()\n\n    def close", "                pass\n\n    def close"),),
        saying("assert 503 == 202", "writer_processes::was_stopped[sqlite]", "writer_processes::was_stopped[postgresql]"),
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
        saying(
            "they go on, and nobody is there who started them",
            "writer_processes::they_end[sqlite]",
            "writer_processes::they_end[postgresql]",
        ),
    ),
    Break(
        "a writer process does not take part in working with the file",
        ((WRITER_PROCESS, "self._occupancy.descriptors()", "()"),),
        saying("DID NOT RAISE", "writer_processes::nobody_replaces"),
    ),
    Break(
        "a writer process ends by orders, and what it was at is done by nobody",
        (
            ORDERS_FOR_WRITERS,
            *NOT_AGAIN,
        ),
        saying(
            r"statuses\[503\] == 0",
            "writer_processes::all_processes_at_once[sqlite]",
            "writer_processes::all_processes_at_once[postgresql]",
        ),
    ),
    Break(
        "a writer process makes an empty file where there is none",
        ((WRITING, "if file is not None and not file.is_file():", "if file is None and not file:"),),
        saying("DID NOT RAISE|away.db", "writer_processes::file_is_away"),
    ),
    Break(
        "a writer process keeps no books of new people",
        ((WRITING, "            self._given.now = group.left\n", "            self._given.now = 10**6\n"),),
        saying("answers.count", "writer_processes::the_bound[sqlite]", "writer_processes::the_bound[postgresql]"),
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
        saying("NoPartner", "writer_processes::cannot_be_opened[sqlite]"),
    ),
    Break(
        "bodies take no room",
        (NO_ROOM_NEEDED,),
        saying(
            "the room was never full",
            "bodies::no_room[Content-Length: 1000000-sqlite]",
            "bodies::no_room[Transfer-Encoding: chunked-sqlite]",
        ),
    ),
    Break(
        "bodies may take for ever",
        (NO_TIME_LIMIT,),
        saying("TimeoutError|timed out", "bodies::given_up"),
    ),
    Break(
        "pruning says how far it came in a commit of its own",
        (
            (
                PRUNING,
                '    tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", (found.upto, site, number))\n',
                "    _later.append((found.upto, site, number))\n",
            ),
            (
                PRUNING,
                "        moved = transact(functools.partial(_move_counted, number=number, site=site, found=found))\n",
                "        moved = transact(functools.partial(_move_counted, number=number, site=site, found=found))\n"
                "        while _later:\n"
                "            __import__('time').sleep(0.5)\n"
                "            how_far = _later.pop()\n"
                '            transact(lambda tx: tx.run("UPDATE slice_sites SET moved = ? WHERE site = ? AND slice = ?", how_far))\n',
            ),
            (PRUNING, "_LOCK = 7_", "_later: list = []\n_LOCK = 7_"),
        ),
        saying(
            "own_total ",  # says the doctor: a base is no total of anybody's, and nobody else reads it
            "killed_at_work::none_is_half_done[sqlite]",
            "killed_at_work::none_is_half_done[postgresql]",
        ),
    ),
)
