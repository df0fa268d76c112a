"""Accounts of the console: an email, a password, the sites it may see. An operator sees every site.

Passwords are stretched with scrypt at werkzeug's cost and stored in werkzeug's format, `scrypt:N:r:p$salt$hex`. The standard
library does it, because the rules of the product import no web library.
"""

import hashlib
import hmac
import secrets

import msgspec

from collector.storage.database import Connection
from collector.values.ids import RowIds
from collector.values.text import fold, storable

_N, _R, _P = 2**15, 8, 1
_MEMORY = 132 * _N * _R * _P  # scrypt needs 128 bytes for each; OpenSSL refuses to take more than it is told
LONGEST_EMAIL = 320
LONGEST_PASSWORD = 1_000
"""In code points; longer ones are refused before any work is spent on them."""


class Account(msgspec.Struct, frozen=True):
    """Somebody who may sign in. `stamp` changes with the password, so that sessions can be tied to it."""

    id: int
    email: str
    operator: bool
    stamp: str


def clean_email(text: str) -> str:
    """Return an email in the form in which accounts are stored and found: without white space around it, case-folded."""
    return fold(text.strip())


def create(tx: Connection, row_ids: RowIds, email: str, password: str, operator: bool, now_ms: int) -> int:
    """Make an account and return its row id.

    Raises:
        ValueError: the email or the password cannot be one, or an account has this email.
    """
    address = clean_email(email)
    if not _possible(address, LONGEST_EMAIL) or "@" not in address:
        raise ValueError(f"{email!r} is no email address")
    if not _possible(password, LONGEST_PASSWORD):
        raise ValueError(f"a password is text of 1 to {LONGEST_PASSWORD} characters")
    if by_email(tx, address) is not None:
        raise ValueError(f"there is an account {address} already")
    number = row_ids.mint(now_ms)
    tx.run(
        "INSERT INTO accounts (id, email, password_hash, operator, created_at) VALUES (?, ?, ?, ?, ?)",
        (number, address, hash_password(password), int(operator), now_ms),
    )
    return number


def set_password(tx: Connection, account: int, password: str) -> None:
    """Give an account another password, which ends all its sessions.

    Raises:
        ValueError: it cannot be a password.
    """
    if not _possible(password, LONGEST_PASSWORD):
        raise ValueError(f"a password is text of 1 to {LONGEST_PASSWORD} characters")
    tx.run("UPDATE accounts SET password_hash = ? WHERE id = ?", (hash_password(password), account))


def add_site(tx: Connection, account: int, site: int) -> None:
    """Open a site to an account; again, nothing changes."""
    tx.run("INSERT INTO account_sites (account, site) VALUES (?, ?) ON CONFLICT DO NOTHING", (account, site))


def authenticate(connection: Connection, email: str, password: str) -> Account | None:
    """Return the account of these credentials, or None.

    An unknown email costs the same work as a wrong password, so that time does not tell who has an account.
    """
    address = clean_email(email)
    if not _possible(address, LONGEST_EMAIL) or not _possible(password, LONGEST_PASSWORD):
        return None
    row = connection.row(f"SELECT {_COLUMNS} FROM accounts WHERE email = ?", (address,))
    fits = password_fits(_NOBODY if row is None else str(row[3]), password)
    return _account(row) if row is not None and fits else None


def by_email(connection: Connection, email: str) -> Account | None:
    """Return the account with this email."""
    address = clean_email(email)
    row = connection.row(f"SELECT {_COLUMNS} FROM accounts WHERE email = ?", (address,)) if storable(address) else None
    return None if row is None else _account(row)


def by_id(connection: Connection, account: int) -> Account | None:
    """Return an account by its row id."""
    row = connection.row(f"SELECT {_COLUMNS} FROM accounts WHERE id = ?", (account,))
    return None if row is None else _account(row)


def hash_password(password: str) -> str:
    """Return the form in which a password is stored."""
    salt = secrets.token_urlsafe(16)
    return f"scrypt:{_N}:{_R}:{_P}${salt}${_stretch(password, salt, _N, _R, _P)}"


def password_fits(stored: str, password: str) -> bool:
    """Compare a password with its stored form, in constant time once it is stretched. What is not of the format fits nothing."""
    try:
        method, salt, expected = stored.split("$")
        name, n, r, p = method.split(":")
        if name != "scrypt":
            return False
        given = _stretch(password, salt, int(n), int(r), int(p))
    except ValueError:
        return False
    return hmac.compare_digest(given, expected)


def _stretch(password: str, salt: str, n: int, r: int, p: int) -> str:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt.encode(), n=n, r=r, p=p, maxmem=max(_MEMORY, 132 * n * r * p)).hex()


def _possible(text: str, longest: int) -> bool:
    return 1 <= len(text) <= longest and storable(text)


def _account(row: tuple[object, ...]) -> Account:
    number, email, operator, password_hash = row
    stamp = hashlib.sha256(f"leadlight.account:{password_hash}".encode()).hexdigest()[:16]
    return Account(int(str(number)), str(email), bool(operator), stamp)


_COLUMNS = "id, email, operator, password_hash"
_NOBODY = f"scrypt:{_N}:{_R}:{_P}$nobody$" + "0" * 128  # costs what a real one costs, and no password gives it
