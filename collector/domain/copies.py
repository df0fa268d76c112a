"""Another message like one there is: on the same site, or on another one. It begins as a draft, with no numbers and no past."""

from collector.domain.auto_messages import AutoMessage, AutoMessages
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.fields import MAX_NAME
from collector.values.messages import AutoMessageDefinition, clean_auto_message

_OF_A_COPY = " (copy)"


def duplicate(tx: Connection, messages: AutoMessages, site: Site, message: AutoMessage, retention_days: int, now_ms: int) -> AutoMessage:
    """Store a draft like a message of the same site. Its name says that it is one.

    Raises:
        Problem: 400, the definition could not be made anew today.
    """
    name = message.definition.name[: MAX_NAME - len(_OF_A_COPY)] + _OF_A_COPY
    return messages.create(tx, site.id, _draft(site, message, name, retention_days), now_ms)


def copy_to(tx: Connection, messages: AutoMessages, site: Site, message: AutoMessage, retention_days: int, now_ms: int) -> AutoMessage:
    """Store a draft like a message of another site. Hours of the week and days are the new site's from then on.

    Raises:
        Problem: 400, it asks for a segment or a message that the new site does not have, or could not be made anew today.
    """
    return messages.create(tx, site.id, _draft(site, message, message.definition.name, retention_days), now_ms)


def _draft(site: Site, message: AutoMessage, name: str, retention_days: int) -> AutoMessageDefinition:
    raw = {**message.definition.as_json(), "name": name, "state": "draft"}
    return clean_auto_message(raw, retention_days=retention_days, time_zone=site.zone)
