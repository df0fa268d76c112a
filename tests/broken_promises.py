"""Breaks of the promise itself, that what is acknowledged is stored for good and once: which crash tests have to notice which."""

from dataclasses import dataclass

DATABASE = "collector/storage/database.py"
POOLS = "collector/storage/pools.py"
WRITER = "collector/storage/writer.py"
COMMITS = "collector/storage/commits.py"
WRITING = "collector/writing.py"
WRITER_PROCESS = "collector/writer_process.py"
TRACKING = "collector/domain/tracking.py"

Edit = tuple[str, str, str]
"""A file, a text that stands there once, and what is put in its place."""


@dataclass(frozen=True)
class Break:
    """What is broken, by which edits, and which tests have to fail: by `module::part of the name`, a pattern of what each says then."""

    name: str
    edits: tuple[Edit, ...]
    tests: dict[str, str]


def saying(said: str, *tests: str) -> dict[str, str]:
    """Return tests that all say the same."""
    return dict.fromkeys(tests, said)


LOST = r"acknowledged events are lost"
ACTS = (
    r"0 (merges in the journal|identities of)|show: 200|(describe|merge|undo): 404|delete: 410|that nobody deleted is unknown"
    r"|life\.(place|journal|plans|members)|acknowledged, and lost"
)
"""What `acting` says where an act is lost, or an event that came between two: it looks before the ledger is checked."""
IN_VAIN = r"waited in vain for \d+ answers with status 503"


def answered_before_commit(then: str = "", *, when: str = "") -> tuple[Edit, ...]:
    """Edits by which everybody is answered when all is written and nothing committed, and something is done in between.

    Whoever writes answers, in a process of its own or in the one that serves. Where `when` is given, a group is answered so
    where that holds: of its acts of REST (`works`), and of how often it was asked before (`next(turns)`).
    """
    last = "                done = [_behind_savepoint(tx, work) for work in works]\n"
    tell = "                tell(written, done)\n"
    given = "tell=lambda *_: None"
    if when:
        given += ", turns=__import__('itertools').count()"
        tell = f"                if {when}:\n    {tell}"
        then = f"    {then}" if then else ""
    returned = (
        "        written, done = commit(self._database, self._bulk, site, payloads, works)\n"
        "        return [(written.pop(), None) if unit.work is None else done.pop() for unit in reversed(group)][::-1]\n"
    )
    return (
        (COMMITS, "works: Sequence[Work] = ()\n) ->", f"works: Sequence[Work] = (), {given}\n) ->"),
        (COMMITS, last, last + tell + then),
        (
            WRITER,
            returned,
            "        def results(*of):\n"
            "            written, done = map(iter, of)\n"
            "            return [(next(written), None) if unit.work is None else next(done) for unit in group]\n\n"
            "        tell = lambda *of: self._answer(group, results(*of))\n"
            "        return results(*commit(self._database, self._bulk, site, payloads, works, tell))\n",
        ),
        (WRITING, "def write(self, data: bytes) -> Answer:", "def write(self, data: bytes, tell=lambda _: None) -> Answer:"),
        (
            WRITING,
            "commit(database, ledger, group.site, group.payloads)",
            "commit(database, ledger, group.site, group.payloads, (), lambda found, _: tell(Answer(found)))",
        ),
        (
            WRITING,
            "            voice.answer(pen.write(data))\n",
            "            sent = []\n"
            "            answer = pen.write(data, lambda early: sent or (sent.append(1), voice.answer(early)))\n"
            "            if not sent:\n                voice.answer(answer)\n",
        ),
    )


def answered_when_taken(every: int, then: str = "") -> tuple[Edit, ...]:
    """Edits by which each of so many groups of events is answered before it is written, as if all of it were new; acts are not.

    Where all are, nobody is ever turned away.
    """
    return (
        (WRITER, "_GATHER_SECONDS = 0.002\n", f"_GATHER_SECONDS = 0.002\n_TURNS = __import__('itertools').cycle(range({every}))\n"),
        (
            WRITER,
            "        try:\n            results = self._attempt(place, group)\n",
            "        from collector.domain.submissions import Outcome\n\n"
            "        if next(_TURNS) == 0:\n"
            "            early = [unit for unit in group if unit.work is None]\n"
            "            made_up = lambda one: Outcome(events=[True] * len(one.events), reports=[True] * len(one.reports))\n"
            "            self._answer(early, [([made_up(one) for one in unit.payload], None) for unit in early])\n"
            f"{then}"
            "        try:\n            results = self._attempt(place, group)\n",
        ),
    )


A_MOMENT = "__import__('time').sleep(0.05)\n"
ORDERS_FOR_WRITERS: Edit = (
    WRITER_PROCESS,
    "with processes.orders_held((*processes.ORDERS, *processes.HANGING_UP)):",
    "with contextlib.nullcontext():",
)

