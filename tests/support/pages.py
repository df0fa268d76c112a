"""A web server for the pages that browser tests make: what a customer's site would serve."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SITE = "shop.example"


@dataclass
class Page:
    """One answer; `headers` for a policy, say."""

    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    content_type: str = "text/html; charset=utf-8"


class Pages:
    """Serves by path whatever host was asked; the same page for each query. Paths not known answer 404.

    `uncaught` collects what pages that watch themselves tell by asking for `/uncaught?TEXT`.
    """

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.port = port
        self.scheme = scheme
        self.by_path: dict[str, Page] = {}
        self.uncaught: list[str] = []

    @property
    def origin(self) -> str:
        """The origin of the site as a browser names it."""
        return f"{self.scheme}://{SITE}:{self.port}"

    def url(self, path: str = "/", host: str = SITE) -> str:
        """Return the address of a page."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def add(self, path: str, body: str = "", head: str = "", **options: Any) -> str:
        """Serve a small HTML page with this head and body, and return its address. Options are those of `Page`."""
        html = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{path}</title>{head}</head><body>{body}</body></html>'
        self.by_path[path] = Page(html, **options)
        return self.url(path)


@contextmanager
def page_server(tls: ssl.SSLContext | None = None) -> Iterator[Pages]:
    """Run a server on a free port of 127.0.0.1, over https where it is given what that takes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/uncaught":
                pages.uncaught.append(unquote(asked.query))
            page = pages.by_path.get(asked.path) or Page("<!doctype html><title>404</title>", status=404)
            body = page.body.encode("utf-8", "surrogatepass")
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that closes early is no error."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        pages = Pages(server.server_address[1], "https" if tls else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield pages
        finally:
            server.shutdown()
            thread.join()
