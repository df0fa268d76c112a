"""Hand-overs: a visitor who follows a link to another domain of the site is the same lead there.

The link carries a signed parameter, good once, for two minutes and on one domain. It stands for a row here; whoever takes the row away
gets the lead with its secret, so that of many collectors one answers. The secret itself is never in an address: it waits in the row,
encrypted, as the lead has only one and only its digest is kept elsewhere.
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from collector.domain import identities
from collector.domain.identities import NewIdentity
from collector.domain.limits import PerMinute
from collector.domain.secrets import Keyring, digest
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.clock import MINUTE
from collector.values.errors import Reason
from collector.values.ids import new_nonce

LIFETIME = 2 * MINUTE
"""From the visitor's pointing at a link to the other page's asking (ms)."""
MOST = 20
"""Hand-overs of one lead that wait at a time: tabs, and links that were pointed at and not followed."""


class Taken(msgspec.Struct, frozen=True):
    """What a parameter stood for: the lead as `ID.SECRET`, and whether it is a signed-in person's by now."""

    lead: str
    signed_in: bool


class Handovers:
    """Makes and takes hand-overs; `per_minute` bounds how many one site may cause in this process."""

    def __init__(self, keyring: Keyring, per_minute: PerMinute) -> None:
        self._keyring = keyring
        self._per_minute = per_minute

    def make(self, tx: Connection, site: Site, lead: NewIdentity, value: str, domain: str, now_ms: int) -> str | Reason:
        """Return a parameter that hands a lead (`value` is its `ID.SECRET`) over to a domain, or why there is none."""
        if self._per_minute.left(site.id, now_ms) <= 0:
            return Reason.HANDOVER_LIMIT
        known = identities.find_locked(tx, site.id, [lead.key]).get(lead.key)  # so that it is not deleted meanwhile
        if known is None:
            return Reason.NOT_FOUND
        if known.secret_hash != lead.secret_hash:
            return Reason.LEAD_SECRET_INVALID
        waiting = "SELECT count(*) FROM handovers WHERE site = ? AND identity = ? AND expires_at > ?"
        if tx.value(waiting, (site.id, known.id, now_ms)) >= MOST:
            return Reason.HANDOVER_LIMIT
        nonce, expires_at = new_nonce(), now_ms + LIFETIME
        row = (site.id, digest(nonce), known.id, self._keyring.encrypt(value), expires_at)
        tx.insert("handovers", ("site", "nonce", "identity", "lead", "expires_at"), [row])
        self._per_minute.book(site.id, now_ms, 1)
        return self._keyring.sign(_purpose(site), [nonce, domain, expires_at])

    def nonce(self, site: Site, parameter: str, origin: str | None, now_ms: int) -> str | None:
        """Return what identifies a parameter that is genuine, in time and on a page of its domain, else None. Nothing is read for it."""
        content: Any = self._keyring.unsign(_purpose(site), parameter)
        if not isinstance(content, list) or len(content) != 3:
            return None
        nonce, domain, expires_at = content
        return str(nonce) if expires_at > now_ms and _within(origin, domain) else None


def take(tx: Connection, site: Site, keyring: Keyring, nonce: str, own: NewIdentity) -> Taken | None:
    """Return what was handed over, to a browser whose own lead gives way, and forget it.

    None where somebody took it before, the lead was deleted, or the browser's own is known: a link must not turn who is somebody
    into somebody else, least of all into who made the link.
    """
    if identities.find(tx, site.id, [own.key]):
        return None
    rows = tx.rows("DELETE FROM handovers WHERE site = ? AND nonce = ? RETURNING identity, lead", (site.id, digest(nonce)))
    if not rows:
        return None
    identity, lead = rows[0]
    known = identities.by_ids(tx, site.id, [identity]).get(identity)
    return None if known is None else Taken(keyring.decrypt(lead), known.absorbed)


def purge(tx: Connection, site: int, now_ms: int) -> int:
    """Forget what nobody can use any more; returns how many there were."""
    return tx.run("DELETE FROM handovers WHERE site = ? AND expires_at <= ?", (site, now_ms))


def _purpose(site: Site) -> str:
    return f"handover:{site.key}"


def _within(origin: str | None, domain: str) -> bool:
    """Say whether a page of this origin is of a domain. Browsers name it with every POST; whoever is none may name any."""
    try:
        host = urlsplit(origin or "").hostname or ""
    except ValueError:
        return False
    return host == domain or host.endswith("." + domain)
