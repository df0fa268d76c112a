"""Who asked, behind proxies: only what our own proxies say is believed."""

from ipaddress import ip_address, ip_network

import pytest

from collector.web.addresses import Addresses

PROXIES = [ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]
OFFICE = [ip_network("203.0.113.0/24"), ip_network("2001:db8:2::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("198.51.100.7", "", "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # whoever comes directly may say what it likes
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first was made up
        ("127.0.0.1", "203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),  # nobody but proxies
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9,", "127.0.0.1"),  # the proxy itself said nothing
        ("::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8:1::5]", "[2001:db8:2::9]:443", "2001:db8:2::9"),
        ("2001:db8:1::5", "203.0.113.9:50123", "203.0.113.9"),
        ("fe80::1%eth0", "203.0.113.9", "fe80::1"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours(peer: str, forwarded_for: str, client: str) -> None:
    assert Addresses(PROXIES, OFFICE).client(peer, lambda: forwarded_for) == ip_address(client)


@pytest.mark.parametrize(
    ("peer", "forwarded_for"), [("127.0.0.1", "unknown"), ("127.0.0.1", "203.0.113.9, nonsense"), ("", ""), ("x" * 99, "")]
)
def test_what_is_no_address_is_nobody(peer: str, forwarded_for: str) -> None:
    assert Addresses(PROXIES, OFFICE).client(peer, lambda: forwarded_for) is None
    assert not Addresses(PROXIES, OFFICE).is_internal(peer, lambda: forwarded_for)


def test_a_very_long_chain_of_proxies_costs_little_and_is_nobody_internal() -> None:
    chain = ", ".join(["203.0.113.9"] + ["10.0.0.1"] * 10_000)
    assert not Addresses(PROXIES, OFFICE).is_internal("127.0.0.1", lambda: chain)


@pytest.mark.parametrize(
    ("client", "internal"), [("203.0.113.9", True), ("2001:db8:2::9", True), ("198.51.100.7", False), ("2001:db8:3::9", False)]
)
def test_internal_is_who_is_in_one_of_the_networks(client: str, internal: bool) -> None:
    assert Addresses(PROXIES, OFFICE).is_internal("127.0.0.1", lambda: client) is internal
    assert Addresses([], OFFICE).is_internal(client, lambda: "") is internal
    assert not Addresses([], OFFICE).is_internal("127.0.0.1", lambda: client)
