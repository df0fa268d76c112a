"""Pages that were opened by a test link: what happens there counts nowhere, and the message of the link shows."""

from collections.abc import Mapping
from typing import Any

import msgspec

from collector.domain import facts, people, trials
from collector.domain.content import RULE, render_example
from collector.domain.sites import Site
from collector.domain.trials import Trial
from collector.ingest import wire
from collector.services import Services
from collector.storage.database import Connection
from collector.values.body import NotShowable
from collector.values.query_tree import NOTHING


def is_marked(item: wire.EventItem) -> bool:
    """Say whether a test link, valid or not, left its parameter in one of the addresses."""
    return item.page is not None and (trials.PARAMETER in item.page.url or trials.PARAMETER in item.page.referrer)


def unmarked(item: wire.EventItem) -> wire.EventItem:
    """Return an event without what test links leave in its addresses."""
    page = item.page or wire.Page()
    clean = wire.Page(trials.without(page.url), page.title, trials.without(page.referrer))
    return msgspec.structs.replace(item, page=clean)


def answer(services: Services, site: Site, trial: Trial, request: wire.ClaimRequest, now_ms: int) -> dict[str, Any]:
    """Answer a claim from a page of a test link: its own message, marked; no other shows there. Nothing is written."""
    with services.database.read() as connection:
        found = services.auto_messages.get(connection, site.id, trial.message) if request.message == trial.message else None
        if found is None:
            return {"message": None, "reason": "test"}
        try:
            known = None if trial.contact is None else known_of(services, connection, site, trial.contact, now_ms)
            content = render_example(found.definition, known, site.zone)
        except people.NoPerson:
            return {"message": None, "reason": "test"}
        except NotShowable:
            return {"message": None, "reason": RULE}
    kind = found.definition.type
    return {"message": {"id": found.public_id, "delivery": request.nonce, "type": kind, "test": True, **site.looks, **content}}


def known_of(services: Services, connection: Connection, site: Site, contact_id: str, now_ms: int) -> Mapping[str, Any]:
    """Return all attributes of a person by canonical name.

    Raises:
        NoPerson: there is nobody of this contact id, or it became part of somebody.
    """
    person, _ = people.by_contact_id(connection, site.id, contact_id)
    if person is None:
        raise people.NoPerson(contact_id)
    retention = services.settings.retention
    return facts.load(connection, site, services.names, person, NOTHING, now_ms, retention, everything=True).attributes
