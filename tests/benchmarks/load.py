"""Load from wrk, and the CPU time that everybody spends meanwhile."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What came of one run: answers of 2xx, their rate (1/s), latencies in ms, CPU seconds of the client."""

    answers: int
    rate: float
    p50: float
    p99: float
    client_cpu: float


def check_wrk() -> None:
    """Make sure that there is a load generator.

    Raises:
        RuntimeError: there is none; the message says where it comes from.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("the load comes from wrk: apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)")


def run_wrk(ports: Sequence[int], bodies: Path, site_key: str, connections: int, seconds: int) -> Load:
    """Post the bodies to these ports of 127.0.0.1, one wrk for each, the connections shared out evenly.

    Of several wrks the 50th percentiles are averaged, and the worst 99th is told.

    Raises:
        RuntimeError: an answer was not 2xx, or a connection broke.
    """
    running = []
    for sender, port in enumerate(ports):
        command = ["wrk", "-t1", f"-c{connections // len(ports)}", f"-d{seconds}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"]
        environ = {**os.environ, "BODIES": str(bodies), "SITE": site_key, "SENDER": str(sender)}
        running.append(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True))
    found = []
    for process in running:
        output = process.communicate()[0]
        try:
            told = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"wrk failed ({process.returncode}):\n{output}") from None
        if told["broken"] or told["refused"]:
            raise RuntimeError(f"{told['refused']} answers were not 2xx, {told['broken']} connections broke")
        found.append(told)
    return Load(
        answers=sum(told["requests"] for told in found),
        rate=sum(told["requests"] / told["micros"] * 1e6 for told in found),
        p50=sum(told["p50"] for told in found) / len(found) / 1000,
        p99=max(told["p99"] for told in found) / 1000,
        client_cpu=sum(told["cpu"] for told in found),
    )


def cpu_seconds(*roots: int) -> float:
    """Return the CPU time that these processes and all below them have used so far, ended children included."""
    children: dict[int, list[int]] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        process = int(entry.name)
        children.setdefault(int(fields[1]), []).append(process)
        spent[process] = sum(map(int, fields[11:15]))
    found, waiting = 0, list(roots)
    while waiting:
        process = waiting.pop()
        found += spent.get(process, 0)
        waiting += children.get(process, [])
    return found / _TICKS


def cpu_of(process: int) -> float:
    """Return the CPU time that a process has used so far, without those it has started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
