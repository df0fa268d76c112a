"""Making an installation ready: a secret key, the schema, a site, an account for the console."""

import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from collector.domain import accounts
from collector.domain.secrets import KeyMissing
from collector.domain.sites import are_made
from collector.services import Services, bring_up_to_date, build
from collector.settings import Settings, SettingsError, config_path
from collector.storage import migrations
from collector.storage.database import Connection, Database
from collector.storage.drafts import check_log, draft
from collector.storage.faults import is_unavailable, outage
from collector.storage.occupancy import Occupancy, file_of
from collector.values.clock import system_clock

FIRST_EMAIL = "admin@example.com"


def ensure_secret_key(settings: Settings, folder: Path, echo: Callable[[str], None]) -> Settings:
    """Return settings with a secret key; where there is none, make one in a file that only its owner can read."""
    if settings.secret_key:
        return settings
    path = folder / config_path()
    key = secrets.token_urlsafe(48)
    text = path.read_text("utf-8") if path.exists() else ""
    if "secret_key" in text:
        raise SettingsError(f"{path} names a secret_key that is empty: take the line out, or put a key there")
    with draft(path, overwrite=True) as working:  # it may be the only one who knows the key when the power is cut
        working.write_text(f'secret_key = ["{key}"]\n{text}', "utf-8")
    echo(f"made a secret key in {path}")
    return msgspec.structs.replace(settings, secret_key=(key,))


