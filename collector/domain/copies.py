"""Another message like one there is: on the same site, or on another one. It begins as a draft, with no numbers and no past."""

from collector.domain import segments
from collector.domain.auto_messages import AutoMessage, AutoMessages
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.errors import Reason, problem
from collector.values.fields import MAX_NAME, shown
from collector.values.messages import AutoMessageDefinition, clean_auto_message
from collector.values.query_tree import needs

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
    definition = _draft(site, message, message.definition.name, retention_days)
    for field, query in (("audience", definition.audience), ("goal.query", definition.goal.query if definition.goal else None)):
        if query is None:
            continue
        segment = segments.unknown(tx, site.id, query)
        if segment is not None:
            raise problem(400, Reason.QUERY_INVALID, field, f"There is no segment {shown(segment)} on that site.")
        for other in sorted(needs(query).messages):
            if messages.get(tx, site.id, other) is None:
                raise problem(400, Reason.QUERY_INVALID, field, f"There is no message {shown(other)} on that site.")
    return messages.create(tx, site.id, definition, now_ms)


def _draft(site: Site, message: AutoMessage, name: str, retention_days: int) -> AutoMessageDefinition:
    raw = {**message.definition.as_json(), "name": name, "state": "draft"}
    return clean_auto_message(raw, retention_days=retention_days, time_zone=site.zone)
