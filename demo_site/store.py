"""Accounts and reports of the demo product, in a SQLite file of its own.

One connection behind a lock: the site serves a handful of people on one machine, and the same code then works in memory.
"""

import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass

from werkzeug.security import check_password_hash, generate_password_hash

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE COLLATE NOCASE, name TEXT NOT NULL, password_hash TEXT NOT NULL,
    plan TEXT NOT NULL, newsletter INTEGER NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reports (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), title TEXT NOT NULL, source TEXT NOT NULL,
    weekly INTEGER NOT NULL, due TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS reports_of_user ON reports (user_id, created_at);
"""


class EmailTakenError(Exception):
    """Somebody has signed up with this email address before."""


@dataclass(frozen=True)
class User:
    """An account. `created_at` is unix seconds; `plan` is a key of `catalogue.PLANS`."""

    id: str
    email: str
    name: str
    plan: str
    newsletter: bool
    created_at: int

    @property
    def first_name(self) -> str:
        """The first word of the name, for greetings."""
        return self.name.split()[0]


@dataclass(frozen=True)
class Report:
    """A report somebody created. `due` is `YYYY-MM-DD`, `created_at` unix seconds."""

    id: str
    title: str
    source: str
    weekly: bool
    due: str
    created_at: int


class Store:
    """The site's own data. All methods may be called from any thread."""

    def __init__(self, database: str) -> None:
        self._lock = threading.Lock()
        # Autocommit: every method is one statement, so there is no transaction to forget.
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def add_user(self, email: str, name: str, password: str, *, newsletter: bool) -> User:
        """Make an account on the free plan, or raise EmailTakenError."""
        # Random, so that an emptied demo never gives one person's id to another: the collector remembers ids for ever.
        user = User(f"u_{secrets.token_hex(5)}", email, name, "free", newsletter, int(time.time()))
        try:
            self._rows(
                "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)",
                (user.id, email, name, generate_password_hash(password), user.plan, int(newsletter), user.created_at),
            )
        except sqlite3.IntegrityError as error:
            raise EmailTakenError(email) from error
        return user

    def user(self, user_id: str) -> User | None:
        """The account with this id."""
        rows = self._rows("SELECT id, email, name, plan, newsletter, created_at FROM users WHERE id = ?", (user_id,))
        return _user(rows[0]) if rows else None

    def sign_in(self, email: str, password: str) -> User | None:
        """The account whose email and password these are."""
        rows = self._rows("SELECT id, email, name, plan, newsletter, created_at, password_hash FROM users WHERE email = ?", (email,))
        if not rows or not check_password_hash(str(rows[0][6]), password):
            return None
        return _user(rows[0][:6])

    def set_plan(self, user_id: str, plan: str) -> None:
        """Put the account on another plan."""
        self._rows("UPDATE users SET plan = ? WHERE id = ?", (plan, user_id))

    def add_report(self, user_id: str, title: str, source: str, *, weekly: bool, due: str) -> Report:
        """Create a report for the account."""
        report = Report(f"r_{secrets.token_hex(4)}", title, source, weekly, due, int(time.time()))
        self._rows(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?)",
            (report.id, user_id, title, source, int(weekly), due, report.created_at),
        )
        return report

    def reports(self, user_id: str) -> list[Report]:
        """The account's reports, newest first."""
        rows = self._rows(
            "SELECT id, title, source, weekly, due, created_at FROM reports WHERE user_id = ? ORDER BY created_at DESC, rowid DESC",
            (user_id,),
        )
        return [_report(row) for row in rows]

    def report(self, user_id: str, report_id: str) -> Report | None:
        """One report, if it is the account's."""
        rows = self._rows(
            "SELECT id, title, source, weekly, due, created_at FROM reports WHERE user_id = ? AND id = ?", (user_id, report_id)
        )
        return _report(rows[0]) if rows else None


def _user(row: tuple[object, ...]) -> User:
    user_id, email, name, plan, newsletter, created_at = row
    return User(str(user_id), str(email), str(name), str(plan), bool(newsletter), int(str(created_at)))


def _report(row: tuple[object, ...]) -> Report:
    report_id, title, source, weekly, due, created_at = row
    return Report(str(report_id), str(title), str(source), bool(weekly), str(due), int(str(created_at)))
