"""Durable single-event posts, side by side with a bare Flask 204 on the same server in the same run.

    python tests/benchmarks/collect.py [--connections 32] [--seconds 8] [--rounds 3] [--database-url URL]

Needs `wrk` (Debian: apt-get install wrk). Each round measures both, one after the other; the figure to quote is the median of the
rounds' ratios, because the machine's speed drifts. Every post is a new event of one of a thousand returning visitors, answered
after its commit; afterwards the events stored are compared with the answers counted.
"""

import argparse
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from flask import Flask

LEADS = 1_000
BODIES = 60_000

LUA = """
local bodies, n = {}, 0
for line in io.lines(os.getenv("BODIES")) do n = n + 1; bodies[n] = line end
local threads, at = 0, 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function init(args) at = id * math.floor(n / 2) end
function request()
  at = at % n + 1
  return wrk.format("POST", nil, {["Content-Type"] = "text/plain;charset=UTF-8", ["Origin"] = "http://localhost"}, bodies[at])
end
"""


def bare() -> Flask:
    """What there is to compare with: a Flask view that reads the body and answers 204."""
    app = Flask(__name__)

    @app.post("/collect")
    def collect() -> tuple[str, int]:
        from flask import request

        request.get_data()
        return "", 204

    return app


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--seconds", type=int, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--database-url", default=None)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios = []
        for number in range(given.rounds):
            place = Path(folder) / str(number)
            place.mkdir()
            ours, stored = measure_collector(place, given)
            flask = measure_bare(place, given)
            ratios.append(ours / flask)
            print(f"round {number + 1}: {ours:8.0f} durable posts/s   {flask:8.0f} bare Flask 204/s   ratio {ours / flask:.2f}   {stored}")
        print(f"median ratio with {given.connections} connections: {statistics.median(ratios):.2f}")


def measure_collector(folder: Path, given: argparse.Namespace) -> tuple[float, str]:
    environ = {**os.environ, "DATABASE_URL": given.database_url or f"sqlite:///{folder / 'leadlight.db'}"}
    command = [sys.executable, "-m", "collector"]
    made = subprocess.run(
        [*command, "init", "--site", "Bench", "--origin", "http://localhost", "--json"],
        env=environ,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    site = json.loads(made.stdout)
    bodies = folder / "bodies.txt"
    visitors = [Visitor() for _ in range(LEADS)]
    bodies.write_text("\n".join(body(site["site_key"], visitors[n % LEADS]) for n in range(BODIES)))
    port = free_port()
    server = subprocess.Popen([*command, "serve", "--port", str(port)], env=environ, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, "/healthz")
        rate, answers = run_wrk(port, bodies, folder, given)
        stored = json.loads(
            subprocess.run([sys.executable, "-c", COUNT], env=environ, cwd=folder, capture_output=True, check=True, text=True).stdout
        )
        return rate, f"{answers} answers, {stored} events stored"
    finally:
        server.terminate()
        server.wait()


COUNT = """
import os
from collector.storage.database import Database
database = Database(os.environ["DATABASE_URL"])
with database.read() as connection:
    print(connection.value("SELECT count(*) FROM events"))
"""


def measure_bare(folder: Path, given: argparse.Namespace) -> float:
    port = free_port()
    command = ["granian", "--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", "64", "--backlog", "2048"]
    command = [sys.executable, "-m", *command, "--port", str(port), "collect:bare"]
    server = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, "/")
        return run_wrk(port, folder / "bodies.txt", folder, given)[0]
    finally:
        server.terminate()
        server.wait()


class Visitor:
    """A browser in the middle of a visit."""

    def __init__(self) -> None:
        self.lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
        self.visit = uuid7(time.time_ns() // 1_000_000)


def body(site: str, visitor: Visitor) -> str:
    """One envelope with one event, as the tracker sends it."""
    now = time.time_ns() // 1_000_000
    event = {
        "type": "event", "id": uuid7(now), "name": "created-report", "at": now, "visit": visitor.visit, "view": uuid7(now),
        "page": {"url": "https://www.example.com/reports", "title": "Reports", "referrer": ""}, "metadata": {"rows": 12, "plan": "pro"},
    }  # fmt: skip
    return json.dumps({"v": 1, "site": site, "lead": visitor.lead, "sent_at": now, "items": [event]}, separators=(",", ":"))


def uuid7(now_ms: int) -> str:
    text = f"{now_ms:012x}7{secrets.token_hex(2)[1:]}8{secrets.token_hex(8)[1:]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def run_wrk(port: int, bodies: Path, folder: Path, given: argparse.Namespace) -> tuple[float, int]:
    script = folder / "post.lua"
    script.write_text(LUA)
    command = [
        "wrk",
        "-t2",
        f"-c{given.connections}",
        f"-d{given.seconds}",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/collect",
    ]
    output = subprocess.run(command, env={**os.environ, "BODIES": str(bodies)}, capture_output=True, check=True, text=True).stdout
    if "Non-2xx" in output:
        sys.exit(output)
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    assert requests and rate
    return float(rate[1]), int(requests[1])


def wait_for(port: int, path: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
        except OSError as error:
            if getattr(error, "code", None) is None:
                time.sleep(0.05)
                continue
        return
    sys.exit("the server did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