PROMISES = (
    Break(
        "SQLite does not sync its log",
        ((DATABASE, '"synchronous": 2,', '"synchronous": 0,'),),
        {
            # The schema is lost as well, or what is left is no database.
            **saying(
                rf"{LOST}|no such table: events|malformed|not a database",
                "durability::power_cut[who serves]",
                "durability::power_cut[who only writes]",
            ),
            **saying(r"\['wal', 0\]", "durability::for_good[sqlite-who serves]", "durability::for_good[sqlite-who only writes]"),
        },
    ),
    Break(
        "PostgreSQL does not wait for its log",
        ((POOLS, 'WRITING_IN_A_HURRY = f"{WRITING};', 'WRITING_IN_A_HURRY = f"{WRITING}; SET LOCAL synchronous_commit = off;'),),
        {
            **saying(r"\['off', ", "durability::for_good[postgresql-who serves]", "durability::for_good[postgresql-who only writes]"),
            **saying(rf"{LOST}|{ACTS}", "outages::killed", "failover::died"),
            # Nobody is asked to wait for the standby, and so is everybody acknowledged without it.
            **saying(IN_VAIN, "failover::gone_and_comes_back", "failover::a_collector_ends"),
        },
    ),
    Break(
        "answered before the commit",
        answered_before_commit(),
        {
            **saying(LOST, "durability::power_cut[who serves]", "outages::forgets_to_tell"),
            **saying(
                "acknowledged before the commit",
                *(
                    f"killed_in_a_commit::{test}[{engine}]"
                    for test in ("events_of_a_browser", "a_merge")
                    for engine in ("sqlite", "postgresql")
                ),
            ),
        },
    ),
    Break(
        "events are answered before the commit",
        answered_before_commit(when="not works"),
        {"outages::before the server has it": rf"{LOST}|{ACTS}"},
    ),
    Break(
        "answered before a slow commit",
        answered_before_commit(f"                {A_MOMENT}"),
        saying(
            LOST,
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
        {
            "durability::kills[sqlite]": r"503: \d|database is locked",  # the next of them may not even come to serve
            **saying(r"503: \d", "durability::kills[postgresql]", "workers::kills[postgresql]"),
        },
    ),
    Break(
        "a worker that died is not replaced",
        (("collector/serving.py", "respawn_failed_workers=settings.workers > 1", "respawn_failed_workers=False"),),
        saying("waited in vain for an answer 202 for everybody|some are missing", "workers::kills[postgresql]"),
    ),
    Break(
        "answered a moment before it is handed over",  # whoever writes would still commit it, if it had it
        answered_when_taken(1, f"        {A_MOMENT}"),
        saying(LOST, "writer_processes::they_end[sqlite]", "writer_processes::they_end[postgresql]"),
    ),
    Break(
        "acts are answered before a slow commit",  # but for those that make the users: who makes one is told how it is stored
        answered_before_commit(f"                {A_MOMENT}", when="works and next(turns) >= 3"),
        saying(
            ACTS,  # whoever was told so looks, and it is not there
            "killed_at_work::none_is_half_done[sqlite]",
            "killed_at_work::none_is_half_done[postgresql]",
            "outages::killed",
            "disk::under_the_file",
            "failover::died",
        ),
    ),
    Break(
        "answered when it is taken",
        answered_when_taken(1),
        saying(r"isinstance\(sent\.exception\(\), Overloaded\)", "disk::middle"),
    ),
    Break(
        "every other group is answered when it is taken",
        answered_when_taken(2),
        {
            **saying(rf"{LOST}|{ACTS}", "outages::killed", "disk::under_the_file", "disk::under_the_tables", "failover::died"),
            **saying(
                LOST,
                *(f"outages::{test}" for test in ("at_random", "falls_silent", "no_connections")),
                *(f"disk::{test}" for test in ("disk_of_its_file", "disk_of_its_tables", "ends_the_server")),
                *(f"disk::{test}" for test in ("read_only[sqlite]", "read_only[postgresql]")),
                *(f"disk::{test}" for test in ("starts_while_nothing", "another_takes_the_place")),
                "failover::is_the_standby_now",
            ),
        },
    ),
    Break(
        "what was answered when it was taken is dropped by a shutdown",
        (
            *answered_when_taken(1, f"        {A_MOMENT}"),
            (WRITER, "            while thread.is_alive() and not self._is_late(self._began[place]):\n", "            while False:\n"),
        ),
        saying(LOST, "durability::in_order[sqlite]", "durability::in_order[postgresql]"),
    ),
    Break(
        "a writer process ends by orders, and has answered before a slow commit",
        (ORDERS_FOR_WRITERS, *answered_before_commit(f"                {A_MOMENT}")),
        saying(LOST, "writer_processes::all_processes_at_once[sqlite]", "writer_processes::all_processes_at_once[postgresql]"),
    ),
    Break(
        "what a signed-in browser sends is its lead's",
        (
            (
                TRACKING,
                "        identity, not_before, client = owner.id,",
                "        owner = owner if submission.lead is None else self.identities[submission.lead.key]\n"
                "        identity, not_before, client = owner.id,",
            ),
        ),
        saying("sent, and stored", "durability::kills[sqlite]", "durability::kills[postgresql]"),
    ),
    Break(
        "duplicates are counted",
        ((TRACKING, "            counted += new.values()", "            counted += rows"),),
        {
            "outages::before its answer arrives": r"own_totals\(connection\)",
            # Whoever is killed at random need not have left anything behind that was committed and not answered.
            **saying("== counts", "killed_in_a_commit::events_of_a_browser[sqlite]", "killed_in_a_commit::events_of_a_browser[postgresql]"),
        },
    ),
)
