"""The process of one simulation: reads its task from standard input, and the database; writes lines of JSON and nothing else.

It gives way to whoever serves, and ends with whoever started it.
"""

import os
import sys
import threading

import msgspec

from collector import processes
from collector.domain.auto_messages import AutoMessages
from collector.domain.names import Names
from collector.domain.secrets import Keyring
from collector.domain.simulation import Result, scene_of, simulate
from collector.domain.sites import Sites
from collector.ingest.failures import log_failure
from collector.simulations import Task
from collector.storage.database import Database
from collector.values.ids import RowIds

_NICENESS = 10
_TICK_SECONDS = 1.0


class Voice:
    """Says how far the work is, each second, from a thread of its own; and what came of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.progress = 0
        threading.Thread(target=self._tick, name="progress", daemon=True).start()

    def note(self, progress: int) -> None:
        """Note how much is done, in whole percent."""
        self.progress = progress

    def end(self, said: object) -> None:
        """Say the last thing."""
        with self._lock:
            self._done.set()
            self._say(said)

    def _tick(self) -> None:
        while not self._done.is_set():
            with self._lock:
                if not self._done.is_set():
                    self._say({"progress": self.progress})
            self._done.wait(_TICK_SECONDS)

    def _say(self, said: object) -> None:
        """Say it; whoever does holds the lock."""
        try:
            os.write(1, msgspec.json.encode(said) + b"\n")
        except BrokenPipeError:  # nobody listens any more
            os._exit(1)


def run(task: Task, voice: Voice) -> Result:
    """Do the task.

    Raises:
        LookupError: the message is gone.
    """
    settings, row_ids = task.settings, RowIds()
    database = Database(settings.database_url, connections=2, as_it_is=True)
    try:
        messages = AutoMessages(database, row_ids)
        site = Sites(database, Keyring(settings.secret_key), row_ids).by_id(task.site)
        with database.read() as connection:
            message = messages.get(connection, task.site, task.message)
        if site is None or message is None:
            raise LookupError(task.message)
        others = list(messages.live(task.site).messages)
        scene = scene_of(database, site, message, others, task.days, task.now, settings.retention)
        return simulate(database, Names(database, database, 0), scene, voice.note)
    finally:
        database.close()


def main() -> None:
    """Do what standard input says."""
    processes.log_to_standard_error()
    os.nice(_NICENESS)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    voice = Voice()
    try:
        result = run(task, voice)
    except Exception as error:  # whatever it is, the run has to have an end that is said
        log_failure("of a simulation", error)
        voice.end({"error": True})
        sys.exit(1)
    voice.end({"result": msgspec.to_builtins(result)})


if __name__ == "__main__":
    main()
