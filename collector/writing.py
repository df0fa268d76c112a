"""The process that writes what browsers sent: reads groups from standard input and answers each once it is committed.

It keeps nothing that is not in the database as well, but for what it is at, so that whoever kills it loses nothing. It ends when nobody
gives it work any more, and not by orders, which whoever started it obeys: what that one has queued is still to be written.
"""

import contextlib
import os
import sys
import threading
import time
from typing import IO

from collector import processes
from collector.domain.identities import Maker
from collector.domain.names import Names
from collector.domain.secrets import Keyring
from collector.domain.tracking import Ledger
from collector.ingest.failures import described
from collector.settings import Settings
from collector.storage.commits import commit
from collector.storage.database import Database
from collector.storage.faults import Replaced, is_locked, is_of_data, is_unavailable, reason
from collector.storage.occupancy import file_of
from collector.storage.slices import Slices
from collector.values.clock import system_clock
from collector.values.ids import RowIds
from collector.writer_process import Answer, Failure, decode_beginning, decode_group, encode, receive, send

_SIGN_SECONDS = 1.0


class Given:
    """How many people more a group may make (a `limits.Bound`), as whoever sends it says, who keeps the books."""

    def __init__(self) -> None:
        self.now = 0

    def left(self, site: int, now_ms: int) -> int:  # noqa: ARG002 (of the site of the group, now)
        """Return how many."""
        return self.now

    def book(self, site: int, now_ms: int, made: int) -> None:
        """Leave that to whoever sent the group."""


class Pen:
    """Writes groups."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._given = Given()
        self._opened: tuple[Database, Ledger] | None = None
        self._fault = ""

    @property
    def database(self) -> Database | None:
        """The database, where it is open."""
        return None if self._opened is None else self._opened[0]

    def open(self) -> None:
        """Open the database, unless it is; where that fails, each group tries again and hears why."""
        try:
            self._opened = self._opened or self._open()
        except Exception as error:  # whatever it is: nothing can be written now
            self._fault = reason(error)

    def write(self, data: bytes) -> Answer:
        """Commit a group, and say what became of it."""
        self.open()
        if self._opened is None:
            return Answer(failure=Failure(self._fault, unavailable=True))
        database, ledger = self._opened
        try:
            group = decode_group(data)
            self._given.now = group.left
            outcomes, _ = commit(database, ledger, group.site, group.payloads)
        except Exception as error:  # somebody waits for an answer
            if isinstance(error, Replaced):  # what it has open is not to be written to any more; the file may come back
                self.close()
            unavailable = is_unavailable(error)
            said = reason(error) if unavailable else described(error)
            return Answer(failure=Failure(said, unavailable, is_locked(error), is_of_data(error)))
        return Answer(outcomes)

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _open(self) -> tuple[Database, Ledger]:
        settings = self._settings
        file = file_of(settings.database_url)
        if file is not None and not file.is_file():  # an empty one would be made in its place
            raise FileNotFoundError(file)
        database = Database(settings.database_url, connections=1)
        names = Names(database, database, settings.new_names_per_day)
        maker = Maker(RowIds(), Keyring(settings.secret_key))
        return database, Ledger(database, Slices(database, settings.retention), names, maker, system_clock, self._given)


class Voice:
    """Gives answers, and signs of life while one is waited for: a commit may take long, but a process that was stopped is to be noticed."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._at_work = False
        threading.Thread(target=self._live, name="signs of life", daemon=True).start()

    def begin(self) -> None:
        """Begin what ends with an answer."""
        with self._lock:
            self._at_work = True

    def answer(self, answer: Answer) -> None:
        """Give an answer.

        Raises:
            BrokenPipeError: nobody waits for it any more.
        """
        with self._lock:
            self._at_work = False
            send(self._target, encode(answer))

    def _live(self) -> None:
        while True:
            time.sleep(_SIGN_SECONDS)
            with self._lock, contextlib.suppress(BrokenPipeError):  # whoever gives the answer finds that out
                if self._at_work:
                    send(self._target, b"")


def main() -> None:
    """Do what standard input says."""
    processes.log_to_standard_error()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    first = receive(source)
    if first is None:
        return
    beginning = decode_beginning(first)
    if beginning.edition != processes.EDITION:
        raise SystemExit("another version was installed while the collector serves: start it anew")
    pen = Pen(beginning.settings)
    pen.open()  # before anybody waits
    processes.look_for_garbage_seldom()
    try:
        voice = Voice(target)
        voice.answer(Answer())
        while (data := receive(source)) is not None:
            voice.begin()
            voice.answer(pen.write(data))
            del data  # or it would stay until the next one has come
    except BrokenPipeError:  # whoever asked is gone
        os._exit(1)
    finally:
        pen.close()


if __name__ == "__main__":
    main()
