"""Whether a message's content can be filled in for somebody, in the words of a marketer, and what would change it."""

from collections.abc import Sequence

import msgspec

from collector.domain.content import EVENT, GIVEN_BY
from collector.domain.delivery import COMPUTED, Verdict
from collector.domain.identities import LEAD
from collector.values.messages import AutoMessageDefinition


class Said(msgspec.Struct, frozen=True):
    """What a sentence may name beside the verdict: the message, what the person is, and what a change would do."""

    message: AutoMessageDefinition
    role: str
    would: str
    asks_proof: bool
    """Whether what is personal is given out only where the user's id is proved."""


def in_words(verdict: Verdict, said: Said) -> str:
    """Return the verdict as a sentence."""
    if verdict.holds:
        return "Everything in it has a value." if said.message.content.variables() else "It says the same to everybody."
    found, change = _found(verdict, said), _change(verdict, said)
    proof = change.startswith("setting") and said.asks_proof
    only = "; the value only where your server proves this user’s id" if proof else ""
    return f"{found}. {change[0].upper()}{change[1:]} {said.would}{only}."


def no_event(message: AutoMessageDefinition) -> str:
    """Return that what an event has to bring is not known without one."""
    names = [name for name in sorted(message.content.required() or message.content.variables()) if name.startswith(EVENT)]
    return f"It depends on an event, and none was given: it has to bring {_list(names)}."


def unproved(known: Verdict, unknown: Verdict, said: Said) -> str:
    """Return that it depends on the proof of a user id, which only a browser brings."""
    proof = "It depends on whether your server proves this user’s id in the browser"
    if known.holds:
        name = unknown.actual["variable"]
        what = f"{name} is personal and has no fallback" if name is not None else "without what is personal all of it is blank"
        return f"{proof}: {what}, so it shows where the id is proved, and nowhere else."
    return f"{proof}: where it is, {_found(known, said)[0].lower()}{_found(known, said)[1:]}; elsewhere fallbacks stand, and it shows."


def _found(verdict: Verdict, said: Said) -> str:
    name, why = verdict.actual["variable"], verdict.actual["why"]
    if why == "blank":
        return "Nothing of it can be seen: for this person all of it is blank"
    if why == "unfit":
        return f"The value of {name} does not fit into the address that it stands in"
    if name.startswith(EVENT) and said.message.trigger.type != "event":
        return f"It opens without an event, so {name} has no value, and there is no fallback"
    if name.startswith(EVENT):
        return f"The event brings no {name.removeprefix(EVENT).removeprefix('metadata.')}, and there is no fallback"
    return f"This person has no {name}, and there is no fallback"


def _change(verdict: Verdict, said: Said) -> str:
    """Return what would change it, as the beginning of a sentence."""
    name, why = verdict.actual["variable"], verdict.actual["why"]
    if why == "unfit":
        return "another value"
    if why == "blank":
        names = sorted(said.message.content.variables())
        return f"a value for {_list(names)}, or text beside it," if names else "text"
    if name.startswith(EVENT):
        return "a fallback" if said.message.trigger.type != "event" else "an event that does, or a fallback,"
    if name in COMPUTED:
        return "a fallback"
    given_by = GIVEN_BY.get(name, name)
    if given_by == "external_id":
        return "signing up, or a fallback," if said.role == LEAD else "a fallback"
    return f"setting {given_by}, or a fallback,"


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
