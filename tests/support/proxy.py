"""A TCP proxy between a collector and its database, that does what networks do: cut, refuse, fall silent, and go on."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal

from tests.support.processes import free_port

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset
_CHUNK = 65_536
_END_SECONDS = 5

Mode = Literal["forward", "refuse", "silent"]


class Proxy:
    """Forwards connections from `port` of 127.0.0.1 to another port, until it is told otherwise; see the methods."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._mode: Mode = "forward"
        self._changed = threading.Condition()
        self._pairs: set[_Pair] = set()
        self._traps: list[_Trap] = []
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._open = True
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> int:
        """Reset every connection, on both sides; new ones are forwarded. Returns how many there were, once both sides were told."""
        with self._changed:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.cut()
        for pair in pairs:
            pair.wait()
        return len(pairs)

    def refuse(self) -> None:
        """Reset every connection, and new ones at once."""
        self._set("refuse")
        self.cut()

    def fall_silent(self) -> None:
        """Take connections and what is sent, and pass nothing on, in either direction: nobody is told anything."""
        self._set("silent")

    def go_on(self) -> None:
        """Forward again. Connections that lost something while there was silence are reset."""
        self._set("forward")
        with self._changed:
            lost = [pair for pair in self._pairs if pair.lossy]
        for pair in lost:
            pair.cut()

    def lead_to(self, target: int) -> None:
        """Forward new connections to another port; those there are stay as they are."""
        self._target = target

    def cut_at(self, text: bytes, *, deliver: bool, tell_server: bool = True) -> "_Trap":
        """Cut the next connection on which the client sends `text`: after the server got it where `deliver`, else before.

        A server that is not told goes on believing in its side of the connection, as after a failure of the network between.
        Returns what can be waited for: `wait()` until it happened.
        """
        trap = _Trap(text, deliver, tell_server)
        with self._changed:
            self._traps.append(trap)
        return trap

    def hold_at(self, text: bytes) -> "_Trap":
        """Pass nothing on any more of the next connection on which the client sends `text`, from there on: neither side is told.

        Returns what can be waited for: `wait()` until it happened.
        """
        trap = _Trap(text, deliver=False, tell_server=True, hold=True)
        with self._changed:
            self._traps.append(trap)
        return trap

    def wait_for_connection(self, seconds: float = 30) -> None:
        """Wait until somebody is connected."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._pairs, seconds), "nobody connects"

    def close(self) -> None:
        """Stop, and reset what is connected."""
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _set(self, mode: Mode) -> None:
        with self._changed:
            self._mode = mode

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._mode == "refuse":
                _reset(client)
                continue
            try:
                server = None if self._mode == "silent" else socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody there: the client is to see the same
                _reset(client)
                continue
            _Pair(self, client, server).start()

    def silent(self) -> bool:
        """Say whether nothing is passed on now."""
        return self._mode == "silent"

    def joined(self, pair: "_Pair") -> None:
        """Note a new connection."""
        with self._changed:
            self._pairs.add(pair)
            self._changed.notify_all()

    def left(self, pair: "_Pair") -> None:
        """Forget a connection that is gone."""
        with self._changed:
            self._pairs.discard(pair)

    def trap_for(self, data: bytes) -> "_Trap | None":
        """Return the trap that waits for this, once."""
        with self._changed:
            for trap in self._traps:
                if trap.text in data:
                    self._traps.remove(trap)
                    return trap
        return None

    def set_again(self, trap: "_Trap") -> None:
        """Let a trap wait for the next connection where the one that it waited on was cut by others before it could work."""
        with self._changed:
            if not trap.worked and trap not in self._traps:
                self._traps.append(trap)


class _Trap:
    """A cut that waits for its moment, or with `hold` the beginning of silence."""

    def __init__(self, text: bytes, deliver: bool, tell_server: bool, hold: bool = False) -> None:
        self.text = text
        self.hold = hold
        self.deliver = deliver
        self.tell_server = tell_server
        self.worked = False
        self.sprung = threading.Event()

    def wait(self, seconds: float = 30) -> None:
        """Wait until it happened."""
        assert self.sprung.wait(seconds), f"nobody sent {self.text!r}"


class _Pair:
    """A client's connection and the server's; without a server, what the client sends goes nowhere."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket | None) -> None:
        self.lossy = server is None
        self._proxy = proxy
        self._client = client
        self._server = server
        self._trap: _Trap | None = None
        self._threads = [threading.Thread(target=self._run, args=(self._ask,), daemon=True)]
        if server is not None:
            self._threads.append(threading.Thread(target=self._run, args=(self._answer, server), daemon=True))

    def start(self) -> None:
        """Pass on what arrives, each direction in a thread of its own."""
        self._proxy.joined(self)
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until a connection that was cut is: as long as a thread listens to it, the system keeps it."""
        for thread in self._threads:
            if thread.ident is not None:  # it was begun
                thread.join(_END_SECONDS)

    def cut(self) -> None:
        """Reset both sides, but for a server that is not to know."""
        _reset(self._client)
        if self._server is not None and (self._trap is None or self._trap.tell_server):
            _reset(self._server)
        self._proxy.left(self)

    def _run(self, pump: Callable[..., None], *arguments: socket.socket) -> None:
        with contextlib.suppress(OSError):
            pump(*arguments)
        if self._trap is not None:
            self._proxy.set_again(self._trap)
        self.cut()
        for side in arguments:  # also where the server was not to know: it has hung up by itself
            _reset(side)

    def _ask(self) -> None:
        while data := self._client.recv(_CHUNK):
            if self._server is None or self._proxy.silent():
                self.lossy = True
                continue
            self._trap = trap = self._proxy.trap_for(data)
            if trap is not None and trap.hold:
                trap.worked = True
                trap.sprung.set()
                while self._client.recv(_CHUNK):
                    pass
                return
            if trap is not None and not trap.deliver:
                self._spring(trap)
                return
            self._server.sendall(data)  # the server has it once it answers: a reset before that could overtake what was sent

    def _answer(self, server: socket.socket) -> None:
        while data := server.recv(_CHUNK):
            if self._proxy.silent():
                self.lossy = True
            elif self._trap is not None:
                self._spring(self._trap)
                return
            else:
                self._client.sendall(data)

    def _spring(self, trap: _Trap) -> None:
        trap.worked = True
        self.cut()
        trap.sprung.set()


def _reset(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        side.shutdown(socket.SHUT_RD)  # wakes who reads here, and sends nothing
    side.close()
