"""The claim: a browser asks to show one message, once. Everything is decided anew; the permission is written under the person's lock.

What has to be read about the person is read before, outside of the writer, which everybody waits for; under the lock stands what
decides between rivals: the deliveries. Asked again with the same nonce a claim answers the same, so a lost answer costs nothing;
another tab or device gets no. Locks are taken in this order: identities, the message, deliveries.
"""

import functools
from typing import Any

import msgspec

from collector.domain import content, deliveries, delivery, identities, people, trials, trigger_events
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import HELD_OUT, SHOWN
from collector.domain.delivery import Moment, Recipient, TriggerEvent
from collector.domain.identities import Identity
from collector.ingest import guests, senders, trial_pages, wire
from collector.ingest.effects import Exchange, Guest, Write
from collector.ingest.items import shown_url
from collector.ingest.offers import load_recipient
from collector.ingest.senders import Headers, Verified
from collector.services import Services
from collector.storage.commits import Work
from collector.storage.database import Connection
from collector.storage.writer import Overloaded
from collector.values.errors import Problem, Reason, problem
from collector.values.ids import event_id_bytes, uuid7_bytes
from collector.values.messages import IN_THE_VIEW
from collector.values.query_tree import united
from collector.values.text import storable

_LONGEST_NONCE = 64
_ATTEMPTS = 5


def claim(services: Services, body: bytes, headers: Headers) -> Exchange[dict[str, Any]]:
    """Answer a claim: the message's content, or the rule that says no.

    Raises:
        Problem: the request is not in order; nothing was granted.
    """
    request = wire.decode(body, wire.ClaimRequest)
    now = services.clock()
    site = yield from senders.find_site(services.sites, request, headers)
    refused = senders.refused_sender(request, headers)
    if refused is not None:
        return _no("consent" if refused is Reason.CONSENT_WITHHELD else refused.value)
    if not 8 <= len(request.nonce) <= _LONGEST_NONCE or not storable(request.nonce) or not storable(request.message):
        raise problem(400, Reason.FIELD_INVALID, "nonce", f"expected 8 to {_LONGEST_NONCE} characters")
    trial = trials.find(services.keyring, site, request.page.url, now)
    if trial is not None:
        try:
            shown: dict[str, Any] = yield Guest(functools.partial(trial_pages.answer, services, site, trial, request, now))
        except TimeoutError:
            raise _busy() from None
        return shown
    sender = senders.check_sender(services.keyring, site, request, services.settings.session_duration, now)
    if not services.breaker.admits(site.id, guests.CLAIMS):
        raise _busy()
    asked = _Claim(services, sender, request, now)
    for _ in range(_ATTEMPTS):
        try:
            ready = yield Guest(asked.prepare)
            answer = None if isinstance(ready, str) else (yield asked.writing(functools.partial(asked.grant, ready=ready)))
        except Problem:  # the claim's fault: what was asked has answered
            guests.succeeded(services, site, guests.CLAIMS)
            raise
        except Overloaded:  # as everybody hears it now
            raise _busy() from None
        except Exception as error:  # whatever it is: a claim that fails is asked for again, and shows nothing meanwhile
            guests.failed(services, site, guests.CLAIMS, error)
            raise _busy() from error
        guests.succeeded(services, site, guests.CLAIMS)
        if isinstance(ready, str):
            return _no(ready)
        if answer is not None:
            granted: dict[str, Any] = answer
            if asked.held_back_by is not None:
                services.decisions.note(site.id, ready.owner.id, [(ready.message.id, asked.held_back_by)], now)
            return granted
    return _no("audience")


class _Ready(msgspec.Struct, frozen=True):
    """What was read before the lock: who asks, for what, and all that is known."""

    owner: Identity
    message: AutoMessage
    recipient: Recipient
    moment: Moment


