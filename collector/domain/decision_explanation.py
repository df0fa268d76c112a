"""Why a message is shown to somebody, or not: the decision itself (`delivery.decide`), each verdict in words.

Of the audience there is more: its tree with each rule's verdict, and the nearest change that would turn it.
"""

from typing import Any

import msgspec

from collector.domain import content, content_words, decision_words, decisions, deliveries, delivery, explanation, outlook
from collector.domain.auto_messages import AutoMessage
from collector.domain.decision_words import Said
from collector.domain.decisions import Decided
from collector.domain.delivery import Moment, Recipient, Verdict
from collector.domain.explanation import Explained
from collector.domain.identities import LEAD
from collector.domain.names import Names
from collector.domain.nearest_change import Nearest, nearest_change
from collector.domain.people import Person
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.fields import seconds
from collector.values.query_words import where

_TIMES = ("last", "next")


class Reason(msgspec.Struct, frozen=True):
    """One rule's verdict; `holds` is None where it was not evaluated. Plain values, times in unix seconds."""

    rule: str
    holds: bool | None
    expected: Any
    actual: Any
    in_words: str


class Why(msgspec.Struct, frozen=True):
    """A decision explained; `audience` and `nearest` are those of the message's audience, None where it is for everybody."""

    reasons: list[Reason]
    audience: Explained | None
    nearest: Nearest | None

    @property
    def would_show(self) -> bool:
        """Whether no rule that was evaluated stands against it."""
        return all(reason.holds is not False for reason in self.reasons)

    @property
    def against(self) -> list[Reason]:
        """The rules that stand against it."""
        return [reason for reason in self.reasons if reason.holds is False]


def explain(
    connection: Connection, site: Site, names: Names, person: Person, message: AutoMessage, moment: Moment, retention_ms: int
) -> Why:
    """Explain the decision on a message for a person. Rules that ask for a page, or an event, stay open where the moment has none."""
    definition, now = message.definition, moment.now
    everything = message.has_variables
    recipient = delivery.load_recipient(connection, site, names, person, message.needs, now, retention_ms, everything=everything)
    decided = {verdict.rule: verdict for verdict in delivery.decide(site, message, recipient, moment).verdicts}
    said = Said(definition, site, moment, recipient.arm(message))
    asked = definition.as_json() | {rule: decided[rule].expected for rule in ("state", "holdout", "caps")}
    open_rules = _open(message, moment)
    explained, nearest = None, None
    if definition.audience is not None:
        ahead = outlook.load(connection, site, names, person, message.needs, now, retention_ms)
        explained = explanation.explain(definition.audience, ahead.facts(now), now, site.zone, ahead.message_names)
        nearest = nearest_change(definition.audience, ahead, now, site.zone)
    reasons: list[Reason] = []
    others = [one.holds or one.rule in open_rules for one in decided.values() if one.rule != "audience"]
    audience_holds, others_hold = decided["audience"].holds, all(others)
    filled = _content(site, message, recipient, moment, "trigger" in open_rules, alone=audience_holds and others_hold)
    for rule, verdict in decided.items():
        if rule in open_rules:
            reasons.append(Reason(rule, None, asked[rule], None, open_rules[rule]))
        elif rule == "audience":
            alone = others_hold and filled.holds is not False
            reasons.append(Reason(rule, verdict.holds, asked[rule], verdict.actual, _audience(explained, nearest, alone=alone)))
        else:
            reasons.append(Reason(rule, verdict.holds, asked[rule], _actual(verdict), decision_words.in_words(verdict, said)))
    reasons.append(filled)
    reasons.append(Reason("consent", None, "granted", None, decision_words.CONSENT))
    return Why(reasons, explained, nearest)


def past(connection: Connection, site: Site, person: Person, message: AutoMessage, now_ms: int) -> list[Decided]:
    """Return what was decided about a message for a person within the days it is kept, the newest first."""
    had = [one for one in deliveries.of_person(connection, site.id, person.id) if one.message == message.id]
    return decisions.with_deliveries(decisions.of_person(connection, site.id, person.id, message.id), had, now_ms)


def _open(message: AutoMessage, moment: Moment) -> dict[str, str]:
    """Return the rules that this moment says too little for, each with why."""
    page, trigger = message.definition.page, message.definition.trigger
    left: dict[str, str] = {}
    if page is not None and not moment.page_url:
        left["page"] = decision_words.NO_PAGE.format(rule=decision_words.page_words(page))
    if trigger.type == "event" and moment.event is None:
        left["trigger"] = decision_words.NO_EVENT.format(event=trigger.event, where=where(trigger.where))
    return left


def _content(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment, no_event: bool, *, alone: bool) -> Reason:
    """Return whether it could be filled in, as the claim does it; `alone` where nothing else stands against showing.

    Whether a user is proved, so that what is personal is given out, only the request of a browser tells: where that decides, it stays open.
    """
    person = recipient.person
    asks_proof = person.role != LEAD and site.verification != "required"
    would = "would show it" if alone else "would mend that"
    words = content_words.Said(message.definition, person.role, would, asks_proof)

    def verdicts(moment: Moment) -> tuple[Verdict, Verdict]:
        known = content.fill_in(site, message, recipient, moment, personal=True).verdict
        return known, content.fill_in(site, message, recipient, moment, personal=False).verdict if asks_proof else known

    known, unknown = verdicts(moment)
    if no_event and not (known.holds and unknown.holds):  # what stands against it whatever the event brings?
        known, unknown = verdicts(msgspec.structs.replace(moment, event=content.whole_event(message.definition, moment.now)))
        if known.holds and unknown.holds:
            return Reason(content.RULE, None, known.expected, None, content_words.no_event(message.definition))
    if known.holds is not unknown.holds:
        return Reason(content.RULE, None, known.expected, None, content_words.unproved(known, unknown, words))
    return Reason(content.RULE, known.holds, known.expected, known.actual, content_words.in_words(known, words))


def _audience(explained: Explained | None, nearest: Nearest | None, *, alone: bool) -> str:
    """Return the audience's verdict in words; `alone` where nothing else stands against showing."""
    if explained is None or nearest is None:
        return decision_words.EVERYBODY
    if explained.holds or nearest.change is None:
        return explained.in_words
    change = nearest.change.in_words
    would = "would show it" if alone else "would bring this person into its audience"
    return f"{explained.in_words} {change[0].upper()}{change[1:]} {would}."


def _actual(verdict: Verdict) -> Any:
    """Return what a rule found as the API gives it out."""
    if verdict.rule == "schedule":
        return seconds(verdict.actual)
    if not isinstance(verdict.actual, dict):
        return verdict.actual
    return {name: seconds(value) if name in _TIMES and value is not None else value for name, value in verdict.actual.items()}
