"""Where a request comes from, as far as it can be believed: no address is kept, stored or logged, only what it says of a request.

Behind a proxy the connection's other end is the proxy. Each proxy adds the address it was asked from to the end of `X-Forwarded-For`;
what stands before the first hop that is not one of ours may be made up by whoever sent it.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from collector.settings import Settings, networks

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_HOPS = 20


class Addresses:
    """Knows the proxies in front of the collector, and the networks of the site's own people."""

    def __init__(self, trusted: Sequence[Network], internal: Sequence[Network]) -> None:
        self._trusted = trusted
        self._internal = internal

    @classmethod
    def of(cls, settings: Settings) -> "Addresses":
        """Return those of an installation."""
        return cls(networks("trusted_proxies", settings.trusted_proxies), networks("internal_networks", settings.internal_networks))

    def client(self, peer: str, forwarded_for: Callable[[], str]) -> Address | None:
        """Return who asked: the last hop that is none of our proxies. None where that is not an address.

        `peer` is the other end of the connection, `forwarded_for` gives all that stands in `X-Forwarded-For`.
        """
        address = _parsed(peer)
        if address is None or not _among(address, self._trusted):
            return address
        for hop in reversed(forwarded_for().rsplit(",", _MOST_HOPS)):
            if not hop.strip():
                return address
            address = _parsed(hop.strip())
            if address is None or not _among(address, self._trusted):
                return address
        return address

    def is_internal(self, peer: str, forwarded_for: Callable[[], str]) -> bool:
        """Say whether a request comes from one of the internal networks."""
        address = self.client(peer, forwarded_for) if self._internal else None
        return address is not None and _among(address, self._internal)


def subscriber(address: Address) -> str:
    """Return what one who has an address has of them: of IPv6 all with the same first 64 bits."""
    return str(IPv6Network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _parsed(text: str) -> Address | None:
    """Return an address, with or without a port, brackets or a zone; an IPv4 address in IPv6's clothes as what it is."""
    host = text[1:].partition("]")[0] if text[:1] == "[" else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _among(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
