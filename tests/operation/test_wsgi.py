"""Served by any other WSGI server, the collector ends as orderly as by its own."""

import json
from pathlib import Path

from collector.domain import losses
from collector.storage.database import Database
from tests.support.envelopes import envelope, new_event
from tests.support.processes import run_command

ORIGIN = "https://shop.example"
LEAD = f"{'a' * 22}.{'b' * 22}"
SERVER = """
from werkzeug.test import Client
from collector.serving import wsgi_application

answer = Client(wsgi_application()).post("/collect", data=open("body").read(), headers={"Origin": "https://shop.example"})
print(answer.status_code)
"""


def test_what_was_noted_in_memory_is_written_when_the_process_ends(tmp_path: Path) -> None:
    init = run_command(["collector", "init", "--site", "Shop", "--origin", ORIGIN, "--json"], tmp_path, {})
    site = json.loads(init.stdout)
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "body").write_text(json.dumps(envelope(site["site_key"], LEAD, new_event(), dropped=3)))
    done = run_command(["server"], tmp_path, {})
    assert (done.returncode, done.stdout) == (0, "202\n"), done.stderr
    database = Database(f"sqlite:///{tmp_path / 'leadlight.db'}")
    with database.read() as connection:
        number = connection.value("SELECT id FROM sites")
        found = losses.of_site(connection, number)
    database.close()
    assert found is not None
    assert found.items == 3
