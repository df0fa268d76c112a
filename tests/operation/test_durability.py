"""Acknowledged means durable and counted once, whatever happens to the process."""

import signal
import threading
from collections.abc import Callable
from typing import Any

from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector

WRITERS = 8


class Load:
    """Browsers that post until they are told to stop, and remember which events were acknowledged."""

    def __init__(self, collector: Collector) -> None:
        self.acknowledged: list[str] = []
        self.enough = threading.Event()
        self._stop = threading.Event()
        self._collector = collector
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _post(self, number: int) -> None:
        lead = f"{number:022d}.{number:022d}"
        while not self._stop.is_set():
            events = [new_event("saved"), new_event("saved")]
            try:
                answer = self._collector.client.post_json("/collect", envelope(self._collector.site_key, lead, *events))
            except OSError:
                return
            if answer.status != 202:
                return
            self.acknowledged += [event["id"] for event in events]
            if len(self.acknowledged) > 300:
                self.enough.set()

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def stored(collector: Collector) -> dict[str, Any]:
    """Every event by id, and the sum of the totals, as the database has them."""
    from collector.storage.database import Database
    from collector.values.ids import event_id_text

    database = Database(collector.database_url)
    try:
        with database.read() as connection:
            ids = [event_id_text(bytes(row[0])) for row in connection.rows("SELECT id FROM events")]
            return {"ids": ids, "counted": int(connection.value("SELECT coalesce(sum(count), 0) FROM totals"))}
    finally:
        database.close()


def test_no_acknowledged_event_is_lost_when_the_process_is_killed(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    load = Load(collector)
    load.enough.wait(60)
    collector.kill()
    load.finish()
    found = stored(collector)
    assert set(load.acknowledged) <= set(found["ids"])
    assert len(found["ids"]) == len(set(found["ids"])) == found["counted"]
    collector.start()
    lead = f"{0:022d}.{0:022d}"
    again = [{**new_event("saved"), "id": known} for known in load.acknowledged[:10]]
    answer = collector.client.post_json("/collect", envelope(collector.site_key, lead, *again)).json
    assert answer["duplicates"] == 10


def test_a_shutdown_in_order_answers_what_was_taken(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    load = Load(collector)
    load.enough.wait(60)
    collector.program.process.send_signal(signal.SIGTERM)
    load.finish()
    collector.stop()
    found = stored(collector)
    assert set(load.acknowledged) <= set(found["ids"])
    assert len(found["ids"]) == found["counted"]
