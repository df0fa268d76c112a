"""A proxy that takes every host for this machine: the one way of naming hosts that all browsers know."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HERE = "127.0.0.1"


class Handler(BaseHTTPRequestHandler):
    """Hands a request on to the port it asks for, here. One whose answer does not come is cut, as a network would."""

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(HERE, target.port, timeout=60)
        try:
            connection.request(self.command, target._replace(scheme="", netloc="").geturl() or "/", body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_OPTIONS = do_GET  # noqa: N815

    def do_CONNECT(self) -> None:
        with suppress(OSError), socket.create_connection((HERE, int(self.path.rpartition(":")[2]))) as there:
            self.send_response_only(200)
            self.end_headers()
            back = threading.Thread(target=_pour, args=(there, self.connection), daemon=True)
            back.start()
            _pour(self.connection, there)
            back.join()

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


def _pour(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until there are no more."""
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes early is no error."""


@contextmanager
def proxy_here() -> Iterator[str]:
    """Run the proxy on a free port and give its address as `HOST:PORT`."""
    with Server((HERE, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"{HERE}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
