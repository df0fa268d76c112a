"""Programs that tests start, watch and end: each in a process group of its own, its output in files."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.client import Client

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 20
_PORTS = range(15_000, 32_000)
_RANDOM = random.SystemRandom()  # a property test seeds the common one, in every process alike


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now.

    Drawn from those that no system gives to connections: one of these could be taken again before it is listened on.
    """
    for port in _RANDOM.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port of 127.0.0.1 was found")


def last_lines(path: Path, count: int = 60) -> str:
    """Return the end of a log."""
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-count:]) if path.exists() else ""


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of the product, with this checkout importable, plus `extra`.

    What is compiled is kept, whatever is usual here: compiling is a third of a start, and the tests start hundreds of programs.
    """
    own = ("DATABASE_URL", "SECRET_KEY", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if name not in own and not name.startswith("LEADLIGHT_")}
    return {**environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **extra}


def members(group: int) -> list[int]:
    """Return the ids of the processes of a group that still run."""
    return [number for number, _, own in _running() if own == group]


def children(parent: int) -> list[int]:
    """Return the ids of the processes that this one started and that still run."""
    return [number for number, above, _ in _running() if above == parent]


def is_pending(number: int) -> bool:
    """Say whether a process was sent a signal that it has not heard yet."""
    lines = Path(f"/proc/{number}/status").read_text("utf-8").splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:")))


def memory(group: int) -> int:
    """Return the bytes of memory that the processes of a group hold now (resident set size)."""
    total = 0
    for number in members(group):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{number}/status").read_text("utf-8").splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    return total


def _running() -> Iterator[tuple[int, int, int]]:
    """Yield the id of each process that runs, its parent's and its group's.

    It runs until its last thread has ended: what the first one leaves to the others, such as locks of files, is still held.
    """
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()  # from the third one of proc_pid_stat(5) on
            state, parent, group, threads = fields[0], fields[1], fields[2], int(fields[17])
            if state not in "ZX" or threads > 1:
                yield int(path.parent.name), int(parent), int(group)


class Program:
    """`python -m MODULE ARGUMENTS...` in a folder, running until stopped."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self._ended = False
        self.output_file = folder / f"{name}.out"
        self.error_file = folder / f"{name}.err"
        with self.output_file.open("ab") as output, self.error_file.open("ab") as error:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env=clean_environment(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.output_file.read_text("utf-8", "replace")

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self.error_file.read_text("utf-8", "replace")

    @property
    def running(self) -> bool:
        """Tell whether it still runs."""
        return self.process.poll() is None

    def report(self, lines: int = 60) -> str:
        """Return the ends of both outputs, for a failed test."""
        output, errors = last_lines(self.output_file, lines), last_lines(self.error_file, lines)
        return f"-- {self.name}, standard output:\n{output}\n-- standard error:\n{errors}"

    def wait_for(self, url: str, path: str = "/", seconds: float = START_SECONDS) -> None:
        """Wait until an address answers with a status below 500.

        Raises:
            RuntimeError: the program ended or did not answer in time; the message holds its output.
        """
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if Client(url, timeout=5).get(path).status < 500 and self.running:
                    return
            if not self.running or time.monotonic() > deadline:
                state = "does not answer" if self.running else f"ended with {self.process.returncode}"
                self.kill()
                raise RuntimeError(f"{self.name} {state} at {url}{path}\n{self.report()}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end (SIGTERM), wait, and return its exit code; what does not end is killed.

        Raises:
            RuntimeError: it had to be killed.
        """
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._say_where_it_stands()
                self.kill()
                raise RuntimeError(f"{self.name} did not stop within {STOP_SECONDS} s\n{self.report(400)}") from None
        self.kill()  # whatever it may have left behind
        return self.process.returncode

    def _say_where_it_stands(self) -> None:
        """Have its processes write down what every thread does, and end."""
        for number in members(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGABRT)
        deadline = time.monotonic() + STOP_SECONDS
        while members(self.process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill(self) -> None:
        """End it and its children at once (SIGKILL), as a power cut would."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run_command(
    arguments: Sequence[str], folder: Path, environ: Mapping[str, str], seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m ARGUMENTS...` to its end and return what it printed; the exit code is the caller's to judge."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=clean_environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
