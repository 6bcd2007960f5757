"""Where a request comes from: the peer itself, or what a proxy says that the operator trusts (row A21). Pure.

``X-Forwarded-For`` is read from the right: each proxy adds the address it saw, so the first one that is not a trusted
proxy's own is the caller's, and what stands left of it is only what the caller says. ``X-Forwarded-Proto`` is believed
in its last word. From anybody else both are ignored. ``Forwarded`` (RFC 7239) is not read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from sealgate.formats import addresses

Client = tuple[str, int] | None
Seen = tuple[str, bool]
"""An address in its usual form, and whether it is a trusted proxy's."""

FOR, PROTO = b"x-forwarded-for", b"x-forwarded-proto"
HOPS = 32
"""More addresses than this are not looked at."""
KNOWN_ADDRESSES = 1024


class Peers:
    """Whose forwarded headers are believed: ``trusted`` are addresses and networks (CIDR).

    Raises ValueError where one of them is neither.
    """

    __slots__ = ("_networks", "_see")

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._networks = tuple(map(addresses.network, trusted))
        self._see = functools.lru_cache(KNOWN_ADDRESSES)(self._look)

    def trusts(self, client: Client) -> bool:
        """Whether that peer is one of the proxies."""
        seen = self._see(client[0]) if self._networks and client is not None else None
        return seen is not None and seen[1]

    def origin(self, client: Client, scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Client, str]:
        """Caller and scheme of a request that came from ``client``, a trusted proxy.

        None is a caller that the proxy does not name, and 0 an unknown port. What a proxy sends without either header
        is its own request.
        """
        chain: list[bytes] = []
        passed_on = False
        for name, value in headers:
            if name == FOR:
                chain.append(value)
            elif name == PROTO and value:
                passed_on = True
                scheme = "https" if value.rpartition(b",")[2].strip().lower() == b"https" else "http"
        if chain:
            client = self._caller(b",".join(chain))
        elif passed_on:
            client = None
        return client, scheme

    def _caller(self, chain: bytes) -> Client:
        client = None
        for entry in reversed(chain.rsplit(b",", HOPS)[-HOPS:]):
            seen = self._see(entry.decode("latin-1").strip())
            if seen is None:
                return None
            client = (seen[0], 0)
            if not seen[1]:
                break
        return client

    def _look(self, entry: str) -> Seen | None:
        address = addresses.hop(entry)
        if address is None:
            return None
        return str(address), any(address in network for network in self._networks)


NOBODY = Peers()
"""No proxy is trusted: the peer is who connected."""
