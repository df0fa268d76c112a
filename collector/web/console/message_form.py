"""The form of a message, until there is a composer: its name, and every other part as the API has it, with what is wrong beside it."""

import json
import re
from typing import Any

import msgspec
from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from collector.domain.auto_messages import AutoMessage, MessageChanged, NoMessage, stamp_of
from collector.domain.sites import Site
from collector.services import Services
from collector.values.errors import Problem
from collector.values.messages import TYPES, AutoMessageDefinition, clean_auto_message
from collector.web.console import asked, current
from collector.web.console.asked import Unreadable
from collector.web.console.messages import find
from collector.web.console.rule_form import Wrong

_LONGEST = 200_000
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_NEW = {
    "name": "",
    "type": "popup",
    "content": {"title": "", "body": "", "buttons": [{"label": "Close", "action": "dismiss"}], "position": "corner"},
    "trigger": {"type": "page"},
    "frequency": {"type": "until_acted"},
    "priority": 0,
    "holdout_percent": 0,
}


class Part(msgspec.Struct, frozen=True):
    """One part of a definition in the form. `kind` is `text`, `number`, `check` or `json`; what may be left empty means `empty`."""

    name: str
    label: str
    kind: str = "json"
    empty: str = ""


PARTS = (
    Part("name", "Name", "text"),
    Part("content", "What it says"),
    Part("audience", "Audience", empty="everybody"),
    Part("page", "Pages", empty="every page"),
    Part("trigger", "Opens"),
    Part("frequency", "How often"),
    Part("schedule", "Schedule", empty="at any time"),
    Part("goal", "Goal", empty="none"),
    Part("priority", "Priority", "number"),
    Part("holdout_percent", "Holdout, in percent", "number"),
    Part("ignore_caps", "Not held back by the gap and the daily maximum between messages", "check"),
)
_PARTS = frozenset({"type", *(part.name for part in PARTS)})


def register(bp: Blueprint, services: Services) -> None:
    """Add the views to the console."""

    @bp.get("/messages/new")
    def message_new() -> ResponseReturnValue:
        """Show the form with the least that a message has."""
        return _form(None, _texts(_NEW))

    @bp.post("/messages/new")
    def message_create() -> ResponseReturnValue:
        """Store a draft of what the form says; or fill the form in with a whole definition."""
        if request.form.get("do") == "fill":
            return _fill()
        site, texts = current.site(), _sent()
        try:
            definition = clean_auto_message({**_read(texts), "state": "draft"}, retention_days=_retention(), time_zone=site.zone)
            now = services.clock()
            made: AutoMessage = services.writer.run(site.id, lambda tx: services.auto_messages.create(tx, site.id, definition, now))
        except _Faulty as error:
            return _form(None, texts, error.wrong), 400
        except Problem as problem:
            return _form(None, texts, _wrong(problem)), problem.status
        return redirect(url_for("console.message", public_id=made.public_id, saved=1), 303)

    @bp.get("/messages/<public_id>/edit")
    def message_edit(public_id: str) -> ResponseReturnValue:
        """Show the form of a message."""
        found = _find(current.site(), public_id)
        document = found.definition.as_json()
        return _form(found, _texts(document), stamp=stamp_of(document))

    @bp.post("/messages/<public_id>/edit")
    def message_save(public_id: str) -> ResponseReturnValue:
        """Change a message into what the form says, unless somebody else was quicker."""
        site, texts, stamp = current.site(), _sent(), current.field("stamp")
        found = _find(site, public_id)

        def change(_version: int, before: dict[str, Any]) -> AutoMessageDefinition:
            if stamp_of(before) != stamp:
                raise MessageChanged
            return clean_auto_message({**raw, "state": before["state"]}, retention_days=_retention(), time_zone=site.zone)

        try:
            raw = _read(texts)
            now = services.clock()
            services.writer.run(site.id, lambda tx: services.auto_messages.update(tx, site.id, found.public_id, change, now))
        except _Faulty as error:
            return _form(found, texts, error.wrong, stamp=stamp), 400
        except Problem as problem:
            return _form(found, texts, _wrong(problem), stamp=stamp), problem.status
        except NoMessage:
            abort(404)
        except MessageChanged:
            return _form(found, texts, stamp=stamp_of(found.definition.as_json()), changed=True), 409
        services.auto_messages.forget(site.id)
        return redirect(url_for("console.message", public_id=found.public_id, saved=1), 303)

    def _find(site: Site, public_id: str) -> AutoMessage:
        with services.database.read() as connection:
            return find(services, connection, site, public_id)

    def _retention() -> int:
        return services.settings.retention_days


