"""The built scripts, as files."""

import gzip
import hashlib
from pathlib import Path

import msgspec


class Asset(msgspec.Struct, frozen=True):
    """A script, as it is and compressed, with the hash of its content (12 hex digits)."""

    plain: bytes
    packed: bytes
    hash: str


def script_folder() -> Path:
    """Return the folder of the built scripts: inside an installed package, or `static/` of a clone."""
    packed = Path(__file__).parent / "static"
    return packed if (packed / "tracker.js").exists() else Path(__file__).parent.parent / "static"


def load(name: str) -> Asset:
    """Read a built script."""
    return asset((script_folder() / name).read_bytes())


def asset(plain: bytes) -> Asset:
    """Return a script ready to be served."""
    return Asset(plain, gzip.compress(plain, 9, mtime=0), hashlib.sha256(plain).hexdigest()[:12])
