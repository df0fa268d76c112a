"""Compressed bodies: what is whole and what is not, wherever it ends, and what looking at them costs."""

import gzip
import io
import json
import random
import zlib
from typing import Any

import pytest

from collector.values.errors import Problem
from collector.web import bodies, browser
from collector.web.browser import read_body

STEP = 65_536
"""Bytes of a compressed body that are looked at together."""
CONTENT = b'{"type": "anything"}'


def read(body: bytes, limit: int = 1_000_000) -> bytes:
    """Read a body as a server hands it over."""
    length = {"CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": "gzip"}
    return read_body({"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body), **length}, limit)


def padded(size: int) -> bytes:
    """CONTENT compressed into so many bytes, by a name in its header."""
    packed = gzip.compress(CONTENT)
    return packed[:3] + b"\x08" + packed[4:10] + b"n" * (size - len(packed) - 1) + b"\0" + packed[10:]


@pytest.mark.parametrize("around", [-1, 0, 1])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_compressed_body_is_read_wherever_it_ends(steps: int, around: int) -> None:
    body = padded(steps * STEP + around)
    assert len(body) == steps * STEP + around
    assert read(body) == CONTENT
    for wrong in (body[:-1], body + b"x", body + body):
        with pytest.raises(Problem, match="not whole, or more follows it") as refused:
            read(wrong)
        assert refused.value.status == 400


@pytest.mark.parametrize("size", [STEP - 1, STEP, STEP + 1, 10 * STEP])
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_what_inflates_to_the_limit_is_read_and_a_byte_more_is_too_large(size: int, share: float) -> None:
    """Of the content a share does not compress, so that it takes several steps to give it, or to get what comes of one."""
    content = random.Random(1).randbytes(int(size * share)).ljust(size)
    assert read(gzip.compress(content), size) == content
    with pytest.raises(Problem) as refused:
        read(gzip.compress(content + b" "), size)
    assert refused.value.status == 413


def test_what_hardly_compresses_is_not_copied_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    content, given = random.Random(1).randbytes(40 * STEP), []

    class Inflater:
        def __init__(self, wbits: int) -> None:
            self._inflater = zlib.decompressobj(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            given.append(len(data))
            return self._inflater.decompress(data, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

    class Zlib:
        error, decompressobj = zlib.error, Inflater

    body = gzip.compress(content)
    monkeypatch.setattr(browser, "zlib", Zlib)
    assert read(body, len(body)) == content
    assert sum(given) < 3 * len(body)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ('{"a": [1, 2, {"b": 3}]}', 3 * 192 + 2 * 64),
        (json.dumps({"text": "{[," * 200_000}), 192),
        (json.dumps({"text": '\\"{[,' * 100_000, "more": ["\\\\", 1]}), 2 * 192 + 2 * 64),
        ("[" + ", ".join(['{"k": "{[,"}'] * 20_000) + "]", 20_001 * 192 + 19_999 * 64),
    ],
)
def test_what_json_becomes_is_told_by_what_stands_outside_of_its_texts_where_it_is_much(body: str, size: int) -> None:
    assert bodies.decoded(body.encode()) == size
