"""Who sends: site, consent, lead and user of a request of the tracker, each checked before anything of it is believed."""

import re
from typing import Any

import msgspec

from collector.domain import delivery
from collector.domain.identities import LEAD, USER, Key, NewIdentity
from collector.domain.proofs import read_jwt, user_hash_fits
from collector.domain.secrets import Keyring, digest
from collector.domain.sites import Site, Sites, is_site_key
from collector.ingest import bots, wire
from collector.ingest.effects import Exchange, Read
from collector.values.clock import DAY
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import clean_user_id

LONGEST_AGENT = 512
"""How much of a user agent is looked at (code points)."""
_RENEWAL = DAY  # a session is renewed once its issue lies this long back (ms)
_LEAD = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22,86})")


class Headers(msgspec.Struct, frozen=True):
    """The headers of a request that matter here."""

    origin: str | None = None
    user_agent: str = ""
    accept_language: str = ""
    gpc: bool = False
    internal: bool = False
    """Whether it comes from a network of the site's own people."""


class Verified(msgspec.Struct, frozen=True):
    """A sender whose claims were checked. `session` is the token to give out, with its end in ms, or None for none."""

    site: Site
    lead: NewIdentity
    user_id: str | None
    verified: bool
    session: tuple[str, int] | None

    @property
    def owner(self) -> Key:
        """The identity that what is sent belongs to: the asserted user, else the lead."""
        return self.lead.key if self.user_id is None else (USER, self.user_id)

    def may_know(self, role: str) -> bool:
        """Say whether what is known of the person (of a role) may be given out: to a lead of its own, or a user whose id was proved."""
        return delivery.may_know(role, asserted=self.user_id is not None, verified=self.verified)


def find_site(sites: Sites, sender: wire.Sender, headers: Headers) -> Exchange[Site]:
    """Return the site of a site key, for an origin it admits; the database is asked only where the memory does not know.

    Raises:
        Problem: 403.
    """
    site = sites.kept(sender.site)
    if site is None and is_site_key(sender.site):
        site = yield Read(lambda: sites.by_key(sender.site))
    if site is None:
        raise problem(403, Reason.SITE_UNKNOWN, "site")
    if not site.admits(headers.origin):
        raise problem(403, Reason.ORIGIN_NOT_ALLOWED, "origin", "add the page's origin to the site's allowed origins")
    return site


def refused_sender(sender: wire.Sender, headers: Headers) -> Reason | None:
    """Return why nothing of this sender is stored although its requests are in order, or None."""
    if headers.gpc and sender.consent != "granted":
        return Reason.CONSENT_WITHHELD
    if sender.automation != "count" and bots.is_bot(headers.user_agent[:LONGEST_AGENT]):
        return Reason.BOT
    return None


def check_lead(text: str) -> NewIdentity:
    """Return the lead of a cookie's value, its secret as a digest."""
    match = _LEAD.fullmatch(text)
    if match is None:
        raise problem(403, Reason.LEAD_INVALID, "lead")
    return NewIdentity((LEAD, match[1]), digest(match[2]))


def check_sender(keyring: Keyring, site: Site, sender: wire.Sender, session_duration: int, now_ms: int) -> Verified:
    """Check lead and user.

    Raises:
        Problem: 400 or 403 for what is forged, malformed or not verified enough, 401 for a session that has ended.
    """
    lead = check_lead(sender.lead)
    user = sender.user
    if user is None:
        return Verified(site, lead, None, verified=False, session=None)
    try:
        user_id = clean_user_id(user.id)
    except Refusal as refusal:
        raise problem(400, refusal.code, "user.id", refusal.message) from None
    return _check_user(keyring, site, user, user_id, lead, session_duration, now_ms)


def _check_user(
    keyring: Keyring, site: Site, user: wire.User, user_id: str, lead: NewIdentity, session_duration: int, now_ms: int
) -> Verified:
    """Check what proves a user id: the page's proof, else the session. Proof makes a new session, which ends unless it is given again."""
    proved = user.hash is not None
    ended = False
    if user.hash is not None and not (isinstance(user.hash, str) and user_hash_fits(site.identity_secrets, user_id, user.hash)):
        raise problem(403, Reason.USER_HASH_INVALID, "user.hash")
    if user.hash is None and user.jwt is not None:
        token = read_jwt(site.identity_secrets, user.jwt, now_ms) if isinstance(user.jwt, str) else None
        if token is None or token.user_id != user_id:
            raise problem(403, Reason.USER_HASH_INVALID, "user.jwt")
        proved, ended = not token.ended, token.ended
    session = _session(keyring, site, user, user_id, lead.key[1])
    alive = session is not None and session.ends > now_ms
    if not proved and not alive and (ended or (session is not None and session.verified)):
        # Proof that has run out is not wrong: the browser keeps what it has until the page proves the user again.
        raise problem(401, Reason.SESSION_EXPIRED, "user.session")
    session = session if alive else None
    verified = proved or (session is not None and session.verified)
    if not verified and site.verification == "required":
        raise problem(403, Reason.IDENTITY_UNVERIFIED, "user")
    stale = session is None or session.verified != verified or session.ends - now_ms < session_duration - _RENEWAL
    issued = None
    if stale and (proved or not verified):
        issued = _issue(keyring, site, user_id, lead.key[1], verified=verified, ends=now_ms + session_duration)
    return Verified(site, lead, user_id, verified=verified, session=issued)


class _Session(msgspec.Struct, frozen=True):
    """A session token's content: whether the user id was proved, and when it ends (ms)."""

    verified: bool
    ends: int


def _issue(keyring: Keyring, site: Site, user_id: str, lead_id: str, *, verified: bool, ends: int) -> tuple[str, int]:
    return keyring.sign(f"session:{site.key}", [user_id, lead_id, int(verified), ends, _stamp(site.identity_secrets[0])]), ends


def _session(keyring: Keyring, site: Site, user: wire.User, user_id: str, lead_id: str) -> _Session | None:
    """Return a session that is this user's in this browser, else None. With the identity secret it began under it has ended."""
    payload: Any = keyring.unsign(f"session:{site.key}", user.session) if user.session else None
    if not isinstance(payload, list) or len(payload) != 5 or payload[:2] != [user_id, lead_id]:
        return None
    known = payload[4] in {_stamp(secret) for secret in site.identity_secrets}
    return _Session(bool(payload[2]), int(payload[3]) if known else 0)


def _stamp(identity_secret: str) -> str:
    return digest("session stamp:" + identity_secret).hex()[:12]
