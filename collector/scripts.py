"""What `static/` holds for browsers and for npm: the built scripts, and the package that calls them."""

import gzip
import hashlib
import io
import struct
import tarfile
import zlib
from pathlib import Path

import brotli
import msgspec


class Asset(msgspec.Struct, frozen=True):
    """A script, as it is and compressed (by content coding, the smallest first), with the hash of its content (12 hex digits)."""

    plain: bytes
    packed: dict[str, bytes]
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
    packed = {"br": brotli.compress(plain), "gzip": gzip.compress(plain, 9, mtime=0)}
    return Asset(plain, packed, hashlib.sha256(plain).hexdigest()[:12])


MODULE = "src/module/leadlight.js"
"""The package's module, which is also served by itself."""

_PACKAGE = {
    "package/package.json": "src/module/package.json",
    f"package/{MODULE}": MODULE,
    "package/src/module/index.d.ts": "src/module/index.d.ts",
    "package/types.d.ts": "types.d.ts",
}


def package() -> bytes:
    """Return the npm package as `npm install` takes it, the same bytes on every machine.

    Lock files of customers hold its digest, and another compressor would make other bytes: so it is packed without compression,
    and nothing of the moment or of the file system goes in.
    """
    folder = script_folder()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, source in _PACKAGE.items():
            content = (folder / source).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return _stored(tar.getvalue())


def _stored(content: bytes) -> bytes:
    """Return content as gzip (RFC 1952) in blocks that are only stored (RFC 1951, 3.2.4)."""
    most = 0xFFFF
    parts = [content[start : start + most] for start in range(0, len(content), most)]
    blocks = [struct.pack("<BHH", part is parts[-1], len(part), len(part) ^ most) + part for part in parts]
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"".join(blocks) + struct.pack("<II", zlib.crc32(content), len(content))
