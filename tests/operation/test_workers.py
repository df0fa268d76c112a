"""Several processes of one collector on one address: on PostgreSQL they share the work and end together."""

import math
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.envelopes import envelope, new_event
from tests.support.load import Load, check_ledger
from tests.support.servers import Collector

pytestmark = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
WORKERS = 3
KILLS = 3
YOUNG_SECONDS = 5
"""A worker that dies again sooner is taken for one that crashes over and over: then the server ends, for whoever supervises it."""


@pytest.fixture
def collector(start_collector: Callable[..., Collector]) -> Collector:
    """All of whose workers serve: the first answers while others are still at their start."""
    started = start_collector(settings={"LEADLIGHT_WORKERS": str(WORKERS)})
    wait_for_all(started)
    return started


def wait_for_all(collector: Collector, without: int = 0) -> None:
    """Wait until there are as many workers as there have to be, beside one that died, and all listen; each has a socket of its own."""
    deadline = time.monotonic() + 60
    while (counts := (len(workers(collector) - {without}), listeners(collector.port))) != (WORKERS, WORKERS):
        assert time.monotonic() < deadline, f"some are missing: {counts}"
        assert collector.program.running, f"some are missing: {counts}"
        time.sleep(0.1)


def listeners(port: int) -> int:
    """How many sockets listen on a port (proc(5): the local address is the second field, the state the fourth)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(fields[3] == "0A" and fields[1].endswith(f":{port:04X}") for fields in lines)


def workers(collector: Collector) -> set[int]:
    """The process ids of those that serve; Python's own helper among the children is none."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(collector.program.process.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # it fails where there are none
    return {int(line.split()[0]) for line in done.stdout.splitlines() if "collector" in line}


def test_they_take_what_comes_once_and_end_in_order(collector: Collector) -> None:
    def send(_: int) -> int:
        lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
        client = Client(collector.url)
        answers = [client.post_json("/collect", envelope(collector.site_key, lead, new_event("worked"))) for _ in range(5)]
        return sum(answer.json["accepted"] for answer in answers)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(send, range(40))) == 200
    counted = collector.client.api("GET", "/events/top?event_name=worked&per_page=150").json["data"]
    assert [one["count"] for one in counted] == [5] * 40
    assert collector.stop() == 0


def test_whoever_kills_one_loses_and_doubles_nothing_and_it_is_replaced(collector: Collector, often: Callable[[int], int]) -> None:
    """Others go on meanwhile, with the same people: everybody has several connections, which lead to one worker or another."""
    load = Load(collector, others=[collector] * (WORKERS - 1))
    replaced = dict.fromkeys(workers(collector), -math.inf)
    for _ in range(often(KILLS)):
        load.wait_for_acknowledged(random.randint(1, 200))
        while not (grown := [number for number, at in replaced.items() if time.monotonic() - at > YOUNG_SECONDS]):
            load.wait_for_acknowledged(1)
        killed = random.choice(grown)
        os.kill(killed, signal.SIGKILL)
        load.wait_for_everybody(202)
        wait_for_all(collector, without=killed)
        del replaced[killed]
        replaced |= dict.fromkeys(workers(collector) - replaced.keys() - {killed}, time.monotonic())
    load.finish()
    assert load.lost.total() > 0, load.summary()
    assert load.statuses[503] == load.lost["TimeoutError"] == 0, load.summary()
    check_ledger(collector, load)
