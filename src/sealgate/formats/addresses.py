"""Network addresses and web origins as they are written: by operators, by browsers, and by proxies on the way."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOP = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+|([0-9A-Fa-f:.]+)")
_ORIGIN = re.compile(r"(?!https:.*:443$|http:.*:80$)https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")


def network(text: str) -> Network:
    """An address, or a network in CIDR form. Raises ValueError, whose text says what is wrong with which."""
    return ipaddress.ip_network(text)


def origin(text: str) -> str:
    """An origin exactly as a browser sends it (RFC 6454, 6.2), or ``*``. Raises ValueError for anything else."""
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError(f"{text!r} is not an origin; write it as browsers do, like https://app.example")
    return text


def hop(text: str) -> Address | None:
    """An entry of ``X-Forwarded-For``: an address, with or without a port; None for anything else.

    ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``; an IPv4 address in IPv6's clothes is itself.
    """
    match = _HOP.fullmatch(text)
    if match is None:
        return None
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


def secure_url(text: str) -> str:
    """A URL whose answers can be trusted: https, or http on this machine. Raises ValueError for anything else."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not a URL") from None
    if not (text.isascii() and text.isprintable()) or " " in text or "#" in text or "@" in parts.netloc or not host:
        raise ValueError(f"{text!r} is not a plain URL with a host")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(f"{text!r} must begin with https://; plain http is for this machine only")
    return text
