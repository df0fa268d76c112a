"""A message's content filled in for one person: the variables it may use and how their values are written."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from collector.domain.delivery import TriggerEvent
from collector.values import body
from collector.values.body import MissingVariable
from collector.values.messages import AutoMessageDefinition
from collector.values.metadata import display_value

MissingValue = MissingVariable

EVENT = "event."
"""What the variables of the triggering event begin with."""
_CUSTOM = "custom_attributes."


def render(definition: AutoMessageDefinition, known: Mapping[str, Any], event: TriggerEvent | None, zone: tzinfo) -> dict[str, Any]:
    """Return title, body, image, buttons, sender, question and position for one person, as the browser gets them.

    `known` holds the person's attributes by canonical name (empty where nothing personal may be given out).

    Raises:
        MissingValue: a variable has neither a value nor a fallback.
    """
    return _filled(definition, _values(known, event, zone))


def render_example(definition: AutoMessageDefinition, known: Mapping[str, Any] | None, zone: tzinfo) -> dict[str, Any]:
    """Return the same with what is `known` of a person, or, without one, with the names of the variables in place of values.

    There is no event, so its variables are filled in by their names in any case.

    Raises:
        MissingValue: a variable has neither a value nor a fallback.
    """
    names = {path: path.rpartition(".")[2].replace("_", " ") for path in definition.content.variables()}
    if known is None:
        return _filled(definition, names)
    of_event = {path: name for path, name in names.items() if path.startswith(EVENT)}
    return _filled(definition, {**_values(known, None, zone), **of_event})


def _filled(definition: AutoMessageDefinition, values: Mapping[str, str]) -> dict[str, Any]:
    content = definition.content
    return {
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
            values[f"event.metadata.{key}"] = display_value(key, value, zone).text
        values["event.name"] = event.name
        values["event.created_at"] = datetime.fromtimestamp(event.at / 1000, zone).strftime("%Y-%m-%d %H:%M")
    return values


def _text(name: str, value: Any, zone: tzinfo) -> str:
    return display_value(name.removeprefix(_CUSTOM), value, zone).text
