"""`leadlight demo`: a collector, a small site that uses it, and the messages that belong to it, with one command.

The collector runs as a program of its own on 127.0.0.1 and the pages on localhost: for a browser these are two sites, as they are
for most customers. Everything lives in one folder; delete it and the demo starts from nothing.
"""

import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
import msgspec
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

import collector
from collector.services import build
from collector.settings import CONFIG_FILE, Settings, SettingsError, load_settings
from collector.setup import init_site
from demo_site import SiteConfig, create_app
from demo_site.messages import auto_messages

Echo = Callable[[str], None]

KEPT_FILE = "demo.json"
"""What the demo has to remember: the answer of `init`, which is given once, and the site's own secret. Readable by its owner only."""
LOG_FILE = "collector.log"
FOREIGN_SETTINGS = {"SECRET_KEY", "LEADLIGHT_CONFIG", "LEADLIGHT_PUBLIC_URL", "LEADLIGHT_HOST", "LEADLIGHT_PORT"}
"""Settings of another installation that a shell may have exported: the demo's own data could not be read with them next time."""
PORTS_TRIED = 20
START_SECONDS = 60.0
STOP_SECONDS = 15.0


def run(folder: Path, collector_port: int, site_port: int, echo: Echo) -> None:
    """Run the demo until it is interrupted (Ctrl-C or SIGTERM).

    A port that is taken is replaced by the next free one, and said so. `echo` gets the lines a person reads.

    Raises:
        click.ClickException: it cannot start, or the collector ended by itself; the message says why.
    """
    folder = folder.resolve()
    # The data is that of real visits, were somebody to try the demo on colleagues: for its owner only.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    collector_port = _free_port(collector_port, "the collector", echo)
    site_port = _free_port(site_port, "the demo site", echo, but=collector_port)
    collector_url, site_url = f"http://127.0.0.1:{collector_port}", f"http://localhost:{site_port}"

    try:
        kept = _prepare(folder, site_url, echo)
    except (SettingsError, OSError) as error:
        raise click.ClickException(f"the demo cannot be prepared in {folder}: {error}") from None
    with _stopped_in_order(), _running_collector(folder, collector_port, echo) as process:
        _wait_until_ready(process, collector_url, folder, echo)
        _bring_messages(folder, kept, collector_url, site_url, echo)
        with _running_site(kept, folder, collector_url, site_port):
            _say_where(kept, collector_url, site_url, echo)
            exit_code = _wait(process)
        if exit_code is not None:
            raise click.ClickException(f"the collector ended by itself (exit code {exit_code}).\n{_last_lines(folder)}")
    with contextlib.suppress(OSError):
        echo("Stopped. Run it again to go on where you were.")


# -- preparing -----------------------------------------------------------------------------------------------------------------


def _database_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'leadlight.db'}"


