"""Network addresses in, whether an image may be fetched from them out. Nothing is looked up here.

Only addresses of the public internet may be reached. Hosts that the server's settings name may be private or loopback
too, but never link-local: there cloud machines answer with their credentials.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PRIVATE: tuple[Network, ...] = tuple(
    map(
        ip_network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
    )
)
"""What a named host may be: RFC 1918, shared (RFC 6598), loopback and unique local addresses."""
_NOT_PUBLIC_4: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
"""IANA's special-purpose registry, multicast and reserved; Python's own list of it differs between its versions."""
_UNICAST_6 = ip_network("2000::/3")
_NOT_PUBLIC_6: tuple[Network, ...] = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Within global unicast: Teredo and other protocol assignments, documentation, 6to4."""
_NAT64 = ip_network("64:ff9b::/96")
_METADATA = ip_address("168.63.129.16")
"""A public address that inside one cloud is its machines' own host."""


def read(text: str) -> Address:
    """An address as `getaddrinfo` writes it. Raises `ValueError`."""
    return ip_address(text)


def permitted(address: Address, named: bool = False) -> bool:
    """Whether an image may be fetched from here; `named`: its host is one that may be private."""
    return is_public(address) or (named and any(address in network for network in _PRIVATE))


def is_public(address: Address) -> bool:
    """Whether this is a unicast address of the public internet. What embeds an IPv4 address is none, but NAT64, which
    is what it embeds."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFF_FFFF)
    if isinstance(address, IPv4Address):
        return address != _METADATA and not any(address in network for network in _NOT_PUBLIC_4)
    return address.scope_id is None and address in _UNICAST_6 and not any(address in each for each in _NOT_PUBLIC_6)
