"""The entry for granian: the tracker's requests on an event loop, everything else by Flask in pools of threads.

Most of what a page view costs under WSGI is waking the thread that waits for its commit. Here one loop goes on with the next
request, and a whole group's answers wake it once.
"""

import asyncio
import contextlib
import io
import math
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # re-exported without saying so

from collector.ingest.effects import Effect, Guest, Record, Write
from collector.ingest.failures import log_failure
from collector.ingest.senders import Headers
from collector.services import CLAIMERS, DECIDERS
from collector.values.errors import Problem, Reason, problem
from collector.values.ids import new_nonce
from collector.web import streams
from collector.web.api.errors import RETRY_AFTER, is_console, short_page, unexpected
from collector.web.assets import is_rules, is_script
from collector.web.bodies import ROOM, Bodies, Body, Missing, Room
from collector.web.browser import PATHS, Answer, Responder, TrackerRequest
from collector.web.streams import BrokenOff, Rest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope


_T = TypeVar("_T")

_READERS = 8
_CLAIM_SECONDS = 15  # longer than any lock is waited for; where commits are not answered at all, nobody had better wait with them
_WAITING = 2  # requests of REST that have or wait for one of its threads, in times these; then they are turned away at once
_CONSOLE_WAITING = 8  # as above; a page and what belongs to it are asked for at once
_SCRIPTS = 8  # threads for what pages load, which is not turned away: it lies in memory
_RULES = 4  # threads for the scripts of rules, which ask the database: what lies in memory must not wait for it
_RULES_WAITING = 32  # as above; many pages ask at once where a rule was made
_LIVES, _READY, _REST = "/healthz", "/readyz", "/api/"


class _Threads:
    """Threads for one kind of request, and how many of these may have one or wait for one (any number where it is not said)."""

    def __init__(self, name: str, threads: int, most: float = math.inf) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = most
        self._under_way = 0

    def full(self) -> bool:
        """Say whether as many have one or wait for one as may be."""
        return self._under_way >= self._most

    async def run(self, call: Callable[..., _T], *given: Any) -> _T:
        """Return what a call returns in one of the threads."""
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, call, *given)
        finally:
            self._under_way -= 1


