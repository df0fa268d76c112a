"""A small HTTP client that shows answers as they are: no redirects followed, no status raised."""

import gzip
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TEXT = "text/plain;charset=UTF-8"
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. Header names are looked up without regard to case."""

    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def body(self) -> bytes:
        """The body, inflated where the answer came compressed."""
        return gzip.decompress(self.raw) if self.headers.get("Content-Encoding") == "gzip" else self.raw

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        """The body parsed as JSON."""
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of the errors in the one error shape."""
        return [error["code"] for error in self.json["errors"]]


class Client:
    """Speaks to one server; a connection for each request, so that threads may share a client."""

    def __init__(self, url: str, token: str | None = None, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.timeout = timeout

    def request(self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request and read the whole answer.

        Raises:
            OSError, http.client.HTTPException: the server did not answer.
        """
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.timeout)
        try:
            data = body.encode("utf-8") if isinstance(body, str) else body
            connection.request(method, parts.path + path, body=data, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path."""
        return self.request("GET", path, headers=headers)

    def post_json(self, path: str, value: Any, headers: Mapping[str, str] | None = None, content_type: str = TEXT) -> Answer:
        """POST a value as JSON, by default with the content type that the tracker uses."""
        return self.request("POST", path, json.dumps(value), {"Content-Type": content_type, **(headers or {})})

    def api(self, method: str, path: str, value: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Call REST: the path goes after `/api`, the access token along."""
        own = {"Accept": JSON}
        if self.token is not None:
            own["Authorization"] = f"Bearer {self.token}"
        body = None
        if value is not None:
            own["Content-Type"] = JSON
            body = json.dumps(value)
        return self.request(method, f"/api{path}", body, {**own, **(headers or {})})
