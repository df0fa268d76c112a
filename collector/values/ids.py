"""Identifiers: event ids (16 bytes, time first), row ids (63 bits, time first) and random public names.

Event ids are UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, then random bits. Ids that a sender does not mint as UUIDv7 are
derived so that they sort the same way and the same event derives the same id: the time in front, a keyed digest behind. The key
is the site's salt, so that nobody outside can work out an id and send a decoy ahead of the real event.
"""

import hashlib
import os
import secrets
import threading
import uuid
from collections.abc import Sequence

_ROW_ID_EPOCH = 1_700_000_000_000  # ms; leaves 43 bits of milliseconds, until the year 2302
_RANDOM_BITS = 20
_MOST_AHEAD = 10_000 << _RANDOM_BITS
"""How far ids may be ahead of the clock: 10 s."""

UUID_LENGTH = 36
"""Of the canonical form: 32 digits and four hyphens."""


def uuid7_bytes(text: str) -> bytes | None:
    """Return the 16 bytes of a UUIDv7 in its canonical 36-character form, or None for anything else."""
    return event_id_bytes(text) if len(text) == UUID_LENGTH and text[14] == "7" else None


def uuid7s_bytes(texts: Sequence[str]) -> list[bytes] | None:
    """Return what `uuid7_bytes` gives of each, or None where one of them is none: of many at once that costs a tenth."""
    number = len(texts)
    if set(map(len, texts)) != {UUID_LENGTH}:
        return None
    text = "".join(texts)
    hyphens = "-" * number
    if text[14::UUID_LENGTH] != "7" * number or any(text[place::UUID_LENGTH] != hyphens for place in (8, 13, 18, 23)):
        return None
    try:
        made = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    # fromhex passes over blanks, and other hyphens are gone, which makes it shorter
    return [made[start : start + 16] for start in range(0, len(made), 16)] if len(made) == 16 * number else None


def event_id_bytes(text: str) -> bytes | None:
    """Return the 16 bytes of an event id as `event_id_text` writes it, whatever its version bits, or None for anything else."""
    if len(text) != UUID_LENGTH or not text[8] == text[13] == text[18] == text[23] == "-":
        return None
    try:
        made = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return made if len(made) == 16 else None  # fromhex passes over blanks, which make it shorter


def new_uuid7(now_ms: int) -> str:
    """Return a new UUIDv7 for the given time in its canonical form."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (now_ms & (1 << 48) - 1) << 80 | 7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def event_id_text(id16: bytes) -> str:
    """Return an event id as 36 characters, whatever its version bits."""
    return str(uuid.UUID(bytes=id16))


def event_id_time(id16: bytes) -> int:
    """Return the milliseconds since 1970 UTC inside an event id."""
    return int.from_bytes(id16[:6], "big")


def first_event_id(at_ms: int) -> bytes:
    """Return the smallest event id of a time (ms)."""
    return max(at_ms, 0).to_bytes(6, "big") + bytes(10)


def derived_event_id(salt: bytes, at_ms: int, *parts: str | bytes) -> bytes:
    """Return the event id for a time and the parts that make the event what it is."""
    digest = hashlib.blake2b(key=salt, digest_size=10)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(4, "big") + data)
    return at_ms.to_bytes(6, "big") + digest.digest()


def new_public_id() -> str:
    """Return 24 random hex digits, the form of Intercom's contact ids."""
    return secrets.token_hex(12)


def new_nonce() -> str:
    """Return 22 random characters of base64url (16 bytes)."""
    return secrets.token_urlsafe(16)


class RowIds:
    """Mints row ids without asking the database: milliseconds, then 20 random bits, growing as long as the clock is not set back.

    Two processes may collide once in a million within the same millisecond; the primary key then refuses the row, and the transaction
    is run again and mints another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def mint(self, now_ms: int) -> int:
        """Return a new positive 63-bit id, larger than every earlier one of this process unless the clock was set back by seconds.

        Were it always larger, one look at a clock that is years ahead would put all later rows there, where nobody finds them by their age.
        """
        candidate = (max(now_ms - _ROW_ID_EPOCH, 0) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        with self._lock:
            ahead = self._last - candidate
            self._last = self._last + 1 if 0 <= ahead < _MOST_AHEAD else candidate
            return self._last

    @staticmethod
    def first_at(at_ms: int) -> int:
        """Return the smallest id that can have been minted at a time (ms)."""
        return max(at_ms - _ROW_ID_EPOCH, 0) << _RANDOM_BITS