class _Claim:
    """One claim."""

    def __init__(self, services: Services, sender: Verified, request: wire.ClaimRequest, now: int) -> None:
        self.services = services
        self.sender = sender
        self.site = sender.site
        self.request = request
        self.now = now
        self.held_back_by: str | None = None
        """Why it was not granted, where audience, page and trigger hold."""

    def writing(self, work: Work) -> Guest | Write:
        """Return what waits for the permission to be written. A file takes one transaction at a time, so there everybody's is the quickest.

        Elsewhere a claim commits by itself, and what it waits for must not keep the events of others waiting.
        """
        if self.services.guests.engine == "sqlite":
            return Write(self.site.id, work)
        return Guest(functools.partial(self.services.guests.transact, work))

    def prepare(self) -> "_Ready | str":
        """Read what deciding needs; a reason where there is nothing to decide."""
        with self.services.guests.read() as connection:
            found = identities.find(connection, self.site.id, {self.sender.lead.key, self.sender.owner})
            lead, owner = found.get(self.sender.lead.key), found.get(self.sender.owner)
            if lead is not None and lead.secret_hash != self.sender.lead.secret_hash:
                raise problem(403, Reason.LEAD_SECRET_INVALID, "lead")
            message = self.services.auto_messages.get(connection, self.site.id, self.request.message)
            if owner is None or message is None:
                return "audience" if owner is None else "state"
            kind = message.definition.trigger.type
            if kind in IN_THE_VIEW and self.request.trigger != kind:  # from a messenger that knows no such trigger and did not wait for it
                return "trigger"
            try:
                recipient = self.recipient(connection, owner.principal_id, message)
            except people.NoPerson:  # became part of another between two statements
                return "audience"
            moment = Moment(
                now=self.now,
                page_url=shown_url(self.request.page),
                asserted=self.sender.user_id is not None,
                event=self.trigger(connection, recipient.person),
                view=uuid7_bytes(self.request.view) if self.request.view else None,
            )
        return _Ready(owner, message, recipient, moment)

    def recipient(self, connection: Connection, person: int, message: AutoMessage) -> Recipient:
        """Read what is known of a person, as far as deciding and granting a message, and filling in its variables, take it.

        Raises:
            NoPerson: the person became part of another, or is gone.
        """
        services, needs = self.services, united([message.needs, message.goal_needs])
        everything = message.has_variables
        return load_recipient(connection, services, self.site, person, needs, self.now, everything=everything)

    def grant(self, tx: Connection, ready: _Ready) -> dict[str, Any] | None:
        """Decide and write the permission; None where what was read holds no more: the person is part of another, or the message edited."""
        self.held_back_by = None  # a transaction may be run again
        locked = identities.by_ids(tx, self.site.id, [ready.owner.id, ready.owner.principal_id], lock=True)
        if ready.owner.id not in locked or locked[ready.owner.id].principal_id != ready.owner.principal_id:
            return None
        had = deliveries.of_person(tx, self.site.id, ready.owner.principal_id)
        recipient = Recipient(ready.recipient.person, ready.recipient.facts, had, uncapped=ready.recipient.uncapped)
        same = [one for one in had if one.nonce == self.request.nonce and one.message == ready.message.id]
        if any(one.identity != ready.owner.id or one.acted for one in same):  # given to somebody else, or done with
            return _no("frequency")
        if any(one.arm == HELD_OUT for one in same):
            return _no("holdout")
        arm: str | None = SHOWN
        if not same:
            decision = delivery.decide(self.site, ready.message, recipient, ready.moment)
            arm = decision.arm
            if arm is None:
                self.held_back_by = decision.held_back_by
                return _no(decision.reason or "state")
        filled = self.fill_in(ready)
        if filled.content is None:  # of those who are held out too: what could not be shown is compared with nothing
            self.held_back_by = content.RULE
            return _no(content.RULE)
        if not same:
            if not self.services.auto_messages.is_current(tx, self.site.id, ready.message):
                return None
            if self.services.sites.has_paused_messages(tx, self.site.id):  # by way of another collector, a moment ago
                return _no("state")
            delivery.grant(tx, self.site, ready.message, recipient, ready.owner.id, self.request.nonce, ready.moment, arm or SHOWN)
        if arm == HELD_OUT:
            return _no("holdout")
        message = ready.message
        return {
            "message": {
                "id": message.public_id,
                "delivery": self.request.nonce,
                "type": message.definition.type,
                **self.site.looks,
                **filled.content,
            }
        }

    def fill_in(self, ready: _Ready) -> content.Filled:
        """Fill in the variables. What is personal is given only to a lead of its own or a verified user."""
        personal = self.sender.may_know(ready.recipient.person.role)
        return content.fill_in(self.site, ready.message, ready.recipient, ready.moment, personal=personal)

    def trigger(self, connection: Connection, person: people.Person) -> TriggerEvent | None:
        """Return the triggering event as stored, where it is one of this person's, and this browser may hear of it."""
        event_id = event_id_bytes(self.request.event) if self.request.event else None  # the collector minted those of REST
        if event_id is None:
            return None
        only = None if self.sender.may_know(person.role) else self.sender.lead.key
        oldest = self.now - self.services.settings.retention
        return trigger_events.named(connection, self.site.id, self.services.names, person, event_id, oldest, only)


def _busy() -> Problem:
    return problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")])


def _no(reason: str) -> dict[str, Any]:
    return {"message": None, "reason": reason}
