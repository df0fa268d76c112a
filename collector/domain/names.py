"""Event and attribute names as small numbers, allocated once and never changed.

Names are allocated in a transaction of their own, before the one that uses them, so that no writer waits for another's new name.
Standard attributes have fixed numbers, the same on every site, so that an index can be made for one of them.
"""

import threading
from collections.abc import Collection, Sequence

from collector.storage.database import Connection, Database
from collector.values.clock import DAY

EVENT = "event"
ATTRIBUTE = "attribute"
PAGE_VIEW = "page-view"

STANDARD_ATTRIBUTES = {
    "email": 1,
    "name": 2,
    "phone": 3,
    "avatar": 4,
    "language_override": 5,
    "unsubscribed_from_emails": 6,
    "signed_up_at": 7,
    "utm_source": 8,
    "utm_medium": 9,
    "utm_campaign": 10,
    "utm_term": 11,
    "utm_content": 12,
    "owner_id": 13,
    "last_seen_at": 14,
    "internal": 15,
    "referrer": 16,
    "first_referrer": 17,
    "first_utm_source": 18,
    "first_utm_medium": 19,
    "first_utm_campaign": 20,
    "first_utm_term": 21,
    "first_utm_content": 22,
    "browser": 23,
    "browser_version": 24,
    "browser_language": 25,
    "os": 26,
    "device": 27,
}
FIRST_FREE = 1_000
"""The least number of a name that is no standard attribute."""
_CHUNK = 500
_STANDARD_TEXTS = {number: text for text, number in STANDARD_ATTRIBUTES.items()}


class NameGone(Exception):
    """A name has no number any more that had one a moment ago: another server took the place of its server, and lacks it.

    Asked once more from the beginning, it is allocated anew.
    """


