"""Why a message is shown to somebody, or not: the decision itself (`delivery.decide`), each verdict in words.

Of the audience there is more: its tree with each rule's verdict, and the nearest change that would turn it.
"""

from typing import Any

import msgspec

from collector.domain import decision_words, decisions, deliveries, delivery, explanation, outlook
from collector.domain.auto_messages import AutoMessage
from collector.domain.decision_words import Said
from collector.domain.decisions import Decided
from collector.domain.delivery import Moment, Verdict
from collector.domain.explanation import Explained
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
    recipient = delivery.load_recipient(connection, site, names, person, message.needs, now, retention_ms)
    decided = {verdict.rule: verdict for verdict in delivery.decide(site, message, recipient, moment).verdicts}
    said = Said(definition, site, moment, recipient.arm(message))
    asked = definition.as_json() | {rule: decided[rule].expected for rule in ("state", "holdout", "caps")}
    open_rules = _open(message, moment)
    explained, nearest = None, None
    if definition.audience is not None:
        ahead = outlook.load(connection, site, names, person, message.needs, now, retention_ms)
        explained = explanation.explain(definition.audience, ahead.facts(now), now, site.zone, ahead.message_names)
        nearest = nearest_change(definition.audience, ahead, now, site.zone)
    reasons = []
    for rule, verdict in decided.items():
        if rule in open_rules:
            reasons.append(Reason(rule, None, asked[rule], None, open_rules[rule]))
        elif rule == "audience":
            alone = all(one.holds or one.rule in {"audience", *open_rules} for one in decided.values())
            reasons.append(Reason(rule, verdict.holds, asked[rule], verdict.actual, _audience(explained, nearest, alone=alone)))
        else:
            reasons.append(Reason(rule, verdict.holds, asked[rule], _actual(verdict), decision_words.in_words(verdict, said)))
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
