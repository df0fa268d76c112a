"""What a check is given, and what it says. A finding names rows, never what somebody is called or has said."""

from collections.abc import Iterator
from typing import Any

import msgspec

from collector.domain.names import STANDARD_ATTRIBUTES
from collector.storage.database import Connection

_STANDARD = {number: text for text, number in STANDARD_ATTRIBUTES.items()}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that is not as it has to be."""

    check: str
    """Which law is broken: `own_total`, `person_total`, ..."""
    expected: str
    found: str
    site: str | None = None
    """The site's key, or its row id where there is no such site."""
    identity: int | None = None
    """Row id of the identity."""
    name: str | None = None
    """The event or attribute."""

    def __str__(self) -> str:
        where = [f"{field} {value}" for field in ("site", "identity", "name") if (value := getattr(self, field)) is not None]
        return f"{' '.join([self.check, *where])}: expected {self.expected}, found {self.found}"


class Slice(msgspec.Struct, frozen=True):
    """A slice whose rows count. In a closed one, those of identities up to `moved[site]` stand in the base already."""

    number: int
    moved: dict[int, int]


class Part(msgspec.Struct, frozen=True):
    """Some identities of one site, those with `after` < row id <= `upto`, at one moment."""

    connection: Connection
    site: int
    key: str
    after: int
    upto: int
    slices: tuple[Slice, ...]

    @property
    def bounds(self) -> tuple[int, int, int]:
        """The parameters of `site = ? AND identity > ? AND identity <= ?`."""
        return self.site, self.after, self.upto

    def rows(self, sql: str, parameters: tuple[Any, ...] | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, by default with the bounds as its parameters."""
        for chunk in self.connection.chunks(sql, self.bounds if parameters is None else parameters):
            yield from chunk

    def by(self, index: str) -> str:
        """Return what tells SQLite which index to take: without statistics it may rather read all that a site has."""
        return f" INDEXED BY {index}" if self.connection.engine == "sqlite" else ""

    def finding(self, check: str, expected: object, found: object, identity: int | None = None, name: int | None = None) -> Finding:
        """Return a finding about this site."""
        return Finding(check, str(expected), str(found), self.key, identity, None if name is None else self._text(name))

    def _text(self, number: int) -> str:
        text = self.connection.value("SELECT text FROM names WHERE site = ? AND id = ?", (self.site, number))
        return _STANDARD.get(number) or (f"#{number}" if text is None else str(text))