def init_site(
    settings: Settings,
    *,
    name: str,
    origins: list[str],
    time_zone: str = "UTC",
    email: str | None = None,
    folder: Path | None = None,
    echo: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Make a site, an access token and a console account, and return what is told once.

    The first account is the operator and sees every site. Later calls add a site and an account of its own, or, where `email`
    names an account that exists, open the new site to it (its password is unchanged, and told as None).

    Raises:
        ValueError: an origin or time zone is wrong.
    """
    if not settings.secret_key and _is_installed(settings):
        raise SettingsError(
            f"{shown(settings.database_url)} holds an installation whose secret key is not here: set SECRET_KEY to it, or go to its folder"
        )
    _check_log(settings)
    settings = ensure_secret_key(settings, folder or Path.cwd(), echo)
    services = open_services(settings)
    try:
        echo(f"the database {shown(settings.database_url)} is up to date")
        made = services.written.transact(lambda tx: _make(services, tx, name, origins, time_zone, email))
    except Exception as error:
        if is_unavailable(error):
            raise unusable(settings, error) from None
        raise
    finally:
        services.close()
    return {**made, "console_url": f"{settings.base_url()}/console/"}


def _check_log(settings: Settings) -> None:
    file = file_of(settings.database_url)
    if file is not None:
        try:
            check_log(file)
        except FileExistsError as error:
            raise SettingsError(str(error)) from None


def check_installed(settings: Settings, *, with_site: bool = False) -> list[str]:
    """Make sure that there is an installation, change nothing, and return a line for each step of the schema that is pending.

    What would be made in its place is an empty one, in which no site is known: trackers are told so, and throw away what they keep.

    Raises:
        SettingsError: there is no file, or no schema in the database, or no site where there is to be one; or it cannot be looked into.
    """
    check_file(settings)
    url = settings.database_url
    try:
        with closing(Occupancy(url)), closing(Database(url, connections=1, as_it_is=True)) as database, database.read() as connection:
            check_schema(settings, connection, with_site=with_site)
            return migrations.told(connection)
    except SettingsError:
        raise
    except Exception as error:  # whatever a driver says: a command ends in one line
        raise unusable(settings, error) from None


def check_file(settings: Settings) -> None:
    """Make sure that the file of the database exists.

    Raises:
        SettingsError: it does not, or that cannot be found out.
    """
    file = file_of(settings.database_url)
    try:
        is_there = file is None or file.is_file()
    except OSError as error:  # a folder on the way that is not for everybody
        raise OneLine(f"{file}: {error.strerror}") from None
    if not is_there:
        raise _missing(settings, f"there is no database {file}")


def check_schema(settings: Settings, connection: Connection, *, with_site: bool = False) -> None:
    """Make sure that a database is one of Leadlight.

    Raises:
        SettingsError: it is empty, or somebody else's; or holds no site, where there is to be one.
        SchemaError: it is of a newer version.
    """
    if not migrations.are_begun(connection):
        raise _missing(settings, f"the database {shown(settings.database_url)} holds no installation")
    if with_site and not are_made(connection):
        raise _missing(settings, f"the database {shown(settings.database_url)} holds no site")


_ELSE_MISSING = (
    "New installation: `leadlight init`. Else this is not its database: go to its folder or set DATABASE_URL, put the file back, or "
    "`leadlight restore`"
)


class OneLine(SettingsError):
    """Says what could not be done and why; nothing is put in front of it any more."""


def _missing(settings: Settings, what: str) -> OneLine:
    by_default = " (DATABASE_URL is not set)" if settings.database_url == Settings().database_url else ""
    return OneLine(f"{what}{by_default}. {_ELSE_MISSING}")


def _is_installed(settings: Settings) -> bool:
    """Say whether a site was made in the database. Whatever keeps it from being read is said by who opens it next."""
    file = file_of(settings.database_url)
    if file is not None and not file.is_file():
        return False
    try:
        database = Database(settings.database_url, as_it_is=True)
        try:
            with database.read() as connection:
                return are_made(connection)
        finally:
            database.close()
    except Exception:  # whatever it is: what cannot be looked into is not known to be there, and what opens it next says why
        return False


def open_services(settings: Settings) -> Services:
    """Open the installation, or say in one line why it cannot be.

    Raises:
        SettingsError: no or a wrong secret key, or the database cannot be used.
    """
    try:
        services = build(settings)
    except (SettingsError, OSError):
        raise
    except Exception as error:
        raise unusable(settings, error) from None
    try:
        services.sites.all()
    except KeyMissing as error:
        services.close()
        raise SettingsError(str(error)) from None
    return services


def upgrade(settings: Settings, *, check: bool, tell: Callable[[str], None]) -> int:
    """Bring the schema up to date, unless it is only to be checked, and return how many steps were pending; each is told before, in a line.

    Raises:
        SettingsError: the database cannot be used, or is of a newer version.
    """
    url = settings.database_url
    steps = _looked_at(settings) if check else check_installed(settings)
    for line in steps:
        tell(line)
    if check:
        return len(steps)
    try:
        with closing(Occupancy(url)), closing(Database(url)) as database:
            bring_up_to_date(database, system_clock(), again=True)
    except Exception as error:  # whatever a driver says: a command ends in one line
        raise unusable(settings, error) from None
    return len(steps)


def _looked_at(settings: Settings) -> list[str]:
    """Return the pending steps of a database beside which nothing is to be made either."""
    check_file(settings)
    try:
        with closing(Database(settings.database_url, as_it_is=True)) as database, database.read() as connection:
            check_schema(settings, connection)
            return migrations.told(connection)
    except SettingsError:
        raise
    except Exception as error:  # whatever a driver says: a command ends in one line
        raise unusable(settings, error) from None


def unusable(settings: Settings, error: Exception) -> SettingsError:
    """Return what to say: the drivers' classes are many, and whoever starts a server wants the reason, not a traceback."""
    cause = outage(error) or error
    return SettingsError(f"the database {shown(settings.database_url)} cannot be used: {said(cause)}")


def said(error: BaseException) -> str:
    """Return in one line what an exception says. What is none of those that say what is wrong is a defect of ours: its class is named."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if not lines:
        return name
    return f"{name}: {lines[0]}" if isinstance(error, _DEFECTS) else lines[0]


_DEFECTS = (LookupError, TypeError, AttributeError, NameError, AssertionError, ArithmeticError, StopIteration)


def _make(services: Services, tx: Connection, name: str, origins: list[str], time_zone: str, email: str | None) -> dict[str, Any]:
    now = services.clock()
    new = services.sites.create(tx, name, origins, time_zone, now)
    first = tx.row("SELECT 1 FROM accounts") is None
    address = email or (FIRST_EMAIL if first else f"admin-{new.site.key}@example.com")
    known = accounts.by_email(tx, address)
    password = None if known is not None else secrets.token_urlsafe(12)
    if known is not None:
        accounts.add_site(tx, known.id, new.site.id)
    else:
        account = accounts.create(tx, services.row_ids, address, str(password), operator=first, now_ms=now)
        accounts.add_site(tx, account, new.site.id)
    return {
        "site_key": new.site.key,
        "access_token": new.access_token,
        "identity_secret": new.site.identity_secrets[0],
        "console_email": address,
        "console_password": password,
    }


def shown(url: str) -> str:
    """Return a database's address without its password, which may also stand among PostgreSQL's parameters."""
    if file_of(url) is not None:
        return url
    scheme, separator, rest = url.partition("://")
    place, _, parameters = rest.partition("?")
    # Behind a sign that should have been written otherwise nobody knows what is a part of the password.
    return f"{scheme}{separator}{'…' if '@' in parameters else place.rpartition('@')[2]}"
