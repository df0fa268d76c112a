"""A message's content filled in for one person: the variables it may use and how their values are written."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from collector.domain.auto_messages import AutoMessage
from collector.domain.delivery import Moment, Recipient, TriggerEvent, Verdict
from collector.domain.sites import Site
from collector.values import body
from collector.values.body import MissingVariable, NotShowable
from collector.values.messages import AutoMessageDefinition
from collector.values.metadata import display_value

MissingValue = MissingVariable

RULE = "content"
"""What the verdict on a content is called: the last rule of the claim."""
EVENT = "event."
"""What the variables of the triggering event begin with."""
_METADATA = "event.metadata."
GIVEN_BY = {"first_name": "name", "last_name": "name", "user_id": "external_id"}
"""What variables are made of that are no field by their own name."""
_CUSTOM = "custom_attributes."


class Filled(msgspec.Struct, frozen=True):
    """A message's content for one person: as the browser gets it, None where it cannot be shown, and the verdict that says so.

    The verdict expects the variables that have to have a value, and found, where it does not hold, the `variable` that it is for (None
    where it is for no single one) and `why`: `missing`, `unfit` for its address, or `blank`, where nothing of the content could be seen.
    """

    content: dict[str, Any] | None
    verdict: Verdict


class NothingToSee(NotShowable):
    """What the content comes to for this person is blank."""


def fill_in(site: Site, message: AutoMessage, recipient: Recipient, moment: Moment, *, personal: bool) -> Filled:
    """Fill a message in for a person, as far as what is personal may be given out (`delivery.may_know`)."""
    definition = message.definition
    expected = sorted(definition.content.required())
    event = moment.event if definition.trigger.type == "event" else None
    try:
        content = render(definition, recipient.facts.attributes if personal else {}, event, site.zone)
    except MissingValue as error:
        return Filled(None, Verdict(RULE, False, expected, {"variable": error.name, "why": "unfit" if error.unfit else "missing"}))
    except NothingToSee:
        return Filled(None, Verdict(RULE, False, expected, {"variable": None, "why": "blank"}))
    return Filled(content, Verdict(RULE, True, expected))


def whole_event(definition: AutoMessageDefinition, at_ms: int) -> TriggerEvent:
    """Return an event that would bring a message all that its variables ask of one."""
    metadata = {path.removeprefix(_METADATA): path for path in definition.content.variables() if path.startswith(_METADATA)}
    return TriggerEvent(b"", definition.trigger.event or "", at_ms, metadata)


def render(definition: AutoMessageDefinition, known: Mapping[str, Any], event: TriggerEvent | None, zone: tzinfo) -> dict[str, Any]:
    """Return title, body, image, buttons, sender, question and position for one person, as the browser gets them.

    `known` holds the person's attributes by canonical name (empty where nothing personal may be given out).

    Raises:
        MissingValue: a variable has neither a value nor a fallback.
        NothingToSee: all of it is blank.
    """
    return _filled(definition, _values(known, event, zone))


def render_example(definition: AutoMessageDefinition, known: Mapping[str, Any] | None, zone: tzinfo) -> dict[str, Any]:
    """Return the same with what is `known` of a person, or, without one, with the names of the variables in place of values.

    There is no event, so its variables are filled in by their names in any case.

    Raises:
        MissingValue: a variable has neither a value nor a fallback.
        NothingToSee: all of it is blank.
    """
    names = {path: path.rpartition(".")[2].replace("_", " ") for path in definition.content.variables()}
    if known is None:
        return _filled(definition, names)
    of_event = {path: name for path, name in names.items() if path.startswith(EVENT)}
    return _filled(definition, {**_values(known, None, zone), **of_event})


def _filled(definition: AutoMessageDefinition, values: Mapping[str, str]) -> dict[str, Any]:
    content = definition.content
    filled = {
        "title": None if content.title is None else body.render_text(content.title, values),
        "body": body.render(content.body, values),
        "image_url": None if content.image_url is None else body.render_url(content.image_url, values),
        "position": content.position,
        "sender": content.sender,
        "question": None if content.question is None else content.question.as_asked(),
        "buttons": [
            {
                "label": body.render_text(button.label, values),
                "action": button.action,
                "url": None if button.url is None else body.render_url(button.url, values),
                "event": button.event,
            }
            for button in content.buttons
        ],
    }
    if not content.shows(values):
        raise NothingToSee
    return filled


def _values(known: Mapping[str, Any], event: TriggerEvent | None, zone: tzinfo) -> dict[str, str]:
    """Return every variable as text. Custom attributes go by their bare name, where no field of ours has a value by it."""
    values: dict[str, str] = {}
    for name, value in known.items():
        values[name] = _text(name, value, zone)
    if isinstance(known.get("name"), str):
        first, _, last = known["name"].strip().partition(" ")
        values["first_name"] = first
        values["last_name"] = last.strip()
    if isinstance(known.get("external_id"), str):
        values["user_id"] = known["external_id"]
    for name in known:
        bare = name.removeprefix(_CUSTOM)
        if bare != name and not values.get(bare, "").strip():
            values[bare] = values[name]
    if event is not None:
        for key, value in event.metadata.items():
            values[_METADATA + key] = display_value(key, value, zone).text
        values["event.name"] = event.name
        values["event.created_at"] = datetime.fromtimestamp(event.at / 1000, zone).strftime("%Y-%m-%d %H:%M")
    return values


def _text(name: str, value: Any, zone: tzinfo) -> str:
    return display_value(name.removeprefix(_CUSTOM), value, zone).text
