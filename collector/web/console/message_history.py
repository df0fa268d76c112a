"""What a message was before: each version with what changed in it."""

import json
from typing import Any

import msgspec
from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from collector.services import Services
from collector.values.differences import ABSENT, differences
from collector.web.console import current
from collector.web.console.messages import find


class Change(msgspec.Struct, frozen=True):
    """One place that a version changed, with what stood there and what stands there since; None for nothing."""

    path: str
    before: str | None
    after: str | None


class VersionLine(msgspec.Struct, frozen=True):
    """One version: since when (ms) it is or was the present one, None for the first, and what it changed."""

    number: int
    since: int | None
    changes: list[Change]


def register(bp: Blueprint, services: Services) -> None:
    """Add the view to the console."""

    @bp.get("/messages/<public_id>/versions")
    def message_versions(public_id: str) -> ResponseReturnValue:
        """List the versions, the newest first."""
        site = current.site()
        with services.database.read() as connection:
            found = find(services, connection, site, public_id)
            earlier = services.auto_messages.versions(connection, site.id, found)
        lines: list[VersionLine] = []
        number, document = found.version, found.definition.as_json()
        for version in earlier:
            lines.append(VersionLine(number, version.until, _changes(version.definition, document)))
            number, document = version.number, version.definition
        lines.append(VersionLine(number, None, []))
        return render_template("message_versions.html", message=found, lines=lines)


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return what changed; the state is no part of a version."""
    found = differences({**before, "state": None}, {**after, "state": None})
    return [Change(one.path, _text(one.before), _text(one.after)) for one in found]


def _text(value: Any) -> str | None:
    if value is ABSENT or value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
