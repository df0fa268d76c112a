"""Test links: a message, draft or not, on a real page of its site for whoever opens the link. It counts nowhere.

The link is the page's own address with one more parameter. Its name begins with `utm_`, since such parameters leave the page with every
tracker there is, at the first contact: neither the tracker nor its answers grow for it. It is taken off before anything is stored.
"""

from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

from collector.domain.secrets import Keyring
from collector.domain.sites import Site, clean_origin
from collector.values.clock import HOUR

PARAMETER = "utm_leadlight_test"
LIFE = HOUR
"""How long a link may be opened (ms)."""


LONGEST_PAGE = 1_500
"""With the parameter it has to fit into the 2,048 code points of an address."""


class Trial(msgspec.Struct, frozen=True):
    """What a link shows: a message, filled in for a person, or with examples where `contact` is None; both by their public ids."""

    message: str
    contact: str | None


def is_page(site: Site, page: str) -> bool:
    """Say whether a text is the address of a page of a site.

    Raises:
        ValueError: it is no whole address of a page.
    """
    parts = urlsplit(page)
    return site.admits(clean_origin(f"{parts.scheme}://{parts.netloc}")) and len(page) <= LONGEST_PAGE


def link(keyring: Keyring, site: Site, page: str, trial: Trial, now_ms: int) -> str:
    """Return the address of a page with a trial that is valid for LIFE."""
    token = keyring.sign(f"test:{site.key}", [trial.message, trial.contact, now_ms + LIFE])
    parts = urlsplit(without(page))
    query = "&".join(part for part in (parts.query, f"{PARAMETER}={token}") if part)
    return urlunsplit(parts._replace(query=query))


def find(keyring: Keyring, site: Site, url: str, now_ms: int) -> Trial | None:
    """Return the trial of an address; None where it has none that this site gave out within LIFE."""
    if PARAMETER not in url:
        return None
    try:
        token = dict(parse_qsl(urlsplit(url).query)).get(PARAMETER, "")
    except ValueError:  # no address, or one with too many parameters
        return None
    payload = keyring.unsign(f"test:{site.key}", token)
    if not isinstance(payload, list) or len(payload) != 3 or payload[2] <= now_ms:
        return None
    return Trial(payload[0], payload[1])


def without(url: str) -> str:
    """Return an address without the parameter."""
    if PARAMETER not in url:
        return url
    address, hash_sign, fragment = url.partition("#")
    path, _, query = address.partition("?")
    kept = "&".join(part for part in query.split("&") if part.partition("=")[0] != PARAMETER)
    return (f"{path}?{kept}" if kept else path) + hash_sign + fragment
