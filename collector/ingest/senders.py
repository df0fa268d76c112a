"""Who sends: site, consent, lead and user of a request of the tracker, each checked before anything of it is believed."""

import re
from typing import Any

import msgspec

from collector.domain.identities import LEAD, USER, Key, NewIdentity
from collector.domain.secrets import Keyring, digest, jwt_user_id, user_hash_fits
from collector.domain.sites import SESSION_RENEWAL, Site, Sites
from collector.ingest import bots, wire
from collector.values.errors import Reason, Refusal, problem
from collector.values.fields import clean_user_id

_LEAD = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22,86})")


class Headers(msgspec.Struct, frozen=True):
    """The headers of a request that matter here."""

    origin: str | None = None
    user_agent: str = ""
    gpc: bool = False
    language: str = ""


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


def find_site(sites: Sites, sender: wire.Sender, headers: Headers) -> Site:
    """Return the site of a site key, for an origin it admits."""
    site = sites.by_key(sender.site)
    if site is None:
        raise problem(403, Reason.SITE_UNKNOWN, "site")
    if not site.admits(headers.origin):
        raise problem(403, Reason.ORIGIN_NOT_ALLOWED, "origin", f"add {headers.origin} to the site's allowed origins")
    return site


def refused_sender(sender: wire.Sender, headers: Headers) -> Reason | None:
    """Return why nothing of this sender is stored although its requests are in order, or None."""
    if headers.gpc and sender.consent != "granted":
        return Reason.CONSENT_WITHHELD
    if sender.automation != "count" and bots.is_bot(headers.user_agent):
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
    session = _session(keyring, site, user, user_id, lead.key[1])
    verified = False
    if user.hash is not None:
        verified = user_hash_fits(site.identity_secrets, user_id, user.hash)
        if not verified:
            raise problem(403, Reason.USER_HASH_INVALID, "user.hash")
    elif user.jwt is not None:
        verified = jwt_user_id(site.identity_secrets, user.jwt, now_ms) == user_id
        if not verified:
            raise problem(403, Reason.USER_HASH_INVALID, "user.jwt")
    elif session is not None:
        if session[1] <= now_ms:
            raise problem(401, Reason.SESSION_EXPIRED, "user.session")
        verified = session[0]
    if not verified and site.verification == "required":
        raise problem(403, Reason.IDENTITY_UNVERIFIED, "user")
    renewed = session is None or session[0] != verified or session[1] - now_ms < session_duration - SESSION_RENEWAL
    return Verified(
        site,
        lead,
        user_id,
        verified=verified,
        session=_issue(keyring, site, user_id, lead, verified, now_ms + session_duration) if renewed else None,
    )


def _issue(keyring: Keyring, site: Site, user_id: str, lead: NewIdentity, verified: bool, expires: int) -> tuple[str, int]:
    return keyring.sign(f"session:{site.key}", [user_id, lead.key[1], int(verified), expires]), expires


def _session(keyring: Keyring, site: Site, user: wire.User, user_id: str, lead_id: str) -> tuple[bool, int] | None:
    """Return (verified, end in ms) of a session that is this user's in this browser, else None."""
    payload: Any = keyring.unsign(f"session:{site.key}", user.session) if user.session else None
    if not isinstance(payload, list) or len(payload) != 4 or payload[:2] != [user_id, lead_id]:
        return None
    return bool(payload[2]), int(payload[3])
