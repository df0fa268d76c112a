"""Rules for text, in one place, because SQLite and PostgreSQL disagree about case and refuse different code points.

Most text on the web's wires is ASCII, for which every rule here is a shorter one.
"""

import re
import unicodedata

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""What Unicode calls letters and marks, or a pattern, and everybody sees as a blank."""


def storable(text: str) -> bool:
    """Say whether every code point can be stored: no U+0000, no lone surrogate."""
    return "\x00" not in text if text.isascii() else _NOT_STORABLE.search(text) is None


def replace_unstorable(text: str) -> str:
    """Return the text with U+0000 and lone surrogates turned into U+FFFD."""
    return text if storable(text) else _NOT_STORABLE.sub(REPLACEMENT, text)


def is_blank(text: str) -> bool:
    """Say whether nothing of a text can be seen: it has only white space, without width too, and characters that draw nothing."""
    return all(sign.isspace() or sign in _FILLERS or unicodedata.category(sign) in ("Cf", "Cc") for sign in text)


def normalise(text: str) -> str:
    """Return the text in Unicode form NFC, without white space around it."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def fold(text: str) -> str:
    """Return the form in which `~`, `^` and `$` compare: case-folded NFC. Stored, never computed by a database."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
