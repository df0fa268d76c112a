"""The real collector and the real demo as other programs, the way an operator runs them."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.support.client import Client
from tests.support.processes import Program, children, free_port, run_command

ORIGIN = "https://shop.example"
_WAY = "LEADLIGHT_WRITER_PROCESS"
APART = {_WAY: "on"}
"""The setting by which what browsers send is written by processes of their own."""
WHERE_SERVED = {_WAY: "off"}
"""The setting by which the process that serves writes, as it does on one processor."""


class Collector:
    """A collector with one site, started by `init` and `serve` (after `changes`, as `start` has them); see the attributes.

    `url` the address on 127.0.0.1; `client` speaks to it with the site's access token; `site_key`, `access_token`,
    `identity_secret`, `console_url`, `console_email`, `console_password` are what `init` printed (`site` holds them all).
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        origins: Sequence[str] = (ORIGIN,),
        site: str = "Shop",
        settings: Mapping[str, str] | None = None,
        changes: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database_url = database_url
        self.environ = {"DATABASE_URL": database_url, **(settings or {})}
        self.port = free_port()
        self.site = self.init(site, origins)
        self.program = self._serve(changes)

    def init(self, site: str, origins: Sequence[str]) -> dict[str, str]:
        """Add a site and return what `init` printed.

        Raises:
            RuntimeError: `init` failed or did not print the promised JSON; the message holds its output.
        """
        arguments = ["collector", "init", "--site", site, "--json"]
        for origin in origins:
            arguments += ["--origin", origin]
        done = run_command(arguments, self.folder, self.environ)
        try:
            if done.returncode:
                raise ValueError("exit code")
            found: dict[str, str] = json.loads(done.stdout)
            return found
        except ValueError:
            text = f"-- standard output:\n{done.stdout}\n-- standard error:\n{done.stderr}"
            raise RuntimeError(f"init failed ({done.returncode})\n{text}") from None

    def _serve(self, changes: str) -> Program:
        module = "collector"
        if changes:
            module = "changed_collector"
            text = f"from collector.cli import main\n{changes}\nmain()\n"
            (self.folder / f"{module}.py").write_text(text, "utf-8")
        arguments = [module, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        program = Program("collector", arguments, self.folder, self.environ)
        program.wait_for(f"http://127.0.0.1:{self.port}", "/healthz")
        return program

    @property
    def url(self) -> str:
        """The address on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def url_as(self, host: str) -> str:
        """Return the address under another host name, as the browser of the tests resolves it (`collect.other`)."""
        return f"http://{host}:{self.port}"

    @property
    def client(self) -> Client:
        """A client with the site's access token."""
        return Client(self.url, self.access_token)

    @property
    def site_key(self) -> str:
        """The public key of the site."""
        return self.site["site_key"]

    @property
    def access_token(self) -> str:
        """The token for REST."""
        return self.site["access_token"]

    @property
    def identity_secret(self) -> str:
        """The secret that user hashes are made with."""
        return self.site["identity_secret"]

    @property
    def console_url(self) -> str:
        """The address of the console on this machine, whatever address `init` printed."""
        return f"{self.url}{urlsplit(self.site['console_url']).path}"

    @property
    def console_email(self) -> str:
        """The name to sign in with."""
        return self.site["console_email"]

    @property
    def console_password(self) -> str:
        """The password to sign in with."""
        return self.site["console_password"]

    def stop(self) -> int:
        """End it in order and return its exit code."""
        return self.program.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.program.kill()

    def start(self, changes: str = "") -> None:
        """Serve again on the same port, folder and database, after `stop` or `kill`.

        `changes` are statements that run first, for limits that no test can wait for.
        """
        assert not self.program.running, "it is running"
        self.program = self._serve(changes)

    def start_the_other_way(self, changes: str = "") -> None:
        """Do as `start` does, and write where it serves if it wrote in processes of their own, and the other way round."""
        self.environ[_WAY] = APART[_WAY] if self.environ[_WAY] == WHERE_SERVED[_WAY] else WHERE_SERVED[_WAY]
        self.start(changes)


class Demo:
    """`leadlight demo` in an empty folder: `site_url` the shop on localhost, `collector_url` on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        collector_port, site_port = free_port(), free_port()
        self.collector_url = f"http://127.0.0.1:{collector_port}"
        self.site_url = f"http://localhost:{site_port}"
        arguments = ["collector", "demo", "--collector-port", str(collector_port), "--site-port", str(site_port)]
        self.program = Program("demo", [*arguments, "--folder", str(folder / "data")], folder, {})
        self.program.wait_for(self.collector_url, "/healthz")
        self.program.wait_for(self.site_url)

    @property
    def output(self) -> str:
        """What it printed: addresses and the console login."""
        return self.program.output

    def stop(self) -> int:
        """End it in order and return its exit code."""
        return self.program.stop()


def signed_in(collector: Collector) -> dict[str, str]:
    """Sign in to the console and return the headers of the browser that is signed in."""
    form = urlencode({"email": collector.console_email, "password": collector.console_password})
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": collector.url}
    answer = Client(collector.url).request("POST", "/console/sign-in", form, sent)
    assert answer.status == 303, answer.text
    return {"Cookie": "; ".join(one.partition(";")[0] for one in answer.headers.get_all("Set-Cookie") or [])}


def writers(collector: Collector) -> list[int]:
    """Return the ids of the processes that write for a collector."""
    found = []
    for worker in children(collector.program.process.pid):
        for number in children(worker):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if b"collector.writing" in Path(f"/proc/{number}/cmdline").read_bytes():
                    found.append(number)
    return sorted(found)
