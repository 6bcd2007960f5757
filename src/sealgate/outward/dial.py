"""Opening one verified connection in time: name, address race (RFC 8305), TCP, TLS.

The steps are taken one by one because each has its own failure class, and because uvloop, unlike asyncio, has no
address race in ``create_connection``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import aiohappyeyeballs

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.head import Origin

AddressInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
"""One place to connect to, as ``getaddrinfo`` gives it."""
LookUp: TypeAlias = Callable[[Origin], Awaitable[Sequence[AddressInfo]]]
"""Where an origin is. Connections are made to these addresses and to no others, so it may also be a guard."""

_RACE_DELAY = 0.25
"""Seconds before the next address is tried beside the first one (RFC 8305 section 5)."""

_UNHEARD_SECONDS = 10
"""What was sent and is not acknowledged for so long went to nobody: no need to wait for the limits on silence."""

_TCP_OPTIONS = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_TCP_OPTIONS["TCP_USER_TIMEOUT"] = _UNHEARD_SECONDS * 1000
_OPTIONS = [(getattr(socket, name), value) for name, value in _TCP_OPTIONS.items() if hasattr(socket, name)]


def verifying_context(given: ssl.SSLContext | None) -> ssl.SSLContext:
    """The context to use: the system's trust, or the given one, which must verify chain and name."""
    if given is None:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context
    if given.verify_mode is not ssl.CERT_REQUIRED or not given.check_hostname:
        raise ValueError("an upstream's certificate and name are always verified")
    return given


async def look_up(origin: Origin) -> Sequence[AddressInfo]:
    """What the system says of a name that the operator wrote."""
    return await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


async def dial(
    origin: Origin,
    factory: Callable[[], asyncio.Protocol],
    context: ssl.SSLContext,
    seconds: float,
    look_up: LookUp = look_up,
) -> None:
    """Connect, shake hands and hand the transport to the protocol, all within ``seconds``.

    Raises `UpstreamError` with UNREACHABLE, CONNECT_TIMEOUT, TLS, or POOL where this process has no descriptor left
    (row I8). When cancelled, nothing stays open.
    """
    try:
        async with asyncio.timeout(seconds):
            sock = await _connect(origin, look_up)
            await _hand_over(sock, origin, factory, context)
    except TimeoutError as error:
        raise UpstreamError(Failure.CONNECT_TIMEOUT, f"no connection within {seconds:g} s") from error


async def _connect(origin: Origin, look_up: LookUp) -> socket.socket:
    try:
        addresses = await look_up(origin)
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_RACE_DELAY)
    except TimeoutError:
        raise
    except (OSError, RuntimeError, UnicodeError) as error:
        if _out_of_files():
            raise UpstreamError(Failure.POOL, "no file descriptor is free") from error
        raise UpstreamError(Failure.UNREACHABLE, _sentence(error)) from error
    _tune(sock)
    return sock


def _tune(sock: socket.socket) -> None:
    """Notice a provider that has vanished, and keep the ways to one that thinks for minutes open (F4, E4)."""
    with contextlib.suppress(OSError):  # the connection may be broken already; whoever uses it will see
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _hand_over(
    sock: socket.socket, origin: Origin, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext
) -> None:
    loop = asyncio.get_running_loop()
    secure = origin.scheme == "https"
    try:
        await loop.create_connection(
            factory, sock=sock, ssl=context if secure else None, server_hostname=origin.host if secure else None
        )
    except TimeoutError:
        raise
    except OSError as error:
        # An address was already connected: whatever breaks now broke the handshake.
        raise UpstreamError(Failure.TLS if secure else Failure.UNREACHABLE, _sentence(error)) from error


def _out_of_files() -> bool:
    """Whether it is our own fault. Tried, because a failed look-up of a name does not say why."""
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _sentence(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    return getattr(error, "strerror", None) or type(error).__name__
