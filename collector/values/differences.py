"""What is different between two JSON documents, place by place."""

from typing import Any

import msgspec

ABSENT = object()
"""Stands for what one of the two does not have."""


class Difference(msgspec.Struct, frozen=True):
    """One place where two documents differ: its path (`content.buttons[0].url`) and what stands there, or ABSENT."""

    path: str
    before: Any
    after: Any


def differences(before: Any, after: Any, path: str = "") -> list[Difference]:
    """Return the smallest places that differ, in the order of the documents. Objects with other keys differ as a whole."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        pairs = [(f"{path}.{key}" if path else key, before[key], after[key]) for key in before]
    elif isinstance(before, list) and isinstance(after, list):
        longest = range(max(len(before), len(after)))
        pairs = [(f"{path}[{place}]", _at(before, place), _at(after, place)) for place in longest]
    else:
        same = type(before) is type(after) and before == after
        return [] if same else [Difference(path, before, after)]
    return [found for where, one, other in pairs for found in differences(one, other, where)]


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else ABSENT
