"""Sites: the tracked websites of an installation, their keys, origins, secrets and settings."""

import functools
import json
import logging
import re
import secrets
import threading
import time
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from collector.domain.secrets import KeyMissing, Keyring, digest
from collector.storage import migrations
from collector.storage.database import Connection, Database
from collector.values import colours
from collector.values.clock import MINUTE
from collector.values.ids import RowIds

log = logging.getLogger(__name__)

_CACHE_SECONDS = 2.0
_KEY_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_SITE_KEY = re.compile("[a-z0-9]{1,32}")


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one site decides for itself. Times in ms."""

    unknown_origins: str = "refuse"
    """`refuse` or `accept` pages of other origins; pages that send no origin, or `null`, are always taken."""
    create_contacts: bool = False
    """Whether POST /events creates unknown contacts."""
    message_gap: int = 10 * MINUTE
    """Least time between two messages for one person."""
    messages_per_day: int = 3
    """Most messages for one person in rolling 24 hours."""
    messages_paused: bool = False
    """Pauses all messages."""
    brand_color: str | None = None
    """The colour of buttons and marks in messages, as `#rrggbb`; None for the messenger's own."""


class Site(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One tracked website or product."""

    id: int
    key: str
    name: str
    origins: tuple[str, ...]
    time_zone: str
    verification: str
    """`optional`, or `required`: unverified user ids are refused."""
    salt: bytes
    identity_secrets: tuple[str, ...]
    """The identity verification secrets, newest first; two while one is being changed."""
    settings: SiteSettings

    @functools.cached_property  # hence `dict`: a decision asks for it with each audience
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def looks(self) -> dict[str, Any]:
        """What a message's answer says of the site's looks: nothing, or `brand`."""
        colour = self.settings.brand_color
        return {} if colour is None else {"brand": _brand(colour)}

    def admits(self, origin: str | None) -> bool:
        """Say whether a page of this origin may send. `https://*.example.com` admits every host below example.com."""
        if origin is None or origin == "null" or self.settings.unknown_origins == "accept" or origin in self.origins:
            return True
        try:
            given = urlsplit(origin)
            host, port = given.hostname or "", given.port
        except ValueError:
            return False
        for allowed in self.origins:
            scheme, _, pattern = allowed.partition("://*.")
            if pattern and given.scheme == scheme:
                wanted, _, wanted_port = pattern.partition(":")
                if host.endswith("." + wanted) and (port is None if not wanted_port else str(port) == wanted_port):
                    return True
        return False


class NewSite(msgspec.Struct, frozen=True):
    """What is told once, when a site is made."""

    site: Site
    access_token: str


def clean_origin(text: str) -> str:
    """Return an origin in the form browsers send it.

    Raises:
        ValueError: it is not `http(s)://HOST[:PORT]`.
    """
    parts = urlsplit(text.strip().rstrip("/").lower())
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"an origin looks like https://www.example.com, not {text!r}")
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}"


def are_made(connection: Connection) -> bool:
    """Say whether an installation was made in a database: its schema alone is none."""
    return migrations.are_begun(connection) and connection.row("SELECT 1 FROM sites LIMIT 1") is not None


def site_ids(connection: Connection) -> list[int]:
    """Return the row id of every site, also of those whose secrets cannot be read here."""
    return [row[0] for row in connection.rows("SELECT id FROM sites ORDER BY id")]


def is_site_key(text: str) -> bool:
    """Say whether a text has the form of a site key; what has not is no secret of ours and need not be looked for."""
    return _SITE_KEY.fullmatch(text) is not None


class Sites:
    """Finds sites by key or token; answers are kept for two seconds, so that other processes' changes arrive.

    Whatever returns a site raises `KeyMissing` where its secrets were stored with a key that this process does not have.
    """

    def __init__(self, database: Database, keyring: Keyring, row_ids: RowIds) -> None:
        self._database = database
        self._keyring = keyring
        self._row_ids = row_ids
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, Site | None]] = {}
        self._changes = 0
        self._readable: set[str] = set()
        self._told: set[str] = set()

    def kept(self, key: str) -> Site | None:
        """Return the site of a site key where it is in memory and fresh, without asking the database."""
        kept = self._kept.get(("key", key))
        return kept[1] if kept is not None and kept[0] > time.monotonic() else None

    def by_key(self, key: str) -> Site | None:
        """Return the site of a public site key."""
        if not is_site_key(key):
            return None
        return self._find("key", key, "SELECT {} FROM sites WHERE site_key = ?", key)

    def by_token(self, token: str) -> Site | None:
        """Return the site of a REST access token."""
        sql = "SELECT {} FROM sites WHERE id = (SELECT site FROM tokens WHERE digest = ? AND revoked_at IS NULL)"
        return self._find("token", digest(token).hex(), sql, digest(token))

    def by_id(self, site_id: int) -> Site | None:
        """Return a site by its row id."""
        return self._find("id", str(site_id), "SELECT {} FROM sites WHERE id = ?", site_id)

    def all(self) -> list[Site]:
        """Return every site, oldest first."""
        with self._database.read() as connection:
            return [self._site(row) for row in connection.rows(f"SELECT {_COLUMNS} FROM sites ORDER BY created_at, id")]

    def of_account(self, account: int, *, operator: bool) -> list[Site]:
        """Return the sites a console account may see; an operator sees all."""
        if operator:
            return self.all()
        sql = f"SELECT {_COLUMNS} FROM sites WHERE id IN (SELECT site FROM account_sites WHERE account = ?) ORDER BY created_at, id"
        with self._database.read() as connection:
            return [self._site(row) for row in connection.rows(sql, (account,))]

    def create(self, tx: Connection, name: str, origins: list[str], time_zone: str, now_ms: int) -> NewSite:
        """Make a site with a key, an access token and an identity secret of its own."""
        key = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16))
        token = "ll_" + secrets.token_urlsafe(32)
        identity_secret = secrets.token_urlsafe(32)
        site = Site(
            id=self._row_ids.mint(now_ms),
            key=key,
            name=name,
            origins=tuple(clean_origin(origin) for origin in origins),
            time_zone=ZoneInfo(time_zone).key,
            verification="optional",
            salt=secrets.token_bytes(16),
            identity_secrets=(identity_secret,),
            settings=SiteSettings(),
        )
        tx.run(
            f"INSERT INTO sites ({_COLUMNS}, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                site.id,
                key,
                name,
                json.dumps(site.origins),
                site.time_zone,
                site.verification,
                site.salt,
                json.dumps([self._keyring.encrypt(identity_secret)]),
                msgspec.json.encode(site.settings).decode(),
                now_ms,
            ),
        )
        tx.run(
            "INSERT INTO tokens (site, id, digest, name, created_at) VALUES (?, ?, ?, ?, ?)",
            (site.id, self._row_ids.mint(now_ms), digest(token), "init", now_ms),
        )
        return NewSite(site, token)

    def update(self, tx: Connection, site: Site) -> None:
        """Write a site's name, origins, zone, verification and settings."""
        tx.run(
            "UPDATE sites SET name = ?, origins = ?, time_zone = ?, verification = ?, settings = ? WHERE id = ?",
            (
                site.name,
                json.dumps(site.origins),
                site.time_zone,
                site.verification,
                msgspec.json.encode(site.settings).decode(),
                site.id,
            ),
        )

    def are_readable(self, connection: Connection) -> bool:
        """Say whether this process has the keys that the secrets of every site were stored with."""
        stored = {text for (text,) in connection.rows("SELECT identity_secrets FROM sites")}
        for text in stored - self._readable:
            try:
                self._decrypted(text)
            except KeyMissing:
                return False
        self._readable = stored
        return True

    def encrypt_anew(self, tx: Connection) -> int:
        """Store the secrets of every site with the newest key, and return how many sites there are.

        Raises:
            KeyMissing: one was stored with a key that is not in the ring; nothing has changed.
        """
        rows = tx.rows(f"SELECT id, identity_secrets FROM sites ORDER BY id{tx.lock_suffix()}")
        for number, text in rows:
            again = json.dumps([self._keyring.encrypt(secret) for secret in self._decrypted(text)])
            tx.run("UPDATE sites SET identity_secrets = ? WHERE id = ?", (again, number))
        return len(rows)

    @staticmethod
    def has_paused_messages(connection: Connection, site: int) -> bool:
        """Say whether a site's messages are paused as of now: what is kept of a site may be some seconds old."""
        settings = str(connection.value("SELECT settings FROM sites WHERE id = ?", (site,)))
        return msgspec.json.decode(settings, type=SiteSettings).messages_paused

    def change(self, tx: Connection, site: int, **settings: Any) -> None:
        """Change some of a site's settings, by their names in SiteSettings. Whoever asked for it calls `forget` after the commit."""
        tx.run("UPDATE sites SET settings = settings WHERE id = ?", (site,))  # the lock
        before = msgspec.json.decode(str(tx.value("SELECT settings FROM sites WHERE id = ?", (site,))), type=SiteSettings)
        changed = msgspec.json.encode(msgspec.structs.replace(before, **settings)).decode()
        tx.run("UPDATE sites SET settings = ? WHERE id = ?", (changed, site))

    def forget(self) -> None:
        """Drop what is kept, so that a change of this process is seen at once."""
        with self._lock:
            self._changes += 1
            self._kept.clear()

    def _find(self, kind: str, name: str, sql: str, parameter: object) -> Site | None:
        now, changes = time.monotonic(), self._changes
        kept = self._kept.get((kind, name))
        if kept is not None and kept[0] > now:
            return kept[1]
        with self._database.read() as connection:
            row = connection.row(sql.format(_COLUMNS), (parameter,))
        site = None if row is None else self._site(row)
        with self._lock:
            if len(self._kept) > 10_000:  # guesses of strangers must not fill the memory
                self._kept.clear()
            if changes == self._changes:  # what was read while something changed may be from before that
                self._kept[(kind, name)] = (now + _CACHE_SECONDS, site)
        return site

    def _site(self, row: tuple[object, ...]) -> Site:
        site_id, key, name, origins, zone, verification, salt, encrypted, settings = row
        try:
            identity_secrets = self._decrypted(str(encrypted))
        except KeyMissing as error:
            if str(key) not in self._told:
                self._told.add(str(key))
                log.error("site %s cannot be served: %s", key, error)  # noqa: TRY400 (where it was met says nothing)
            raise
        return Site(
            id=int(str(site_id)),
            key=str(key),
            name=str(name),
            origins=tuple(json.loads(str(origins))),
            time_zone=str(zone),
            verification=str(verification),
            salt=bytes(salt),  # type: ignore[call-overload]  # bytes from either driver
            identity_secrets=identity_secrets,
            settings=msgspec.json.decode(str(settings), type=SiteSettings),
        )

    def _decrypted(self, stored: str) -> tuple[str, ...]:
        return tuple(self._keyring.decrypt(token) for token in json.loads(stored))


@functools.lru_cache(maxsize=1_000)
def _brand(colour: str) -> dict[str, Any]:
    """Shades are looked for step by step, and each claim asks."""
    made: dict[str, Any] = msgspec.to_builtins(colours.brand(colour))
    return made


_COLUMNS = "id, site_key, name, origins, time_zone, verification, salt, identity_secrets, settings"
