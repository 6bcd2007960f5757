"""Where media may be fetched from: plain https URLs of public addresses. Pure; `sealgate.outward.fetch` obeys it.

What counts is the address a connection would be made to, never how the URL spells it. Allowed is what is allocated to
the public internet; everything the registries set apart is not, with what leads there by a detour.

Sources: IANA's registries of special-purpose IPv4 and IPv6 addresses (RFC 6890), RFC 6052 (NAT64), and the list of bad
ports in section 2.9 of the Fetch standard.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote

from sealgate.formats.addresses import Address
from sealgate.outward.head import Target, parse_url

MayBeAsked: TypeAlias = Callable[[Address], bool]


class FetchError(Exception):
    """Something was not fetched. The text is a sentence for the caller, and names neither hosts nor addresses."""


_SET_APART = [
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this host, and this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, but the platform's own on every machine of Azure
        "169.254.0.0/16",  # link-local, where clouds keep credentials
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and the metadata of Oracle's cloud
        "192.0.2.0/24",  # documentation, as are two more
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given out. Mapped, compatible, unique local, link-local and multicast addresses lie outside."""
_SET_APART_OF_UNICAST = [
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in other clothes
        "3fff::/20",  # documentation
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Where a network without IPv4 finds every host that has nothing else: judged by the address inside."""

_NAME = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
"""A host name (RFC 1123, section 2.1; underscores occur), or an IPv4 address in whichever spelling."""
_USUAL_PORT = 443
_FIRST_FREE_PORT = 1024
_BAD_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080} | set(range(6665, 6670))
)


def public(address: Address) -> bool:
    """Whether everybody on the internet could reach it as well as we can."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in each for each in _SET_APART)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _UNICAST and not any(address in each for each in _SET_APART_OF_UNICAST)


def plain(url: str) -> Target:
    """An https URL taken apart, its fragment left away. Raises `FetchError` for one that may not be asked.

    Characters beyond ASCII are encoded in paths and queries (RFC 3987, section 3.1); host names are written in ASCII.
    """
    try:
        if not url.isprintable():
            raise ValueError("control characters")
        text = _encoded(url)
        target = parse_url(text)
        bracketed = text.partition("//")[2].startswith("[")
        if bracketed != (":" in target.origin.host) or not (bracketed or _NAME.fullmatch(target.origin.host)):
            raise ValueError("neither a name nor an address")
    except ValueError:
        raise FetchError("It is not a plain https URL whose host name is in ASCII.") from None
    origin = target.origin
    if origin.scheme != "https":
        raise FetchError("It is not an https URL.")
    if origin.port != _USUAL_PORT and (origin.port < _FIRST_FREE_PORT or origin.port in _BAD_PORTS):
        raise FetchError("Its port may not be asked: that is 443, or most of those from 1024 up.")
    return target


def written(target: Target) -> str:
    """The URL of a target."""
    return f"{target.origin.scheme}://{target.authority}{target.path}"


def _encoded(url: str) -> str:
    return quote(url.partition("#")[0], safe="".join(map(chr, range(0x21, 0x7F))))
