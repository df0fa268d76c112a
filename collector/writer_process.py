"""What browsers sent, handed to a process that does nothing but write it (`writing`), and what passes between the two.

Serving and writing in one process take turns under the interpreter's lock, also where the machine has processors to spare.
"""

import contextlib
import fcntl
import logging
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, cast

import msgspec

from collector import processes
from collector.domain.limits import NewPeople
from collector.domain.submissions import Outcome, Submission
from collector.settings import Settings
from collector.storage.commits import NoPartner
from collector.storage.database import Database
from collector.storage.faults import ElsewhereError
from collector.storage.occupancy import Occupancy
from collector.values.clock import Clock

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a process may say nothing, at its beginning too. While it is at work it gives a sign of life, an empty message, each second."""

_MODULE = "collector.writing"
_END_SECONDS = 5.0
_REST_SECONDS = 30.0  # after a process that did not come to life
_ATTEMPTS = 2
_SIZE = struct.Struct(">Q")
_LARGEST = 2**32  # of a message, in bytes: what says more is none
_PIPE_BYTES = 2**20  # what one side may write before the other reads: a group then needs few turns of the two


class Beginning(msgspec.Struct, frozen=True):
    """What a process hears first: the settings, and which files of this program whoever speaks was started from."""

    edition: str
    settings: Settings


class Group(msgspec.Struct, frozen=True, array_like=True):
    """What is to be committed for one site, where `left` people more may be made on the word of browsers."""

    site: int
    left: int
    payloads: list[list[Submission]]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why nothing of a group was written: see `storage.faults.ElsewhereError`."""

    said: str
    unavailable: bool
    locked: bool = False
    of_data: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a group, once it is committed; or why it is not. The first one only says that the process is there."""

    outcomes: list[list[Outcome]] = msgspec.field(default_factory=list)
    failure: Failure | None = None


encode = msgspec.msgpack.Encoder().encode
decode_beginning = msgspec.msgpack.Decoder(Beginning).decode
decode_group = msgspec.msgpack.Decoder(Group).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def send(target: IO[bytes], message: bytes) -> None:
    """Write a message, its length first."""
    target.write(_SIZE.pack(len(message)))
    target.write(message)
    target.flush()


def receive(source: IO[bytes]) -> bytes | None:
    """Return the next message; None where the other side has ended, in the middle of one too, or says what is no message."""
    head = source.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    if size > _LARGEST:
        return None
    message = source.read(size)
    return message if len(message) == size else None


class WriterProcess:
    """A `storage.commits.Partner`. One thread at a time has something committed; anyone may close it.

    What a process was at that ended is done again by the next one, in which ids tell what was committed already.
    """

    def __init__(self, settings: Settings, database: Database, occupancy: Occupancy, clock: Clock, new_people: NewPeople) -> None:
        self._beginning = encode(Beginning(processes.EDITION, settings))
        self._database = database
        self._occupancy = occupancy
        self._clock = clock
        self._new_people = new_people
        self._lock = threading.Lock()
        self._closed = False
        self._since: float | None = None
        """When the process was given what is being waited for, or gave its last sign of life, on the monotonic clock."""
        self._alive = False
        """Whether the process has been heard."""
        self._rests_until = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(NoPartner):
            self._start()

    def commit(self, site: int, payloads: Sequence[list[Submission]]) -> list[list[Outcome]]:
        """Have submissions of one site written in one transaction and return their outcomes once they are committed.

        Raises:
            ElsewhereError: they are not, or nobody knows; it says why.
            NoPartner: no process is to be had, or the message to it cannot hold what is to be written. A process that ended may have
                committed it, which whoever commits it then finds out by the ids.
            Replaced: the database's file was replaced under this process, which another process would not notice.
        """
        self._database.check_place()
        try:
            data = encode(Group(site, self._new_people.left(site, self._clock()), list(payloads)))
        except OverflowError as error:  # a whole number of more than 64 bits
            raise NoPartner from error
        try:
            answer = self._exchange(data)
        finally:
            self._since = None
        self._database.check_place()
        if answer.failure is not None:
            failure = answer.failure
            raise ElsewhereError(failure.said, unavailable=failure.unavailable, locked=failure.locked, of_data=failure.of_data)
        self._new_people.book(site, self._clock(), sum(outcome.made for outcomes in answer.outcomes for outcome in outcomes))
        return answer.outcomes

    def watch(self) -> None:
        """Give up a process that has said nothing for too long, as one that was stopped. Whatever waits for the database gives signs."""
        with self._lock:
            since, process = self._since, self._process
            if since is not None and process is not None and time.monotonic() - since >= PATIENCE_SECONDS:
                self._since = None  # until the next one begins
                log.warning("a writer process has given no sign of life for %d s", PATIENCE_SECONDS)
                process.kill()

    def close(self) -> None:
        """End the process. What it still is at is given up: whoever closes it has waited for that."""
        with self._lock:
            self._closed = True
            if self._since is not None and self._process is not None:  # whoever waits for it may do so in the midst of writing
                self._process.kill()
            self._end(_END_SECONDS)

    def _exchange(self, data: bytes) -> Answer:
        """Send a group and return the answer, from the next process where one ends over it; not from a third one."""
        for _ in range(_ATTEMPTS):
            self._since = time.monotonic()
            process = self._living()
            try:
                with contextlib.suppress(BrokenPipeError):  # then there is nothing to be received either
                    send(_in(process), data)
                received = self._received(process)
                answer = None if received is None else decode_answer(received)
            except BaseException:
                process.kill()  # what it may still say would be taken for the answer to the next group
                process.wait()
                raise
            if answer is not None:
                return answer
            process.kill()
            log.warning("a writer process has ended (%d); the next one does again what it was at", process.wait())
        self._check_open()
        self._rest("two ended over one group")
        raise NoPartner

    def _received(self, process: subprocess.Popen[bytes]) -> bytes | None:
        while (received := receive(_out(process))) == b"":
            self._since = time.monotonic()
        return received

    def _living(self) -> subprocess.Popen[bytes]:
        """Return a process that has been heard."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        if not self._alive:
            self._alive = receive(_out(process)) is not None
            if not self._alive:
                process.kill()
                self._rest(f"it ended ({process.wait()}) before it was heard; its last words stand above")
                self._check_open()
                raise NoPartner
        return process

    def _check_open(self) -> None:
        if self._closed:
            raise ElsewhereError("the collector ends", unavailable=True)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            self._check_open()
            if time.monotonic() < self._rests_until:
                raise NoPartner
            self._end(0)
            self._alive = False
            try:
                # It ends when its work does: whoever orders all processes at once to end would cost what is queued.
                with processes.orders_held((*processes.ORDERS, *processes.HANGING_UP)):
                    process = self._process = processes.start(_MODULE, self._occupancy.descriptors())
            except OSError as error:
                self._rest(str(error.strerror))
                raise NoPartner from error
            for pipe in (_in(process), _out(process)):
                if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux; elsewhere, and where the system gives no more, it goes by smaller pieces
                    with contextlib.suppress(OSError):
                        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            with contextlib.suppress(BrokenPipeError):  # whoever listens for it finds that out
                send(_in(process), self._beginning)
            return process

    def _rest(self, why: str) -> None:
        log.warning("this process writes for the next %d s, since a writer process does not work: %s", _REST_SECONDS, why)
        self._rests_until = time.monotonic() + _REST_SECONDS

    def _end(self, seconds: float) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            _in(process).close()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _out(process).close()


def _in(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdin)


def _out(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdout)
