"""Nothing about an IP address is kept or written down: not the connection's, and none that a header names."""

import http.client
import ipaddress
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Answer
from tests.support.envelopes import envelope, new_event
from tests.support.processes import run_command
from tests.support.servers import ORIGIN, Collector

SOURCE = "127.83.197.211"
"""Where the requests come from: this machine has more addresses than one."""
NAMED = ("198.51.100.173", "2001:db8:c0de:beef:1a2b:3c4d:5e6f:7a8b", "203.0.113.239")
FORWARDED = {
    "X-Forwarded-For": ", ".join(NAMED),
    "X-Real-IP": NAMED[0],
    "Forwarded": f'for={NAMED[0]};proto=https, for="[{NAMED[1]}]"',
    "CF-Connecting-IP": NAMED[1],
    "True-Client-IP": NAMED[2],
    "Client-IP": NAMED[2],
}
LEAD = "A" * 22 + "." + "B" * 22


def ask(collector: Collector, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Send one request from SOURCE, with every header that names an address."""
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=30, source_address=(SOURCE, 0))
    try:
        connection.request(method, path, body, {**FORWARDED, "Origin": ORIGIN, "Content-Type": "text/plain", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def everything(collector: Collector) -> Iterator[int]:
    """Ask for all there is, in order and not, and yield the statuses."""
    key = collector.site_key
    token = {"Authorization": f"Bearer {collector.access_token}", "Content-Type": "application/json"}
    identify = {"type": "identify", "at": new_event()["at"], "attributes": {"name": "Ada"}}
    yield ask(collector, "POST", "/collect", json.dumps(envelope(key, LEAD, new_event(), new_event("saved"), identify))).status
    yield ask(collector, "POST", "/collect", json.dumps(envelope(key, LEAD, new_event(), user={"id": "u-1"}))).status
    yield ask(collector, "POST", "/collect", json.dumps(envelope(key, LEAD[:-1] + "C", new_event()))).status
    yield ask(collector, "POST", "/collect", "{").status
    yield ask(collector, "GET", "/collect").status
    yield ask(collector, "POST", "/claim", json.dumps({"v": 1})).status
    yield ask(collector, "GET", "/tracker.js").status
    yield ask(collector, "GET", "/no/such/address").status
    yield ask(collector, "POST", "/api/events", json.dumps({"event_name": "paid", "user_id": "u-1"}), token).status
    yield ask(collector, "POST", "/api/events", "{", token).status
    yield ask(collector, "GET", "/api/me").status
    yield ask(collector, "GET", "/console/").status
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": collector.url}
    yield ask(
        collector, "POST", "/console/sign-in", f"email={collector.console_email}&password=wrong", form
    ).status  # counted by address, in memory
    yield ask(collector, "GET", "/healthz").status


def forms(address: str) -> list[bytes]:
    """How an address could be written down: as text, also abbreviated for networks, as bytes, and in hexadecimal."""
    parsed = ipaddress.ip_address(address)
    beginning = address.rsplit("." if parsed.version == 4 else ":", 1)[0]
    return [parsed.exploded.encode(), address.encode(), beginning.encode(), parsed.packed, parsed.packed.hex().encode()]


@pytest.fixture
def collector(start_collector: Callable[..., Collector]) -> Collector:
    return start_collector()


def test_no_address_is_stored_or_logged(collector: Collector, tmp_path: Path) -> None:
    assert list(everything(collector)) == [202, 202, 403, 400, 405, 400, 200, 404, 202, 400, 401, 303, 401, 200]
    # From either engine: the whole of it as one file.
    backup = tmp_path / "backup.db"
    done = run_command(["collector", "backup", str(backup)], collector.folder, collector.environ)
    assert done.returncode == 0, done.stderr
    collector.stop()
    with sqlite3.connect(backup) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] >= 4
    files = {backup, *(path for path in collector.folder.rglob("*") if path.is_file()), *tmp_path.glob("*.db*")}
    assert any(path.suffix == ".err" for path in files)
    for path in files:
        content = path.read_bytes()
        for address in (SOURCE, *NAMED):
            found = [form for form in forms(address) if form in content]
            assert found == [], f"{path.name} holds {address}"


def test_the_search_would_find_one(tmp_path: Path) -> None:
    """What the test above looks for is found where it is."""
    for address in (SOURCE, *NAMED):
        written = b"at " + ipaddress.ip_address(address).packed + address.encode()
        assert len([form for form in forms(address) if form in written]) >= 3
