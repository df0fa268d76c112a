"""The claim: a browser asks to show one message, once. Everything is decided anew, under the person's lock, in one transaction.

Asked again with the same nonce it answers the same, so a lost answer costs nothing; another tab or device gets no.
"""

import json
from typing import Any

from collector.domain import delivery, identities, people
from collector.domain.auto_messages import AutoMessage
from collector.domain.content import MissingValue, render
from collector.domain.delivery import Moment, TriggerEvent
from collector.ingest import senders, wire
from collector.ingest.effects import Exchange, Write
from collector.ingest.items import LONGEST_ADDRESS
from collector.ingest.senders import Headers, Verified
from collector.services import Services
from collector.storage.database import Connection
from collector.storage.slices import OVERFLOW, WEEK
from collector.storage.writer import Overloaded
from collector.values.errors import Reason, problem
from collector.values.ids import event_id_time, uuid7_bytes
from collector.values.text import replace_unstorable, storable

_LONGEST_NONCE = 64


def claim(services: Services, body: bytes, headers: Headers) -> Exchange[dict[str, Any]]:
    """Answer a claim: the message's content, or the rule that says no.

    Raises:
        Problem: the request is not in order; nothing was granted.
    """
    request = wire.decode_claim(body)
    now = services.clock()
    site = senders.find_site(services.sites, request, headers)
    refused = senders.refused_sender(request, headers)
    if refused is not None:
        return _no("consent" if refused is Reason.CONSENT_WITHHELD else refused.value)
    if not 8 <= len(request.nonce) <= _LONGEST_NONCE or not storable(request.nonce) or not storable(request.message):
        raise problem(400, Reason.FIELD_INVALID, "nonce", f"expected 8 to {_LONGEST_NONCE} characters")
    sender = senders.check_sender(services.keyring, site, request, services.settings.session_duration, now)
    try:
        answer: dict[str, Any] = yield Write(site.id, lambda tx: _Claim(services, tx, sender, request, now).answer())
    except Overloaded:
        raise problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")]) from None
    return answer


class _Claim:
    """One claim in its transaction."""

    def __init__(self, services: Services, tx: Connection, sender: Verified, request: wire.ClaimRequest, now: int) -> None:
        self.services = services
        self.tx = tx
        self.sender = sender
        self.site = sender.site
        self.request = request
        self.now = now

    def answer(self) -> dict[str, Any]:
        """Decide and grant."""
        found = identities.find(self.tx, self.site.id, {self.sender.lead.key, self.sender.owner})
        lead, owner = found.get(self.sender.lead.key), found.get(self.sender.owner)
        if lead is not None and lead.secret_hash != self.sender.lead.secret_hash:
            raise problem(403, Reason.LEAD_SECRET_INVALID, "lead")
        message = self.services.auto_messages.get(self.tx, self.site.id, self.request.message)
        if owner is None or message is None:
            return _no("audience" if owner is None else "state")
        identities.by_ids(self.tx, self.site.id, [owner.principal_id], lock=True)
        person = people.load(self.tx, self.site.id, owner.principal_id)
        recipient = delivery.load_recipient(
            self.tx, self.site, self.services.names, person, [message], self.now, self.services.settings.retention
        )
        asserted = self.sender.user_id is not None
        url = replace_unstorable(self.request.page.url)[:LONGEST_ADDRESS]
        moment = Moment(now=self.now, page_url=url, asserted=asserted, event=self.trigger(person))
        granted = next((one for one in recipient.deliveries if one.nonce == self.request.nonce and one.message == message.id), None)
        if granted is None:
            decision = delivery.decide(self.site, message, recipient, moment)
            if not decision.show:
                return _no(decision.reason or "state")
        try:
            content = self.render(message, person, moment)
        except MissingValue:
            return _no("content")
        if granted is None:
            delivery.grant(self.tx, self.site, message, recipient, owner.id, self.request.nonce, moment)
        return {"message": {"id": message.public_id, "delivery": self.request.nonce, "type": message.definition.type, **content}}

    def render(self, message: AutoMessage, person: people.Person, moment: Moment) -> dict[str, Any]:
        """Fill in the variables. What is personal is given only to a lead of its own or a verified user."""
        own_lead = self.sender.user_id is None and person.role == "lead"
        known = people.values(self.tx, self.site.id, self.services.names, person, self.now) if own_lead or self.sender.verified else {}
        return render(message.definition, known, moment.event, self.site.zone)

    def trigger(self, person: people.Person) -> TriggerEvent | None:
        """Return the triggering event as stored, where it is one of this person's."""
        event_id = uuid7_bytes(self.request.event) if self.request.event else None
        if event_id is None:
            return None
        row = self.tx.row(
            "SELECT identity, name, at, metadata FROM events WHERE site = ? AND slice IN (?, ?) AND id = ?",
            (self.site.id, event_id_time(event_id) // WEEK, OVERFLOW, event_id),
        )
        if row is None or row[0] not in {identity.id for identity in person.identities}:
            return None
        name = self.services.names.text(self.site.id, row[1])
        return TriggerEvent(event_id, name, row[2], json.loads(row[3]) if row[3] else {})


def _no(reason: str) -> dict[str, Any]:
    return {"message": None, "reason": reason}
