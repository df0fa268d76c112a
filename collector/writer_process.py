"""What browsers sent, handed to a process that does nothing but write it (`writing`), and what passes between the two.

Serving and writing in one process take turns under the interpreter's lock, also where the machine has processors to spare.
"""

import contextlib
import fcntl
import json
import struct
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, cast

import msgspec

from collector import processes
from collector.domain.limits import NewPeople
from collector.domain.tracking import Outcome, Submission
from collector.settings import Settings
from collector.storage.database import Database
from collector.storage.faults import ElsewhereError
from collector.storage.occupancy import Occupancy
from collector.values.clock import Clock

_MODULE = "collector.writing"
_END_SECONDS = 5.0
_SIZE = struct.Struct(">I")
_PIPE_BYTES = 2**20  # what one side may write before the other reads: a group then needs few turns of the two


class Group(msgspec.Struct, frozen=True, array_like=True):
    """What is to be committed for one site, where `left` people more may be made on the word of browsers."""

    site: int
    left: int
    payloads: list[list[Submission]]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why nothing of a group was written: see `storage.faults.ElsewhereError`."""

    said: str
    unavailable: bool
    locked: bool


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a group, once it is committed; or why it is not."""

    outcomes: list[list[Outcome]] = msgspec.field(default_factory=list)
    failure: Failure | None = None


_encode = msgspec.msgpack.Encoder().encode
_group = msgspec.msgpack.Decoder(Group)
_answer = msgspec.msgpack.Decoder(Answer)


def encode_group(group: Group) -> bytes:
    """Return a group as it goes to the process: in MessagePack, or where a whole number is too large for that, in JSON."""
    try:
        return _encode(group)
    except OverflowError:
        return json.dumps(msgspec.to_builtins(group)).encode()


def decode_group(data: bytes) -> Group:
    """Return what `encode_group` was given."""
    if data.startswith(b"["):  # which no array of three is in MessagePack
        return msgspec.convert(json.loads(data), Group)
    return _group.decode(data)


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as it comes from the process."""
    return _encode(answer)


def decode_answer(data: bytes) -> Answer:
    """Return what `encode_answer` was given."""
    return _answer.decode(data)


def send(target: IO[bytes], message: bytes) -> None:
    """Write a message, its length first."""
    target.write(_SIZE.pack(len(message)))
    target.write(message)
    target.flush()


def receive(source: IO[bytes]) -> bytes | None:
    """Return the next message; None where the other side has ended, in the middle of one too."""
    head = source.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    message = source.read(size)
    return message if len(message) == size else None


class WriterProcess:
    """A `storage.commits.Partner`. One thread at a time has something committed; anyone may close it.

    A process that ended is started anew for the next group. Whether what it was at was committed, nobody can know then; ids tell.
    """

    def __init__(self, settings: Settings, database: Database, occupancy: Occupancy, clock: Clock, new_people: NewPeople) -> None:
        self._settings = settings
        self._database = database
        self._occupancy = occupancy
        self._clock = clock
        self._new_people = new_people
        self._lock = threading.Lock()
        self._closed = False
        self._process = self._started()

    def commit(self, site: int, payloads: Sequence[list[Submission]]) -> list[list[Outcome]]:
        """Have submissions of one site written in one transaction and return their outcomes once they are committed.

        Raises:
            ElsewhereError: they are not, or nobody knows; it says why.
            Replaced: the database's file was replaced under this process, which another process would not notice.
        """
        self._database.check_place()
        data = encode_group(Group(site, self._new_people.left(site, self._clock()), list(payloads)))
        self._hand_over(data)
        received = receive(_out(self._process))
        if received is None:
            raise ElsewhereError("the writer process has ended", unavailable=True)
        answer = decode_answer(received)
        if answer.failure is not None:
            raise ElsewhereError(answer.failure.said, unavailable=answer.failure.unavailable, locked=answer.failure.locked)
        self._new_people.book(site, self._clock(), sum(outcome.made for outcomes in answer.outcomes for outcome in outcomes))
        return answer.outcomes

    def pid(self) -> int:
        """Return the id of the process, which may have ended."""
        return self._process.pid

    def close(self) -> None:
        """End the process; what it is at is given up after a while."""
        with self._lock:
            self._closed = True
            self._end(_END_SECONDS)

    def _hand_over(self, data: bytes) -> None:
        """Send a group, to a new process where the last one is gone: what was not read whole was not begun."""
        try:
            send(_in(self._process), data)
        except (OSError, ValueError):  # nobody reads; or its pipe is closed
            try:
                self._start_anew()
                send(_in(self._process), data)
            except OSError as error:
                raise ElsewhereError(f"the writer process cannot be started: {error.strerror}", unavailable=True) from None

    def _start_anew(self) -> None:
        with self._lock:
            if self._closed:
                raise ElsewhereError("the collector ends", unavailable=True)
            self._end(0)
            self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with processes.orders_held():  # it ends when its work does: whoever orders all processes at once to end would cost what is queued
            process = processes.start(_MODULE, self._occupancy.descriptors())
        for pipe in (_in(process), _out(process)):
            if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux; elsewhere, and where the system gives no more, it goes by smaller pieces
                with contextlib.suppress(OSError):
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with contextlib.suppress(BrokenPipeError):  # the next group finds that out
            send(_in(process), msgspec.json.encode(self._settings))
        return process

    def _end(self, seconds: float) -> None:
        with contextlib.suppress(OSError):
            _in(self._process).close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _out(self._process).close()


def _in(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdin)


def _out(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", process.stdout)


class Allowance(NewPeople):
    """How many people more a group may make, as whoever sends it says, who keeps the books."""

    def __init__(self) -> None:
        super().__init__(0)
        self.now = 0

    def left(self, site: int, now_ms: int) -> int:  # noqa: ARG002 (of one site, now)
        """Return how many."""
        return self.now

    def book(self, site: int, now_ms: int, made: int) -> None:
        """Leave that to whoever sent the group."""
