"""The event that is said to open a message, as it is stored."""

import json

from collector.domain.delivery import TriggerEvent
from collector.domain.names import Names
from collector.domain.people import Person
from collector.storage.database import Connection
from collector.storage.slices import OVERFLOW, WEEK
from collector.values.ids import event_id_time


def find(connection: Connection, site: int, names: Names, person: Person, event_id: bytes) -> TriggerEvent | None:
    """Return an event of a person; None where there is none, or it is somebody else's."""
    row = connection.row(
        "SELECT identity, name, at, metadata FROM events WHERE site = ? AND slice IN (?, ?) AND id = ?",
        (site, event_id_time(event_id) // WEEK, OVERFLOW, event_id),
    )
    if row is None or row[0] not in {identity.id for identity in person.identities}:
        return None
    return TriggerEvent(event_id, names.text(site, row[1]), row[2], json.loads(row[3]) if row[3] else {})