class _Faulty(Exception):
    """Parts of the form are no JSON."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__(wrong)
        self.wrong = wrong


def _fill() -> ResponseReturnValue:
    """Show the form filled in with a whole definition, as the API gives it out."""
    text = current.field("document", _LONGEST)
    try:
        raw = asked.decoded(text, lambda value: value)
    except Unreadable as error:
        return _form(None, _sent(), [Wrong(error.problem, error.place, "document")], document=text), 400
    if not isinstance(raw, dict):
        return _form(None, _sent(), [Wrong("A definition is a JSON object.", "", "document")], document=text), 400
    known = {name: value for name, value in raw.items() if name in _PARTS}
    left = sorted(raw.keys() - _PARTS - {"id", "version", "state"})
    wrong = [Wrong(f"A message has no part of this name: {name[:100]}.", "", "document") for name in left[:5]]
    return _form(None, _texts({**_NEW, **known}), wrong, document=text if wrong else ""), 400 if wrong else 200


def _form(present: AutoMessage | None, texts: dict[str, str], wrong: list[Wrong] | None = None, stamp: str = "", **shown: Any) -> str:
    return render_template(
        "message_form.html", message=present, parts_of=PARTS, types=TYPES, texts=texts, wrong=wrong or [], stamp=stamp, **shown
    )


def _texts(document: dict[str, Any]) -> dict[str, str]:
    """Return what stands in each field of the form for a definition."""
    return {"type": str(document.get("type") or ""), **{part.name: _text(part, document.get(part.name)) for part in PARTS}}


def _text(part: Part, value: Any) -> str:
    if value is None or value is False:
        return ""
    return value if isinstance(value, str) and part.kind == "text" else json.dumps(value, indent=2, ensure_ascii=False)


def _sent() -> dict[str, str]:
    """Return what stands in each field of the form that was sent."""
    return {name: current.field(name, _LONGEST) for name in ("type", *(part.name for part in PARTS))}


def _read(texts: dict[str, str]) -> dict[str, Any]:
    """Return the definition that the fields describe, as raw as a client would send it.

    Raises:
        _Faulty: something is no JSON.
    """
    raw: dict[str, Any] = {"type": texts["type"]}
    wrong: list[Wrong] = []
    for part in PARTS:
        text = texts[part.name]
        if part.kind == "check":
            raw[part.name] = bool(text)
        elif part.kind == "text" or not text:
            raw[part.name] = text or None
        elif part.kind == "number":
            raw[part.name] = json.loads(text) if _NUMBER.fullmatch(text) else text
        else:
            try:
                raw[part.name] = asked.decoded(text, lambda value: value)
            except Unreadable as error:
                wrong.append(Wrong(error.problem, error.place, part.name))
    if wrong:
        raise _Faulty(wrong)
    return raw


def _wrong(problem: Problem) -> list[Wrong]:
    """Return the API's errors, each at the field of the form that holds its path, in the order of the form."""
    order = ["type", *(part.name for part in PARTS)]
    found = [Wrong(error.message, error.field or "", re.split(r"[.\[]", error.field or "")[0]) for error in problem.errors]
    known = [one if one.field in order else Wrong(one.problem, one.place) for one in found]
    return sorted(known, key=lambda one: order.index(one.field) if one.field else -1)
