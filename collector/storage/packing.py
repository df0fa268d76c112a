"""Lists of values as arrays of PostgreSQL's, in its binary form, so that many rows travel as a few parameters.

A statement with an array has one text however many values there are, so that the server plans it once; and the driver has one value to
look at and not ten thousand. The form is that of `array_send`: dimensions, whether there are nulls, the type of the elements, their number,
the lowest index, then each element behind its length, the highest byte first.
"""

import struct
from collections.abc import Sequence
from typing import Any

from psycopg import adapt, adapters, pq

_HEADER = struct.Struct(">iiIii")
_NULL = b"\xff\xff\xff\xff"


class Bigints(bytes):
    """An array of BIGINT."""


class Doubles(bytes):
    """An array of DOUBLE PRECISION."""


class Texts(bytes):
    """An array of TEXT."""


class Blobs(bytes):
    """An array of BYTEA."""


Packed = Bigints | Doubles | Texts | Blobs


def packed(values: Sequence[Any], kind: type | None = None) -> Packed | None:
    """Return values of one type, or None for nulls, as an array; None where all are null and no type is given.

    Raises:
        TypeError: a value does not fit the type of the first.
    """
    kind = kind or next((type(value) for value in values if value is not None), None)
    if kind is None:
        return None
    if kind not in _KINDS:
        raise TypeError(f"there is no array of {kind.__name__}")
    make, element = _KINDS[kind]
    has_null = None in values
    head = _HEADER.pack(1, has_null, element, len(values), 1)
    if make is Bigints or make is Doubles:
        return make(head + _numbers(values, "q" if make is Bigints else "d", has_null=has_null))
    parts = [head]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            data = str.encode(value) if make is Texts else value
            parts += (len(data).to_bytes(4, "big"), data)
    return make(b"".join(parts))


def _numbers(values: Sequence[Any], kind: str, *, has_null: bool) -> bytes:
    try:
        if not has_null:
            return struct.pack(f">{f'i{kind}' * len(values)}", *[part for value in values for part in (8, value)])
        one = struct.Struct(f">i{kind}").pack
        return b"".join([_NULL if value is None else one(8, value) for value in values])
    except struct.error as error:
        raise TypeError("a value does not fit the type of the array") from error


_KINDS: dict[type, tuple[type[Packed], int]] = {int: (Bigints, 20), float: (Doubles, 701), str: (Texts, 25), bytes: (Blobs, 17)}


class _Dumper(adapt.Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        """Return the array as it is."""
        return obj


for _type, _array in ((Bigints, 1016), (Doubles, 1022), (Texts, 1009), (Blobs, 1001)):
    adapters.register_dumper(_type, type(f"{_type.__name__}Dumper", (_Dumper,), {"oid": _array}))
