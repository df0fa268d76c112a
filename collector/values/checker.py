"""Checking a JSON document as a whole: every error is collected with its path, instead of ending at the first."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from collector.values.errors import Reason, Refusal
from collector.values.fields import math_finite, shown
from collector.values.text import storable

T = TypeVar("T")


class Checker:
    """Reads the parts of one document. What is wrong is added to `errors`, and something of the right type is returned."""

    def __init__(self) -> None:
        self.errors: list[Refusal] = []

    def error(self, field: str, message: str, code: Reason = Reason.FIELD_INVALID) -> None:
        """Add an error."""
        self.errors.append(Refusal(code, field, message))

    def has_error(self, field: str) -> bool:
        """Say whether something is wrong with a field already."""
        return any(error.field == field for error in self.errors)

    def attempt(self, clean: Callable[[], T]) -> T | None:
        """Return what `clean` returns; None, and an error, where it refuses."""
        try:
            return clean()
        except Refusal as refusal:
            self.errors.append(refusal.bare())
            return None

    def optional(self, raw: dict[str, Any], field: str, clean: Callable[[Any], T]) -> T | None:
        """Return the cleaned field; None where it is absent or null, or refused."""
        part = raw.get(field)
        return None if part is None else self.attempt(lambda: clean(part))

    def only_keys(self, raw: dict[str, Any], known: Iterable[str], field: str) -> None:
        """Add an error for each key that is not known."""
        for key in raw:
            if key not in known:
                name = shown(key).strip('"')
                self.error(f"{field}.{name}" if field else name, Reason.FIELD_UNKNOWN.meaning, Reason.FIELD_UNKNOWN)

    def part(self, raw: object, field: str, known: set[str], *, required: bool = False) -> dict[str, Any]:
        """Return an object within the document; an empty one where it is absent or wrong."""
        if isinstance(raw, dict):
            self.only_keys(raw, known, field)
            return raw
        if raw is not None or required:
            self.error(field, f"Expected an object, not {shown(raw)}.")
        return {}

    def choice(self, raw: object, allowed: tuple[str, ...], field: str, default: str | None = None) -> str:
        """Return one of the allowed texts, the default where it is absent; without a default it is required."""
        if raw is None and default is not None:
            return default
        if isinstance(raw, str) and raw in allowed:
            return raw
        self.error(field, f"There is {shown(raw)}; expected one of {' '.join(allowed)}.")
        return default or ""

    def text(self, raw: object, field: str, most: int) -> str | None:
        """Return a text of at most `most` code points."""
        if raw is None:
            return None
        if isinstance(raw, str) and storable(raw) and len(raw) <= most:
            return raw
        self.error(field, f"Expected text of at most {most} code points, not {shown(raw)}.")
        return None

    def boolean(self, raw: object, field: str) -> bool:
        """Return a boolean, False where it is absent."""
        if raw is not None and not isinstance(raw, bool):
            self.error(field, f"Expected true or false, not {shown(raw)}.")
        return raw is True

    def whole(self, raw: object, field: str, least: int, most: int) -> int | None:
        """Return a whole number within bounds."""
        if raw is not None and not isinstance(raw, int):
            self.error(field, f"Expected a whole number, not {shown(raw)}.")
            return None
        number = self.number(raw, field, least, most)
        return number if isinstance(number, int) else None

    def number(self, raw: object, field: str, least: int, most: int) -> int | float | None:
        """Return a number within bounds."""
        if raw is None:
            return None
        if isinstance(raw, int | float) and not isinstance(raw, bool) and math_finite(raw) and least <= raw <= most:
            return raw
        self.error(field, f"Expected a number from {least} to {most}, not {shown(raw)}.")
        return None
