"""The entry for granian: the tracker's requests on an event loop, everything else by Flask in a pool of threads.

Most of what a page view costs under WSGI is waking the thread that waits for its commit. Here one loop goes on with the next
request, and a whole group's answers wake it once.
"""

import asyncio
import contextlib
import io
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # re-exported without saying so

from collector.ingest.effects import Effect, Guest, Record, Write
from collector.ingest.senders import Headers
from collector.services import CLAIMERS, DECIDERS
from collector.values.errors import Problem, Reason, problem
from collector.values.ids import new_nonce
from collector.web.bodies import Bodies, Body
from collector.web.browser import PATHS, Answer, Responder, TrackerRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope


_READERS = 8
_CLAIM_SECONDS = 15  # longer than any lock is waited for; where commits are not answered at all, nobody had better wait with them
_WAITING = 2  # requests that have or wait for one of Flask's threads, in times these; then REST is turned away at once, and pages are not
_LIVES, _READY, _REST = "/healthz", "/readyz", "/api/"
_PART = 65_536  # bytes sent at once of a long answer


class RsgiEntry:
    """An RSGI application: `others` answers what is not the tracker's; `largest` bounds its bodies in bytes."""

    def __init__(self, responder: Responder, others: "WSGIApplication", *, threads: int, largest: int, close: Callable[[], None]) -> None:
        self._responder = responder
        self._others = others
        self._close = close
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flask")
        self._most = threads * _WAITING
        self._under_way = 0
        # Whoever fills the room for REST, which anybody may try to, does not fill the tracker's.
        self._tracker_bodies, self._other_bodies = Bodies(responder.limit), Bodies(largest)
        # Whoever asks how the process is must hear it while everything else waits for the database.
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="ready")
        # What has a time limit goes on in its thread after that: decisions must not stand in the way of anything else, nor claims.
        self._deciders = ThreadPoolExecutor(DECIDERS, thread_name_prefix="decider")
        self._claimers = ThreadPoolExecutor(CLAIMERS, thread_name_prefix="claimer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")  # the console must not keep the tracker waiting

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write what is queued when the worker ends. Requests that no thread has begun to answer are given up: nobody waits any more."""
        try:
            self._close()
        finally:
            for pool in (self._pool, self._looker, self._deciders, self._claimers, self._readers):
                pool.shutdown(wait=False, cancel_futures=True)

    async def __rsgi__(self, scope: "Scope", protocol: "HTTPProtocol") -> None:
        """Answer one request, as RSGI asks for."""
        if scope.proto != "http":
            protocol.close(400)  # type: ignore[attr-defined]  # a websocket's, which we do not speak
            return
        header = scope.headers.get
        length = "" if header("transfer-encoding") else header("content-length", "")
        body = Body(self._tracker_bodies if scope.path in PATHS else self._other_bodies, length)
        try:
            with contextlib.suppress(ProtocolClosed):  # the visitor left while sending
                await self._answer(scope, protocol, body)
        finally:
            body.forget()

    async def _answer(self, scope: "Scope", protocol: "HTTPProtocol", arriving: Body) -> None:
        loop = asyncio.get_running_loop()
        if scope.path in PATHS:
            answer = await self._tracker(loop, scope, protocol, arriving)
        elif scope.path == _LIVES:
            answer = Answer(200, [("Content-Type", "application/json")], b'{"status":"ok"}')
        else:
            try:
                body = await arriving.read(protocol)
                if scope.path.startswith(_REST) and self._under_way >= self._most:
                    raise problem(503, Reason.OVERLOADED, headers=[("Retry-After", "5")])
            except Problem as error:
                answer = _refusal(error)
                protocol.response_bytes(answer.status, answer.headers, answer.body)
                return
            counts = scope.path != _READY
            self._under_way += counts
            try:
                pool = self._pool if counts else self._looker
                answer, rest = await loop.run_in_executor(pool, _call, self._others, _environ(scope, body), body)
                if rest is not None:
                    await self._stream(loop, protocol, answer, rest)
                    return
            finally:
                self._under_way -= counts
        protocol.response_bytes(answer.status, answer.headers, answer.body)

    async def _stream(self, loop: asyncio.AbstractEventLoop, protocol: "HTTPProtocol", answer: Answer, rest: "_Rest") -> None:
        """Send a long answer part by part, as fast as the client takes it."""
        try:
            transport = protocol.response_stream(answer.status, answer.headers)
            await transport.send_bytes(answer.body)
            while (part := await loop.run_in_executor(self._pool, rest.read)) is not None:
                await transport.send_bytes(part)
        finally:
            await loop.run_in_executor(self._pool, rest.close)

    async def _tracker(self, loop: asyncio.AbstractEventLoop, scope: "Scope", protocol: "HTTPProtocol", arriving: Body) -> Answer:
        header = scope.headers.get
        headers = Headers(
            origin=header("origin"),
            user_agent=header("user-agent", ""),
            accept_language=header("accept-language", ""),
            gpc=header("sec-gpc", "").strip() == "1",
            internal=self._responder.addresses.is_internal(scope.client.rpartition(":")[0], lambda: _forwarded_for(scope)),
        )
        body: bytes | Problem | None
        try:
            body = await arriving.read(protocol)
        except Problem as error:
            body = error
        asked = TrackerRequest(scope.method, headers, header("content-encoding", ""), body)
        exchange = self._responder.exchange(scope.path, asked)
        try:
            effect = next(exchange)
            while True:
                try:
                    result = await self._effect(loop, effect)
                except Exception as error:
                    effect = exchange.throw(error)
                else:
                    effect = exchange.send(result)
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    def _effect(self, loop: asyncio.AbstractEventLoop, effect: Effect) -> Awaitable[Any]:
        if isinstance(effect, Record):
            return self._responder.services.writer.recorded(effect.site, effect.payload, effect.size)
        if isinstance(effect, Write):
            return self._responder.services.writer.done(effect.site, effect.work)
        if not isinstance(effect, Guest):
            return loop.run_in_executor(self._readers, effect.call)
        if effect.seconds is None:
            return asyncio.wait_for(loop.run_in_executor(self._claimers, effect.call), _CLAIM_SECONDS)
        return asyncio.wait_for(loop.run_in_executor(self._deciders, effect.call), effect.seconds)


def _forwarded_for(scope: "Scope") -> str:
    """Return every header of this name together: a proxy may add one of its own behind what the client sent."""
    return ",".join(scope.headers.get_all("x-forwarded-for"))  # type: ignore[attr-defined]  # which granian does not declare


def _environ(scope: "Scope", body: bytes | None) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host or scope.server,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body or b""),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if scope.authority:
        environ["HTTP_HOST"] = scope.authority
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ and key != "HTTP_HOST" else value
    if "HTTP_TRANSFER_ENCODING" in environ and body is not None:
        environ["CONTENT_LENGTH"] = str(len(body))  # it is whole by now
    return environ


class _Rest:
    """What an application still has to say."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._iterator = iter(parts)
        try:
            self._next = self._read()
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes | None:
        """Return the next part of about _PART bytes, None at the end."""
        part, self._next = self._next, None if self._next is None else self._read()
        return part

    def ended(self) -> bool:
        """Say whether nothing follows."""
        return self._next is None

    def _read(self) -> bytes | None:
        gathered: list[bytes] = []
        size = 0
        for part in self._iterator:
            gathered.append(part)
            size += len(part)
            if size >= _PART:
                break
        return b"".join(gathered) if gathered else None

    def close(self) -> None:
        """Let the application clean up."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def _refusal(error: Problem) -> Answer:
    request_id = new_nonce()
    text = msgspec.json.encode(error.as_json(request_id))
    return Answer(error.status, [("Content-Type", "application/json"), ("X-Request-Id", request_id), *error.headers], text)


def _call(application: "WSGIApplication", environ: dict[str, Any], body: bytes | None) -> tuple[Answer, _Rest | None]:
    """Return the answer and, where it is long, what follows."""
    if body is None:
        return _refusal(problem(413, Reason.BODY_TOO_LARGE)), None
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:  # noqa: ARG001
        started[:] = [int(status.split(" ", 1)[0]), [(name.lower(), value) for name, value in headers]]
        return lambda _: None

    rest = _Rest(application(environ, start_response))
    answer = Answer(started[0], started[1], rest.read() or b"")
    if not rest.ended():
        return answer, rest
    rest.close()
    return answer, None
