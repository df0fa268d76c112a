"""Every setting with its default, in one place. Values come from the environment, else from a TOML file, else from here.

`DATABASE_URL` and `SECRET_KEY` keep their customary names, all others carry the prefix `LEADLIGHT_`. The TOML file is
`leadlight.toml` in the working folder, or the one `LEADLIGHT_CONFIG` names; its keys are the field names below.
"""

import logging
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from collector.values.clock import DAY

log = logging.getLogger(__name__)

CONFIG_FILE = "leadlight.toml"
_SHORTEST_KEY = 16
_CONSOLE_SHARE, _LEAST_CONSOLE = 4, 4  # threads of the console: the share of REST's
_NETWORKS = ("trusted_proxies", "internal_networks")
LATE_DAYS = 2
"""How much longer than the timeline a silent lead is kept, at least: what still comes of one that is deleted has to be too old by then."""
_KUBERNETES = re.compile(r"LEADLIGHT_(SERVICE_|PORT_\d)")  # what it sets in every pod beside a service of this name
_KUBERNETES_PORT = re.compile(r"[a-z]+://")
"""How the value begins that it gives to LEADLIGHT_PORT, which is a setting of ours as well."""


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what is expected."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of one installation. Sizes in bytes, times in the unit the name says."""

    database_url: str = "sqlite:///leadlight.db"
    """Where everything is kept: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`."""
    secret_key: tuple[str, ...] = ()
    """Signs sessions, encrypts secrets, makes the digests of who was deleted. Several, separated by commas, for rotation: the last one is
    used, all are accepted."""
    host: str = "127.0.0.1"
    """The address `serve` binds."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8000
    """The port `serve` binds."""
    public_url: str = ""
    """The address under which browsers reach the collector, as printed by `init`; empty: made from host and port."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that `serve` runs side by side on one address, each with threads, connections and bounds of its own; more than one on
    PostgreSQL only."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 64
    """Requests of REST in work at once in one process; each may be waiting for a commit. The console has a quarter as many of its own,
    at least four."""
    database_connections: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 20
    """Most connections of one process to PostgreSQL."""
    writer_process: Literal["auto", "on", "off"] = "auto"
    """Whether what browsers send is written by processes of their own beside the one that serves: one for SQLite, two for PostgreSQL.
    `auto` does so where the machine has several processors and `workers` is 1."""
    queue_limit: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Requests that may wait for the writer; beyond it the answer is 503."""
    group_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
    """Most requests in one commit."""
    body_limit: Annotated[int, msgspec.Meta(ge=1_024, le=2**30)] = 1_048_576
    """Largest body, after inflating, in bytes."""
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=3_000)] = 90
    """Days of the timeline; totals stay for good."""
    lead_retention_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 395
    """Days after which a lead that was not seen any more, and has no email, is deleted whole."""
    upkeep_hour: Annotated[int, msgspec.Meta(ge=0, le=23)] = 3
    """The hour (UTC) at which a serving process prunes the database each night."""
    upkeep_delay_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 60
    """Seconds after its start at which a serving process prunes for the first time."""
    session_days: Annotated[int, msgspec.Meta(ge=1, le=400)] = 7
    """Days a browser's session of a signed-in user lives without being renewed."""
    new_names_per_day: Annotated[int, msgspec.Meta(ge=0)] = 1_000
    """New event names a day that the browsers of one site may bring."""
    new_leads_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 6_000
    """Visitors never seen before that one site may bring in a minute, in one process; beyond it they are told to come back."""
    handovers_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 6_000
    """Hand-overs of visitors to other domains that one site may ask for in a minute, in one process; 0 for none."""
    columns_megabytes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 512
    """Memory of one process for columns that answer counts quickly, in 1,000,000 bytes; beyond it, and with 0, SQL answers."""
    message_budget_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 250
    """Time for deciding messages in one answer, in ms; what is not decided then is left out."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies in front of the collector, separated by commas, as `127.0.0.1, 10.0.0.0/8`: what these say of where a
    request comes from (`X-Forwarded-For`) is believed, and nobody else."""
    internal_networks: tuple[str, ...] = ()
    """Networks of the sites' own people, likewise: whoever is seen there by a browser is `internal`, unless REST said that they are not."""
    insecure_cookies: bool = False
    """Lets the console sign in over plain http on an address that is not loopback."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ValueError: silent leads would be deleted while something that they sent may still come, which would bring them back; or
                several processes would share a file, which has one writer; or what has to be a network is none.
        """
        for field in _NETWORKS:
            networks(field, getattr(self, field))
        if self.workers > 1 and self.database_url.startswith("sqlite:"):
            raise ValueError(
                f"{environment_name('workers')} (workers, {self.workers}) is for PostgreSQL; a file of SQLite has one writer, so that more "
                f"processes would only wait for each other: set it to 1"
            )
        if self.lead_retention_days < self.retention_days + LATE_DAYS:
            raise ValueError(
                f"{environment_name('lead_retention_days')} (lead_retention_days, {self.lead_retention_days}) has to be at least "
                f"{LATE_DAYS} days more than {environment_name('retention_days')} (retention_days, {self.retention_days})"
            )

    @property
    def console_threads(self) -> int:
        """Requests of the console in work at once in one process."""
        return max(self.threads // _CONSOLE_SHARE, _LEAST_CONSOLE)

    @property
    def retention(self) -> int:
        """The length of the timeline in ms."""
        return self.retention_days * DAY

    @property
    def lead_retention(self) -> int:
        """The life of a silent lead in ms."""
        return self.lead_retention_days * DAY

    @property
    def session_duration(self) -> int:
        """The life of a session in ms."""
        return self.session_days * DAY

    @property
    def columns_bytes(self) -> int:
        """The memory for columns in bytes."""
        return self.columns_megabytes * 1_000_000

    def writes_apart(self) -> bool:
        """Say whether a serving process has writer processes."""
        if self.writer_process == "auto":
            return self.workers == 1 and _processors() > 1
        return self.writer_process == "on"

    def base_url(self) -> str:
        """Return the address of this collector as browsers reach it, without a slash at the end."""
        return self.public_url.rstrip("/") or self.bound_url()

    def bound_url(self) -> str:
        """Return the address that `serve` binds."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def networks(field: str, texts: Sequence[str]) -> list[IPv4Network | IPv6Network]:
    """Return the networks of a setting.

    Raises:
        ValueError: one of them is none; the message names the setting.
    """
    found: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise ValueError(
                f"{environment_name(field)} ({field}): expected networks such as 10.0.0.0/8 or 2001:db8::/32; {error}"
            ) from None
    return found


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the TOML file of settings is, or would be."""
    return Path((os.environ if environ is None else environ).get("LEADLIGHT_CONFIG", CONFIG_FILE))


def environment_name(field: str) -> str:
    """Return the environment variable that sets a field."""
    return field.upper() if field in ("database_url", "secret_key") else f"LEADLIGHT_{field.upper()}"


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: a value does not fit its type, or the file has a key that is no setting.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = _from_file(environ)
    for field in Settings.__struct_fields__:
        text = environ.get(environment_name(field))
        if text is not None and not (field == "port" and _KUBERNETES_PORT.match(text)):
            values[field] = text
    values.update(overrides)
    for field in ("secret_key", *_NETWORKS):
        if isinstance(values.get(field), str):
            values[field] = tuple(part.strip() for part in values[field].split(",") if part.strip())
    unknown = sorted(name for name in environ if name.startswith("LEADLIGHT_") and name not in _KNOWN and not _KUBERNETES.match(name))
    for name in unknown:  # said, not refused: another version's setting must not keep this one from starting
        log.warning("%s is no setting of this version", name)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"a setting is wrong: {error}") from None


_KNOWN = {environment_name(field) for field in Settings.__struct_fields__} | {"LEADLIGHT_CONFIG"}


def require_secret_key(settings: Settings) -> Settings:
    """Return the settings, or refuse to go on without a secret key of at least 16 characters.

    Raises:
        SettingsError: there is none, or it is short.
    """
    if any(len(key) < _SHORTEST_KEY for key in settings.secret_key):
        raise SettingsError(f"the secret key is too short: it needs at least {_SHORTEST_KEY} random characters")
    if not settings.secret_key:
        raise SettingsError(
            f"no secret key (looked for in {config_path().absolute()}): go to the installation's folder, or set SECRET_KEY and "
            "DATABASE_URL; a new installation is made by `leadlight init`"
        )
    return settings


def _from_file(environ: Mapping[str, str]) -> dict[str, Any]:
    path = config_path(environ)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from None
