"""What an operator does beside serving: examine, back up, restore. Whatever stands in the way is said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.domain.checks.findings import Finding
from collector.domain.doctor import Counts, examine
from collector.domain.secrets import Keyring
from collector.domain.sites import Sites
from collector.settings import Settings, SettingsError, require_secret_key
from collector.storage.database import Database
from collector.storage.migrations import pending
from collector.values.ids import RowIds


def doctor(settings: Settings, counts: Counts) -> Iterator[Finding]:
    """Yield what the doctor finds and fill `counts`.

    Raises:
        SettingsError: the secret key does not fit, or the database cannot be examined.
    """
    keyring = Keyring(require_secret_key(settings).secret_key)
    with opened(settings) as database:
        Sites(database, keyring, RowIds()).all()  # a key that does not fit makes every tombstone a stranger's
        yield from examine(database, keyring, counts)


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Open a database that exists, of this version's schema, and change nothing.

    Raises:
        SettingsError: there is none, or something inside went wrong; the message is one line.
    """
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not Path(path).is_file():
        raise SettingsError(f"there is no database {path}")
    with in_one_line(settings.database_url):
        database = Database(settings.database_url)
        try:
            with database.read() as connection:
                if pending(connection):
                    raise SettingsError("its schema is of an older version: `leadlight upgrade` brings it up to date")
            yield database
        finally:
            database.close()


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Say in one line why something cannot be done: the drivers' classes are many, and an operator wants the reason.

    Raises:
        SettingsError: whatever was raised inside.
    """
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines()
        scheme, separator, rest = what.partition("://")
        raise SettingsError(f"{scheme}{separator}{rest.rpartition('@')[2]}: {lines[0] if lines else type(error).__name__}") from error