class RsgiEntry:
    """An RSGI application: `others` answers what is not the tracker's, in `threads` where it is REST's and `console_threads` where it is
    the console's; `largest` bounds its bodies in bytes.
    """

    def __init__(
        self,
        responder: Responder,
        others: "WSGIApplication",
        *,
        threads: int,
        console_threads: int,
        largest: int,
        close: Callable[[], None],
    ) -> None:
        self._responder = responder
        self._others = others
        self._close = close
        # Strangers may fill the console's threads and REST's, where tokens are checked: neither is to keep the other waiting, nor pages.
        self._rest = _Threads("rest", threads, threads * _WAITING)
        self._console = _Threads("console", console_threads, console_threads * _CONSOLE_WAITING)
        self._scripts = _Threads("script", _SCRIPTS)
        self._rules = _Threads("rules", _RULES, _RULES * _RULES_WAITING)
        self._streams = 0
        # Whoever fills the room for REST, which anybody may try to, does not fill the tracker's.
        self._tracker_bodies, self._other_bodies = Bodies(responder.limit), Bodies(largest)
        # Whoever asks how the process is must hear it while everything else waits for the database.
        self._looker = _Threads("ready", 1)
        # What has a time limit goes on in its thread after that: decisions must not stand in the way of anything else, nor claims.
        self._deciders = ThreadPoolExecutor(DECIDERS, thread_name_prefix="decider")
        self._claimers = ThreadPoolExecutor(CLAIMERS, thread_name_prefix="claimer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")  # the console must not keep the tracker waiting

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write what is queued when the worker ends. Requests that no thread has begun to answer are given up: nobody waits any more."""
        try:
            self._close()
        finally:
            flask = (one.pool for one in (self._rest, self._console, self._scripts, self._rules, self._looker))
            for pool in (*flask, self._deciders, self._claimers, self._readers):
                pool.shutdown(wait=False, cancel_futures=True)

    async def __rsgi__(self, scope: "Scope", protocol: "HTTPProtocol") -> None:
        """Answer one request, as RSGI asks for."""
        if scope.proto != "http":
            protocol.close(400)  # type: ignore[attr-defined]  # a websocket's, which we do not speak
            return
        header = scope.headers.get
        length = "" if header("transfer-encoding") else header("content-length", "")
        body = Body(self._tracker_bodies if scope.path in PATHS else self._other_bodies, length)
        status = 500
        try:
            with contextlib.suppress(ProtocolClosed):  # the visitor left while sending
                status = await self._answer(scope, protocol, body)
        finally:
            body.forget(refused=status >= 400)

    async def _answer(self, scope: "Scope", protocol: "HTTPProtocol", arriving: Body) -> int:
        """Answer a request and return the status."""
        loop = asyncio.get_running_loop()
        if scope.path in PATHS:
            answer = await self._tracker(loop, scope, protocol, arriving)
        elif scope.path == _LIVES:
            answer = Answer(200, [("Content-Type", "application/json")], b'{"status":"ok"}')
        else:
            path = scope.path.encode().decode("latin-1")  # granian has undone the escapes
            threads = self._threads_for(path)
            try:
                body = await arriving.read(protocol)
                if isinstance(body, Missing):
                    raise body.problem()
                if threads.full():
                    raise _overloaded()
                answer, rest = await threads.run(_call, self._others, _environ(scope, path, body, arriving.finds_room))
                if rest is not None:
                    await self._stream(threads, protocol, answer, rest)
                    return answer.status
            except Problem as error:
                answer = _refusal(error, path)
        protocol.response_bytes(answer.status, answer.headers, answer.body)
        return answer.status

    def _threads_for(self, path: str) -> "_Threads":
        if path == _READY:
            return self._looker
        if path.startswith(_REST):
            return self._rest
        if is_rules(path):
            return self._rules
        return self._scripts if is_script(path) else self._console

    async def _stream(self, threads: "_Threads", protocol: "HTTPProtocol", answer: Answer, rest: Rest) -> None:
        """Send a long answer. A thread is taken for reading its parts, and none while the client takes its time.

        Raises:
            Problem: as many are on their way as may be.
        """
        try:
            if self._streams >= streams.MOST:
                raise _overloaded()
            self._streams += 1
            try:
                # Who left need not be told, nor who takes nothing; and what broke off is logged, and cannot be said any more.
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await streams.send(protocol, answer.status, answer.headers, lambda: threads.run(rest.read))
            finally:
                self._streams -= 1
        finally:
            await threads.run(rest.close)

    async def _tracker(self, loop: asyncio.AbstractEventLoop, scope: "Scope", protocol: "HTTPProtocol", arriving: Body) -> Answer:
        header = scope.headers.get
        headers = Headers(
            origin=header("origin"),
            user_agent=header("user-agent", ""),
            accept_language=header("accept-language", ""),
            gpc=header("sec-gpc", "").strip() == "1",
            internal=self._responder.addresses.is_internal(scope.client.rpartition(":")[0], lambda: _forwarded_for(scope)),
        )
        body = await arriving.read(protocol)
        asked = TrackerRequest(scope.method, headers, header("content-encoding", ""), body, arriving.finds_room)
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


def _environ(scope: "Scope", path: str, body: bytes, room: Room) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host or scope.server,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        ROOM: room,
    }
    if scope.authority:
        environ["HTTP_HOST"] = scope.authority
    sent: dict[str, list[str]] = {}
    for name, value in scope.headers.items():
        if "_" not in name:  # would pass for a header that only a proxy may set, and that has a hyphen there
            sent.setdefault(name.upper().replace("-", "_"), []).append(value)
    for name, values in sent.items():
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        environ[key] = values[-1] if key == "HTTP_HOST" else ",".join(values)
    if "HTTP_TRANSFER_ENCODING" in environ:
        environ["CONTENT_LENGTH"] = str(len(body))  # it is whole by now
    return environ


def _refusal(error: Problem, path: str, request_id: str | None = None) -> Answer:
    """Return the answer in the one JSON shape, below `/console` as a short page."""
    request_id = request_id or new_nonce()
    if is_console(path):
        kind, text = "text/html; charset=utf-8", short_page(error.status, HTTPStatus(error.status).phrase).encode()
    else:
        kind, text = "application/json", msgspec.json.encode(error.as_json(request_id))
    return Answer(error.status, [("Content-Type", kind), ("X-Request-Id", request_id), ("Cache-Control", "no-store"), *error.headers], text)


def _overloaded() -> Problem:
    return problem(503, Reason.OVERLOADED, headers=[RETRY_AFTER])


def _call(application: "WSGIApplication", environ: dict[str, Any]) -> tuple[Answer, Rest | None]:
    """Return the answer or, where it is long, its head and what it has to say."""
    path = environ["PATH_INFO"]
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:  # noqa: ARG001
        started[:] = [int(status.split(" ", 1)[0]), [(name.lower(), value) for name, value in headers]]
        return lambda _: None

    try:
        rest = Rest(application(environ, start_response))
    except BrokenOff as error:  # nothing of it has been sent
        return _refusal(error.instead, path, error.request_id), None
    except Exception as error:  # what Flask could not answer, or broke off before its first byte: granian would say 500 and no more
        request_id = new_nonce()
        log_failure(request_id, error)
        return _refusal(unexpected(error), path, request_id), None
    if rest.is_long():
        return Answer(started[0], started[1], b""), rest
    answer = Answer(started[0], started[1], rest.read())
    rest.close()
    return answer, None
