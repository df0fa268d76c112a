"""The two ways in which browsers are driven from outside: WebDriver over HTTP, and the same commands over Firefox's own socket.

Firefox speaks Marionette itself; the program that turns it into WebDriver is in no package of Debian's, and nothing here needs it.
"""

import json
import socket
import urllib.error
import urllib.request
from typing import Any, Protocol

# Every command of the tests: its name in Marionette, its method and path in WebDriver. `{}` is filled with the parameter that is named.
COMMANDS = {
    "Navigate": ("POST", "/url", None),
    "Refresh": ("POST", "/refresh", None),
    "ExecuteScript": ("POST", "/execute/sync", None),
    "NewWindow": ("POST", "/window/new", None),
    "GetWindowHandle": ("GET", "/window", None),
    "SwitchToWindow": ("POST", "/window", None),
    "CloseWindow": ("DELETE", "/window", None),
    "GetCookies": ("GET", "/cookie", None),
    "ElementClick": ("POST", "/element/{}/click", "id"),
    "PerformActions": ("POST", "/actions", None),
    "TakeScreenshot": ("GET", "/screenshot", None),
}


class Refused(Exception):
    """The browser refused a command: its word for the reason and its message."""


class Wire(Protocol):
    """Sends one command of `COMMANDS` and returns what it answers.

    Raises:
        Refused: the browser could not do it.
    """

    def send(self, command: str, parameters: dict[str, Any]) -> Any:
        """Do one command."""

    def close(self) -> None:
        """End the session, and with it the browser."""


class WebDriver:
    """A session with a driver that listens on a port of this machine. `wanted` are the capabilities it must have."""

    def __init__(self, port: int, wanted: dict[str, Any]) -> None:
        self._address = f"http://127.0.0.1:{port}/session"
        session = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.capabilities: dict[str, Any] = session["capabilities"]
        self._address += f"/{session['sessionId']}"

    def send(self, command: str, parameters: dict[str, Any]) -> Any:
        """Do one command; see `Wire`."""
        method, path, named = COMMANDS[command]
        if named:
            parameters = dict(parameters)
            path = path.format(parameters.pop(named))
        return self._ask(method, path, parameters if method == "POST" else None)

    def close(self) -> None:
        """End the session."""
        self._ask("DELETE", "", None)

    def _ask(self, method: str, path: str, parameters: dict[str, Any] | None) -> Any:
        body = None if parameters is None else json.dumps(parameters).encode()
        request = urllib.request.Request(self._address + path, body, {"Content-Type": "application/json"}, method=method)
        # Whatever proxy the machine has is none for this machine's own ports.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Refused(f"{value['error']}: {value['message']}") from None


class Marionette:
    """A session with a Firefox that listens on a port of this machine. Messages are `LENGTH:[kind, number, ...]`."""

    def __init__(self, port: int, wanted: dict[str, Any]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._read()  # what it says of itself
        session = self.send("NewSession", wanted)
        self.capabilities: dict[str, Any] = session["capabilities"]

    def send(self, command: str, parameters: dict[str, Any]) -> Any:
        """Do one command; see `Wire`."""
        self._number += 1
        text = json.dumps([0, self._number, f"WebDriver:{command}", parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, answer = self._read()
        if error:
            raise Refused(f"{error['error']}: {error['message']}")
        return answer["value"] if isinstance(answer, dict) and answer.keys() == {"value"} else answer

    def close(self) -> None:
        """End the connection, and with it the session."""
        self._file.close()
        self._socket.close()

    def _read(self) -> Any:
        length = b""
        while (letter := self._file.read(1)) != b":":
            if not letter:
                raise ConnectionError("the browser hung up")
            length += letter
        return json.loads(self._file.read(int(length)))
