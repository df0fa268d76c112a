"""The process that writes what browsers sent: reads groups from standard input and answers each once it is committed.

It keeps nothing that is not in the database or still unanswered, so that whoever kills it loses nothing. It ends when nobody gives it
work any more, and not by orders, which whoever started it obeys: what that one has queued is still to be written.
"""

import os
import sys

import msgspec

from collector import processes
from collector.domain.identities import Maker
from collector.domain.names import Names
from collector.domain.secrets import Keyring
from collector.domain.tracking import Ledger
from collector.ingest.failures import described
from collector.settings import Settings
from collector.storage.commits import commit
from collector.storage.database import Database
from collector.storage.faults import is_locked, is_unavailable, reason
from collector.storage.slices import Slices
from collector.values.clock import system_clock
from collector.values.ids import RowIds
from collector.writer_process import Allowance, Answer, Failure, Group, decode_group, encode_answer, receive, send

_CONNECTIONS = 2  # one that writes, one that allocates names meanwhile


class Pen:
    """Writes groups."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowance = Allowance()
        self._opened: tuple[Database, Ledger] | None = None
        self._fault = ""

    def open(self) -> None:
        """Open the database, unless it is; where that fails, each group tries again and hears why."""
        try:
            self._opened = self._opened or self._open()
        except Exception as error:  # whatever it is: nothing can be written now
            self._fault = reason(error)

    def write(self, group: Group) -> Answer:
        """Commit a group, and say what became of it."""
        self.open()
        if self._opened is None:
            return Answer(failure=Failure(self._fault, unavailable=True, locked=False))
        database, ledger = self._opened
        self._allowance.now = group.left
        try:
            outcomes, _ = commit(database, ledger, group.site, group.payloads)
        except Exception as error:  # somebody waits for an answer
            unavailable = is_unavailable(error)
            return Answer(failure=Failure(reason(error) if unavailable else described(error), unavailable, is_locked(error)))
        return Answer(outcomes)

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened[0].close()

    def _open(self) -> tuple[Database, Ledger]:
        settings = self._settings
        database = Database(settings.database_url, connections=_CONNECTIONS)
        names = Names(database, database, settings.new_names_per_day)
        maker = Maker(RowIds(), Keyring(settings.secret_key))
        return database, Ledger(database, Slices(database, settings.retention), names, maker, system_clock, self._allowance)


def main() -> None:
    """Do what standard input says."""
    processes.log_to_standard_error()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    first = receive(source)
    if first is None:
        return
    pen = Pen(msgspec.json.decode(first, type=Settings))
    pen.open()  # before anybody waits
    processes.look_for_garbage_seldom()
    try:
        while (data := receive(source)) is not None:
            send(target, encode_answer(pen.write(decode_group(data))))
    except BrokenPipeError:  # whoever asked is gone
        os._exit(1)
    finally:
        pen.close()


if __name__ == "__main__":
    main()