class Names:
    """Texts to numbers and back, kept in memory; rows are append-only, so what is kept never goes stale.

    Unless a server of PostgreSQL takes another's place: it may lack the newest rows, and give their numbers to other names.
    """

    def __init__(self, database: Database, written: Database, new_per_day: int, others: Collection[Database] = ()) -> None:
        """Read and write by these; `others` may find out sooner that another server has taken their server's place."""
        self._database = database
        self._written = written
        self._new_per_day = new_per_day
        self._lock = threading.Lock()
        self._numbers: dict[tuple[int, str, str], int] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._moves = 0
        self._all = {id(one): one for one in (database, written, *others)}.values()

    def number(self, site: int, kind: str, text: str) -> int | None:
        """Return the number of a name, or None where the site has no such name."""
        if kind == ATTRIBUTE and text in STANDARD_ATTRIBUTES:
            return STANDARD_ATTRIBUTES[text]
        self._heed()
        known = self._numbers.get((site, kind, text))
        if known is None:
            with self._database.read() as connection:
                known = connection.value("SELECT id FROM names WHERE site = ? AND kind = ? AND text = ?", (site, kind, text))
            if known is not None:
                self._keep(site, kind, text, known)
        return known

    def text(self, site: int, number: int) -> str:
        """Return the text of a number that stands in some row."""
        self._heed()
        known = self._texts.get((site, number)) or _STANDARD_TEXTS.get(number)
        if known is None:
            with self._database.read() as connection:
                row = connection.row("SELECT kind, text FROM names WHERE site = ? AND id = ?", (site, number))
            if row is None:
                raise KeyError(number)
            self._keep(site, row[0], row[1], number)
            known = str(row[1])
        return known

    def texts(self, connection: Connection, site: int, numbers: Collection[int]) -> list[str]:
        """Return the texts of numbers that stand in some row, in their order. Those that are not in memory are asked for together."""
        self._heed()
        known, standard = self._texts, _STANDARD_TEXTS
        found = [text for number in numbers if (text := known.get((site, number)) or standard.get(number))]
        if len(found) == len(numbers):  # nearly always
            return found
        texts = {number: text for number in numbers if (text := known.get((site, number)) or standard.get(number))}
        unknown = [number for number in numbers if number not in texts]
        for start in range(0, len(unknown), _CHUNK):
            of_names, parameters = connection.among(unknown[start : start + _CHUNK])
            sql = f"SELECT kind, text, id FROM names WHERE site = ? AND id {of_names}"
            for kind, text, number in connection.rows(sql, (site, *parameters)):
                self._keep(site, kind, text, number)
                texts[number] = text
        return [texts[number] for number in numbers]  # not from memory, which is emptied where it is full

    def all(self, site: int, kind: str) -> list[str]:
        """Return every name of a kind that the site has ever had, sorted."""
        with self._database.read() as connection:
            return [row[0] for row in connection.rows("SELECT text FROM names WHERE site = ? AND kind = ? ORDER BY text", (site, kind))]

    def numbers(self, site: int, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Return the numbers of those names (kind, text) that have one, asking the database once for each kind."""
        self._heed()
        found: dict[tuple[str, str], int] = {}
        unknown: dict[str, list[str]] = {}
        for kind, text in keys:
            known = STANDARD_ATTRIBUTES.get(text) if kind == ATTRIBUTE else None
            known = self._numbers.get((site, kind, text)) if known is None else known
            if known is None:
                unknown.setdefault(kind, []).append(text)
            else:
                found[(kind, text)] = known
        for kind, texts in unknown.items():
            with self._written.read() as connection:
                found |= {(kind, text): number for number, text in self._asked(connection, site, kind, texts).items()}
        return found

    def events(self, connection: Connection, site: int, texts: Collection[str]) -> dict[int, str]:
        """Return those names of events that the site has, by their numbers."""
        self._heed()
        found: dict[int, str] = {}
        unknown: list[str] = []
        for text in texts:
            number = self._numbers.get((site, EVENT, text))
            if number is None:
                unknown.append(text)
            else:
                found[number] = text
        return found | self._asked(connection, site, EVENT, unknown) if unknown else found

    def _asked(self, connection: Connection, site: int, kind: str, texts: Sequence[str]) -> dict[int, str]:
        """Ask the database for names of a kind, and keep those that there are."""
        found = {number: text for text, number in _numbered(connection, site, kind, texts).items()}
        for number, text in found.items():
            self._keep(site, kind, text, number)
        return found

    def ensure(self, site: int, kind: str, texts: Collection[str], now_ms: int) -> None:
        """Make sure that names of a trusted source have numbers."""
        known = self.numbers(site, {(kind, text) for text in texts})
        self.allocate(site, kind, [text for text in texts if (kind, text) not in known], now_ms, browser=False)

    def allocate(self, site: int, kind: str, texts: Collection[str], now_ms: int, *, browser: bool) -> dict[tuple[str, str], int]:
        """Make numbers for names that have none, in a transaction of its own, and return them.

        Those are missing that the daily bound refused, which holds for names that browsers bring.
        """
        missing = sorted(text for text in set(texts) if not (kind == ATTRIBUTE and text in STANDARD_ATTRIBUTES))
        if not missing:
            return {}

        def work(tx: Connection) -> dict[str, int]:
            if tx.engine == "postgresql":  # one allocator a site at a time; the numbers come from max(id)
                tx.rows("SELECT pg_advisory_xact_lock(?)", (site,))
            left = len(missing)
            if browser:
                today = tx.value(
                    "SELECT count(*) FROM names WHERE site = ? AND kind = ? AND browser = 1 AND created_at > ?", (site, kind, now_ms - DAY)
                )
                left = max(self._new_per_day - today, 0)
            if left == 0:
                return {}
            highest = tx.value("SELECT max(id) FROM names WHERE site = ?", (site,)) or FIRST_FREE
            known = _numbered(tx, site, kind, missing)
            new = [text for text in missing if text not in known][:left]
            made = {text: number for number, text in enumerate(new, highest + 1)}
            rows = [(site, number, kind, text, now_ms, int(browser)) for text, number in made.items()]
            tx.insert("names", ("site", "id", "kind", "text", "created_at", "browser"), rows)
            return made | known

        made = self._written.transact(work)
        for text, number in made.items():
            self._keep(site, kind, text, number)
        return {(kind, text): number for text, number in made.items()}

    def _heed(self) -> None:
        """Forget everything where the database is another server than it was."""
        moves = sum(one.moves for one in self._all)
        if moves != self._moves:
            with self._lock:
                self._moves = moves
                self._numbers.clear()
                self._texts.clear()

    def _keep(self, site: int, kind: str, text: str, number: int) -> None:
        with self._lock:
            if len(self._numbers) > 200_000:
                self._numbers.clear()
                self._texts.clear()
            self._numbers[(site, kind, text)] = number
            self._texts[(site, number)] = text


def _numbered(connection: Connection, site: int, kind: str, texts: Sequence[str]) -> dict[str, int]:
    """Return the numbers of those names of a kind that have one."""
    found: dict[str, int] = {}
    for start in range(0, len(texts), _CHUNK):
        of_texts, parameters = connection.among(texts[start : start + _CHUNK])
        sql = f"SELECT text, id FROM names WHERE site = ? AND kind = ? AND text {of_texts}"
        found |= dict(connection.rows(sql, (site, kind, *parameters)))
    return found