def _environment(folder: Path) -> dict[str, str]:
    """The environment of the demo's collector: the code of this installation, the data and the secret key of this folder."""
    others = {name: value for name, value in os.environ.items() if name not in FOREIGN_SETTINGS}
    path = os.pathsep.join(filter(None, (str(Path(collector.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH"))))
    own = {"DATABASE_URL": _database_url(folder), "LEADLIGHT_CONFIG": str(folder / CONFIG_FILE)}
    return {**others, **own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _prepare(folder: Path, site_url: str, echo: Echo) -> dict[str, Any]:
    """Return what the demo remembers, after making the site on the first run."""
    path = folder / KEPT_FILE
    settings = load_settings(_environment(folder))
    if path.exists():
        try:
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except ValueError:
            raise click.ClickException(f"{path} cannot be read. Delete the folder {folder} to start the demo anew.") from None
        if site_url != kept["site_url"]:
            _admit(settings, kept["site_key"], site_url)
        return kept
    echo(f"Preparing the demo in {folder}")
    made = init_site(settings, name="Plainsheet", origins=[site_url], folder=folder, echo=lambda line: echo(f"  {line}"))
    kept = {**made, "site_secret": secrets.token_urlsafe(32), "site_url": site_url}
    _keep(folder, kept)
    return kept


def _admit(settings: Settings, site_key: str, site_url: str) -> None:
    """Allow the pages' origin: another port is another origin, and the one of the first run may be taken today."""
    services = build(settings)
    try:
        site = services.sites.by_key(site_key)
        if site is None:
            raise click.ClickException("the demo's site is not in its database. Delete the folder to start the demo anew.")
        if not site.admits(site_url):
            wider = msgspec.structs.replace(site, origins=(*site.origins, site_url))
            services.writer.run(site.id, lambda tx: services.sites.update(tx, wider))
    finally:
        services.close()


def _keep(folder: Path, kept: dict[str, Any]) -> None:
    """Write the file whole or not at all; it is never readable by others, not even for a moment."""
    path, fresh = folder / KEPT_FILE, folder / f"{KEPT_FILE}.new"
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=2)
    fresh.replace(path)


def _free_port(wanted: int, what: str, echo: Echo, but: int | None = None) -> int:
    for port in range(wanted, wanted + PORTS_TRIED):
        if port != but and _is_free(port):
            if port != wanted:
                echo(f"Port {wanted} is taken, so {what} uses {port}.")
            return port
    raise click.ClickException(f"no port is free for {what} between {wanted} and {wanted + PORTS_TRIED - 1}; name another one.")


def _is_free(port: int) -> bool:
    """Say whether nobody listens on the port, on either loopback address: `localhost` is ::1 first for many browsers."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                # As servers do: a port that a stopped server has just left counts as free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OverflowError:
            return False
        except OSError as error:
            # A machine without IPv6 says something else than "in use" there.
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return False
    return True


# -- the collector -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running_collector(folder: Path, port: int, echo: Echo) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-m", "collector", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / LOG_FILE).open("ab") as log:
        # In a session of its own: Ctrl-C comes to this process alone, which then ends the collector when the site has stopped.
        process = subprocess.Popen(  # noqa: S603 (our own program)
            arguments, cwd=folder, env=_environment(folder), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            # Whoever closed the terminal reads nothing any more; the collector must not stay behind for that.
            with contextlib.suppress(OSError):
                echo("Stopping ...")
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], collector_url: str, folder: Path, echo: Echo) -> None:
    echo("Starting the collector ...")
    began = time.monotonic()
    said = 0
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{collector_url}/healthz", timeout=2):  # noqa: S310 (an http address of our own)
            return
        if process.poll() is not None:
            raise click.ClickException(f"the collector did not start (exit code {process.returncode}).\n{_last_lines(folder)}")
        waited = time.monotonic() - began
        if waited > START_SECONDS:
            raise click.ClickException(f"the collector gave no answer for {START_SECONDS:.0f} seconds.\n{_last_lines(folder)}")
        if waited >= said + 3:
            said = int(waited)
            echo(f"  still starting, {said} s")
        time.sleep(0.1)


def _last_lines(folder: Path) -> str:
    path = folder / LOG_FILE
    lines = path.read_text("utf-8", "replace").splitlines()[-15:] if path.exists() else []
    return "\n".join([f"The end of {path}:", *(f"  {line}" for line in lines)])


def _rest(kept: dict[str, Any], method: str, address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of the collector's REST API.

    Raises:
        click.ClickException: it was refused; the message has the collector's words.
    """
    request = urllib.request.Request(  # noqa: S310 (an http address of our own)
        address,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {kept['access_token']}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (an http address of our own)
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        raise click.ClickException(f"{method} {address} was refused ({error.code}): {text}") from None
    except OSError as error:
        raise click.ClickException(f"{method} {address} failed: {error}") from None


def _bring_messages(folder: Path, kept: dict[str, Any], collector_url: str, site_url: str, echo: Echo) -> None:
    """Create the messages that are absent. Where the site moved to another port, the links of those that exist move along.

    Only the address inside them changes, as somebody may have edited the rest in the console.
    """
    address = f"{collector_url}/api/auto_messages"
    existing = {message["name"]: message for message in _rest(kept, "GET", address).get("data", [])}
    old_url = kept["site_url"]
    for wanted in auto_messages(site_url):
        if wanted["name"] not in existing:
            echo(f"  message: {wanted['name']}")
            _rest(kept, "POST", address, wanted)
    if old_url == site_url:
        return
    try:
        for message in existing.values():
            content = json.dumps(message["content"])
            if f'"{old_url}/' in content:
                moved = json.loads(content.replace(f'"{old_url}/', f'"{site_url}/'))
                _rest(kept, "PUT", f"{address}/{message['id']}", message | {"content": moved})
    except click.ClickException:
        # Not worth the demo, and tried again next time: only some buttons lead to where the site was before.
        echo(f"  The buttons of the messages still lead to {old_url}, where the site ran the last time.")
        return
    _keep(folder, kept | {"site_url": site_url})


# -- the site ------------------------------------------------------------------------------------------------------------------


class _QuietHandler(WSGIRequestHandler):
    """Keeps the terminal for what a person has to know; errors are still written."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing about an ordinary request."""


@contextlib.contextmanager
def _running_site(kept: dict[str, Any], folder: Path, collector_url: str, port: int) -> Iterator[BaseWSGIServer]:
    config = SiteConfig(
        collector=collector_url,
        site_key=kept["site_key"],
        identity_secret=kept["identity_secret"],
        access_token=kept["access_token"],
        database=str(folder / "plainsheet.db"),
        secret_key=kept["site_secret"],
        # People also look at a demo with a browser that is driven by a program; on a real site those are not counted.
        tracker_options={"automation": "count"},
    )
    app = create_app(config)
    # `localhost` may mean ::1 first, and browsers then try 127.0.0.1 next, so one socket is enough.
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, name="demo-site", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(STOP_SECONDS)
        server.server_close()


def _say_where(kept: dict[str, Any], collector_url: str, site_url: str, echo: Echo) -> None:
    echo(
        "\n".join(
            (
                "",
                f"  Demo site   {site_url}",
                f"  Console     {collector_url}/console/",
                f"    email     {kept['console_email']}",
                f"    password  {kept['console_password']}",
                "",
                "  Try: look at the prices four times, leave something in the cart, get the contact form wrong, sign up.",
                "  Ctrl-C stops both.",
                "",
            )
        )
    )


# -- ending --------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Turn SIGTERM, and a terminal that closes, into the interrupt that Ctrl-C is; either ends the block without a traceback."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)] if is_main else []
    # What is ignored stays so: `nohup` asks to go on without a terminal.
    before = {number: signal.signal(number, interrupt) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for an interrupt (None) or for the collector to end by itself (its exit code)."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        return None
