"""Which addresses a webhook may be sent to. Pure: an address is looked at where a connection is made to it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Literal

from poolhouse.pipeline.config.webhook_options import Webhooks

Kind = Literal["public", "private", "link-local"]
#: IPv6 addresses behind which a gateway has an IPv4 address (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
#: All that is routed publicly in IPv6 (RFC 4291, as IANA has assigned it).
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def kind_of(address: str) -> Kind:
    """What an address is. Loopback, multicast, unspecified and reserved ones count as private.

    Raises:
        ValueError: it is no address.
    """
    ip = ip_address(address.partition("%")[0])
    inner = _inside(ip)
    if inner is not None:
        return kind_of(str(inner))
    if ip.is_link_local:
        return "link-local"
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return "private"
    return "public" if ip.is_global and not ip.is_multicast else "private"


def refusal(address: str, *, host: str, tls: bool, options: Webhooks) -> str | None:
    """Return why a webhook must not be sent to an address; None if it may.

    Args:
        address: what the host's name was resolved to.
        host: the URL's host.
        tls: whether the connection is encrypted.
        options: `[webhooks]`.
    """
    kind = kind_of(address)
    if kind == "public":
        return None if tls else f"{host} is on a public address: use https"
    if options.lists(host, address) or (kind == "private" and options.allow_private is True):
        return None
    return f"{host} is on a {kind} address, which allow_private under [webhooks] does not allow"


def _inside(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(ip, IPv4Address):
        return None
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo is not None else None)
