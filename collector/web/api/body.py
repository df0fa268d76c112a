"""Reading what a client sent: JSON without its traps, and the parameters of an address.

Python's decoder takes more than JSON is (NaN, a key twice, numbers beyond every type). Here such places are found after decoding,
with their path, so that one of them inside a batch costs its own event and no other.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from flask import g, request

from collector.services import Services
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import MAX_DIGITS, shown
from collector.values.text import replace_unstorable, storable
from collector.web.browser import read_body

DEEPEST = 500
"""Levels of nesting; a query of 200 nodes needs about 400."""
LONGEST_LABEL = 120


class Repeated(dict[str, Any]):
    """An object in which a key stands twice."""

    key: str = ""


def read_json(services: Services) -> Any:
    """Return the JSON of the body; `check` says whether it is sound.

    Raises:
        Problem: 400, 413 or 415; 503 where there is no room for it.
    """
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise problem(415, Reason.BODY_INVALID, "Content-Type", "expected application/json")
    data = read_body(request.environ, services.settings.body_limit * 8)
    g.body_bytes = len(data)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_int=_whole)
    except RecursionError:
        raise problem(400, Reason.BODY_INVALID, None, "the body is nested too deeply") from None
    except ValueError:
        raise problem(400, Reason.BODY_INVALID, None, "expected JSON in UTF-8") from None


def sent_bytes() -> int:
    """Return how many bytes the JSON that was read of this request had, inflated."""
    return int(g.get("body_bytes", 0))


def read_object(services: Services) -> dict[str, Any]:
    """Return the body, a sound JSON object.

    Raises:
        Problem: 400, 413 or 415, naming the field where there is one; 503 where there is no room for it.
    """
    body = read_json(services)
    if not isinstance(body, dict):
        raise problem(400, Reason.BODY_INVALID, None, f"expected a JSON object, not {shown(body)}")
    check(body)
    return body


def check(value: dict[str, Any]) -> None:
    """Go through decoded JSON, in memory that grows with its depth and not with what stands there.

    Raises:
        Refusal: FIELD_INVALID at the first key that stands twice, number beyond every type, or value nested too deeply.
    """
    path: list[Any] = []
    inside = [_members(value, path)]
    while inside:
        for key, member in inside[-1]:
            if isinstance(member, float):
                if not math.isfinite(member):
                    raise Refusal(Reason.FIELD_INVALID, _field([*path, key]), "a number is finite and has at most 1000 digits")
            elif isinstance(member, dict | list):
                path.append(key)
                inside.append(_members(member, path))
                break
        else:
            inside.pop()
            del path[-1:]


def unknown_key(raw: dict[str, Any], known: frozenset[str]) -> str | None:
    """Return what can be shown of the first key that is not known, or None."""
    return next((label(key) for key in raw if key not in known), None)


def label(key: str) -> str:
    """Return what can be shown of a key."""
    return replace_unstorable(key)[:LONGEST_LABEL]


def query_number(name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the address.

    Raises:
        Problem: 400.
    """
    text = request.args.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most:
        return int(text)
    raise problem(400, Reason.FIELD_INVALID, name, f"expected a whole number from {least} to {most}, not {shown(text)}")


def query_text(name: str) -> str | None:
    """Return a text of the address; None where it is missing or empty.

    Raises:
        Problem: 400 where it cannot be stored and so names nothing.
    """
    text = request.args.get(name, "")
    if not storable(text):
        raise problem(400, Reason.FIELD_INVALID, name)
    return text or None


def query_flag(name: str) -> bool:
    """Return a `true` or `false` of the address, false where it is missing.

    Raises:
        Problem: 400.
    """
    text = request.args.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise problem(400, Reason.FIELD_INVALID, name, "expected true or false")
    return text in ("true", "1")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    found = Repeated(made)
    for key, _ in pairs:
        if key in seen:
            found.key = key
        seen.add(key)
    return found


def _members(node: dict[str, Any] | list[Any], path: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Return what stands in an object or a list, each with its key or place.

    Raises:
        Refusal: it is nested too deeply, or a key stands there twice.
    """
    if len(path) >= DEEPEST:
        raise Refusal(Reason.FIELD_INVALID, _field(path[:4]), f"nested deeper than {DEEPEST} levels")
    if isinstance(node, Repeated):
        raise Refusal(Reason.FIELD_INVALID, _field([*path, node.key]), "the key stands there twice")
    return iter(node.items() if isinstance(node, dict) else enumerate(node))


def _whole(text: str) -> int | float:
    """Read a whole number; beyond what Python writes out again, infinity, which `check` refuses at its place."""
    return int(text) if len(text) <= MAX_DIGITS else math.inf


def _field(path: Sequence[Any]) -> str | None:
    field = ""
    for part in path:
        field += f"[{part}]" if isinstance(part, int) else f".{label(part)}" if field else label(part)
    return field or None
