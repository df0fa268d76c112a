"""The browsers that the tests know: whether each is on this machine, and how it is started as somebody who was never here."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.engines.wire import Marionette, WebDriver, Wire
from tests.environment import find_chromium
from tests.support.processes import free_port

SECONDS = 30.0


@dataclass(frozen=True)
class Wanted:
    """What the visitor's browser is to be like: without storage and cookies, or with a signal against tracking."""

    proxy: str
    storage: bool = True
    gpc: bool = False
    dnt: bool = False


@dataclass(frozen=True)
class Engine:
    """One kind of browser. `start` runs one; `missing` is empty where it can be run, else what to install; `signals` it can send."""

    name: str
    start: Callable[[Wanted, Path, ExitStack], Wire]
    missing: Callable[[], str]
    signals: tuple[str, ...] = ()

    @contextmanager
    def running(self, wanted: Wanted, folder: Path) -> Iterator[Wire]:
        """Start a browser whose files lie in a folder of its own, and end it afterwards."""
        with ExitStack() as stack:
            yield self.start(wanted, folder, stack)


def _run(command: list[str], log: Path, stack: ExitStack, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program that ends with the stack, and what it started with it."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, start_new_session=True)

    def end() -> None:
        for signal in (15, 9):
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal)
            with suppress(subprocess.TimeoutExpired):
                running.wait(10)

    stack.callback(end)
    return running


def _said(log: Path, pattern: str, running: subprocess.Popen[bytes]) -> str:
    """Wait until a program has written something and return the pattern's first group.

    Raises:
        RuntimeError: it ended, or wrote nothing of the kind in time; the message holds what it wrote.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and running.poll() is None:
        if log.exists() and (found := re.search(pattern, log.read_text(errors="replace"))):
            return found.group(1)
        time.sleep(0.02)
    raise RuntimeError(f"{running.args!r} did not start: {log.read_text(errors='replace') if log.exists() else ''}")


def _listening(port: int, running: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens on its port.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and running.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{running.args!r} does not listen on port {port}")


def _proxied(wanted: Wanted) -> dict[str, object]:
    return {"acceptInsecureCerts": True, "proxy": {"proxyType": "manual", "httpProxy": wanted.proxy, "sslProxy": wanted.proxy}}


# ---------------------------------------------------------------- Firefox

FIREFOXES = ("firefox-esr", "firefox")


def _firefox() -> str | None:
    return next((path for name in FIREFOXES if (path := shutil.which(name))), None)


def _start_firefox(wanted: Wanted, folder: Path, stack: ExitStack) -> Wire:
    preferences = {
        "marionette.port": 0,
        "datareporting.policy.dataSubmissionEnabled": False,
        "dom.security.https_first": False,
        "network.cookie.cookieBehavior": 5 if wanted.storage else 2,
        "privacy.globalprivacycontrol.enabled": wanted.gpc,
        "privacy.globalprivacycontrol.functionality.enabled": True,
        "privacy.donottrackheader.enabled": wanted.dnt,
    }
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
    (folder / "user.js").write_text("".join(lines))
    command = [_firefox() or "", "--headless", "--marionette", "--no-remote", "--profile", str(folder)]
    log = folder / "firefox.log"
    running = _run(command, log, stack, {**os.environ, "HOME": str(folder)})
    port = _said(folder / "MarionetteActivePort", r"(\d+)", running)
    session = Marionette(int(port), _proxied(wanted))
    stack.callback(session.close)
    return session


FIREFOX = Engine("firefox", _start_firefox, lambda: "" if _firefox() else "firefox-esr", ("gpc", "dnt"))


# ---------------------------------------------------------------- WebKit


def _mini_browser() -> str | None:
    """Return the browser that comes with Debian's WebKit, newest first."""
    found = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser")) + sorted(Path("/usr/libexec").glob("webkit2gtk-4.*/MiniBrowser"))
    return str(found[-1]) if found else None


def _webkit_missing() -> str:
    needed = {"webkit2gtk-driver": shutil.which("WebKitWebDriver") and _mini_browser(), "xvfb": shutil.which("Xvfb")}
    return " ".join(package for package, found in needed.items() if not found)


def _start_webkit(wanted: Wanted, folder: Path, stack: ExitStack) -> Wire:
    log = folder / "screen.log"
    screen = _run(["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"], log, stack)
    environ = {**os.environ, "DISPLAY": ":" + _said(log, r"(?m)^(\d+)$", screen), "HOME": str(folder), "GDK_BACKEND": "x11"}
    environ.pop("WAYLAND_DISPLAY", None)
    port = free_port()
    driver = _run(["WebKitWebDriver", f"--port={port}"], folder / "driver.log", stack, environ)
    # Of a proxy among the capabilities it thinks that TLS is spoken with it.
    arguments = ["--automation", f"--proxy=http://{wanted.proxy}"]
    if not wanted.storage:
        arguments += ["--cookies-policy=never", "--enable-html5-local-storage=false"]
    _listening(port, driver)
    session = WebDriver(port, {"acceptInsecureCerts": True, "webkitgtk:browserOptions": {"binary": _mini_browser(), "args": arguments}})
    stack.callback(session.close)
    return session


WEBKIT = Engine("webkit", _start_webkit, _webkit_missing)


# ---------------------------------------------------------------- Chromium


def _chromium_missing() -> str:
    needed = {"chromium": find_chromium(), "chromium-driver": shutil.which("chromedriver")}
    return " ".join(package for package, found in needed.items() if not found)


def _start_chromium(wanted: Wanted, folder: Path, stack: ExitStack) -> Wire:
    log = folder / "driver.log"
    driver = _run(["chromedriver", "--port=0"], log, stack)
    port = int(_said(log, r"started successfully on port (\d+)", driver))
    preferences = {"enable_do_not_track": wanted.dnt}
    if not wanted.storage:
        preferences["profile.default_content_setting_values.cookies"] = 2
    options = {
        "binary": find_chromium(),
        "args": ["--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"],
        "prefs": preferences,
    }
    session = WebDriver(port, {**_proxied(wanted), "goog:chromeOptions": options})
    stack.callback(session.close)
    return session


CHROMIUM = Engine("chromium", _start_chromium, _chromium_missing, ("dnt",))


ENGINES = (FIREFOX, WEBKIT, CHROMIUM)
