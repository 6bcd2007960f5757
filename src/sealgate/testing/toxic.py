"""A TCP proxy that is bad for the connections through it: what happens to bytes between two honest ends.

::

    async with ScriptedUpstream() as upstream, ToxicProxy(upstream.host, upstream.port) as proxy:
        proxy.down = Toxics(latency=0.2, slice=7)        # towards the client
        client = AsyncOpenAI(base_url=proxy.base_url, api_key="test")
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from sealgate.testing.connection import LINGER_ZERO
from sealgate.testing.script import let_read

_Pipe: TypeAlias = asyncio.Queue[tuple[float, bytes]]
"""Bytes under way, each with the time it is due; empty bytes are the end."""

WINDOW = 64
"""Pieces that may be under way in one direction; more wait in the sender's socket."""


@dataclass(frozen=True, slots=True)
class Toxics:
    """What happens to the bytes of one direction. The defaults do nothing.

    Counted limits (``cut_after``, ``reset_after``, ``hold_after``) are in bytes from the connection's start.
    """

    latency: float = 0.0
    """Seconds each byte is under way."""
    slice: int | None = None
    """Pass on at most so many bytes in one write."""
    bandwidth: float | None = None
    """Bytes per second."""
    cut_after: int | None = None
    """After so many bytes end both connections in order (FIN)."""
    reset_after: int | None = None
    """After so many bytes break both connections (RST)."""
    hold_after: int | None = None
    """After so many bytes pass nothing on, not even the end: each side believes the other is still there."""

    def limit(self) -> tuple[int, Literal["cut", "reset", "hold"]] | None:
        """Which of the counted limits comes first."""
        limits: list[tuple[int, Literal["cut", "reset", "hold"]]] = []
        if self.cut_after is not None:
            limits.append((self.cut_after, "cut"))
        if self.reset_after is not None:
            limits.append((self.reset_after, "reset"))
        if self.hold_after is not None:
            limits.append((self.hold_after, "hold"))
        return min(limits, default=None)

    def slices(self, data: bytes) -> Iterator[bytes]:
        """The writes in which ``data`` is passed on: at most 1/20 s of the bandwidth in one."""
        size = self.slice or len(data)
        if self.bandwidth is not None:
            size = min(size, max(1, int(self.bandwidth / 20)))
        return (data[start : start + size] for start in range(0, len(data), size))


class ToxicProxy:
    """Listens on 127.0.0.1 and passes on to ``host:port``, through `up` (to the server) and `down` (to the client).

    Both may be changed at any time; what is already under way keeps its delay. An end in order, in either direction,
    is passed on as one, and so is a reset.
    """

    def __init__(self, host: str, port: int, *, up: Toxics | None = None, down: Toxics | None = None) -> None:
        self.target = (host, port)
        self.up = up or Toxics()
        self.down = down or Toxics()
        self.host, self.port = "127.0.0.1", 0
        self.accepted = 0
        """Connections accepted so far."""
        self._links: set[_Link] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        links = list(self._links)
        for link in links:
            link.end("drop")
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    @property
    def base_url(self) -> str:
        """The way to an OpenAI-wire server through this proxy."""
        return f"http://{self.host}:{self.port}/v1"

    def reset_all(self) -> None:
        """Break every connection there is now."""
        for link in list(self._links):
            link.end("rst")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._links.discard(link))


class _LimitReached(Exception):  # noqa: N818 - nothing went wrong
    """A counted limit has ended the connection."""


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: ToxicProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = [writer]
        self.task = asyncio.create_task(self._run(reader, writer))

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._proxy.target)
            self._writers.append(server_writer)
            async with asyncio.TaskGroup() as group:
                for way, source, sink in (("up", reader, server_writer), ("down", server_reader, writer)):
                    # Reading and writing are tasks apart, so that latency delays the bytes without slowing them.
                    pipe: _Pipe = asyncio.Queue(WINDOW)
                    group.create_task(self._read(way, source, pipe))
                    group.create_task(self._write(way, pipe, sink))
        except* _LimitReached:
            pass
        except* OSError:
            self.end("rst")
        finally:
            self.end("fin")

    def end(self, how: Literal["fin", "rst", "drop"]) -> None:
        """End both connections: in order after what was written, by a reset, or at once."""
        for writer in self._writers:
            if how == "rst" and not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            if how != "fin":
                writer.transport.abort()
            writer.close()

    async def _read(self, way: str, source: asyncio.StreamReader, pipe: _Pipe) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(65536):
            await pipe.put((loop.time() + self._toxics(way).latency, data))
        await pipe.put((loop.time() + self._toxics(way).latency, b""))

    async def _write(self, way: str, pipe: _Pipe, sink: asyncio.StreamWriter) -> None:
        loop, passed = asyncio.get_running_loop(), 0
        while True:
            due, data = await pipe.get()
            await asyncio.sleep(due - loop.time())
            for piece in self._toxics(way).slices(data) if data else (b"",):
                await self._stop_at_limit(way, passed, piece, sink)
                if not piece:
                    if not sink.is_closing():
                        sink.write_eof()
                    return
                passed += len(piece)
                await self._pass_on(way, piece, sink)

    async def _pass_on(self, way: str, piece: bytes, sink: asyncio.StreamWriter) -> None:
        toxics = self._toxics(way)
        sink.write(piece)
        await sink.drain()
        if toxics.bandwidth is not None:
            await asyncio.sleep(len(piece) / toxics.bandwidth)
        elif toxics.slice is not None:
            await let_read()

    async def _stop_at_limit(self, way: str, passed: int, piece: bytes, sink: asyncio.StreamWriter) -> None:
        """Where the counted limit lies in this piece: pass on what comes before it, do its work, never return."""
        limit = self._toxics(way).limit()
        if limit is None or passed + len(piece) < limit[0]:
            return
        sink.write(piece[: max(0, limit[0] - passed)])
        await sink.drain()
        if limit[1] == "hold":
            await asyncio.get_running_loop().create_future()
        self.end("rst" if limit[1] == "reset" else "fin")
        raise _LimitReached

    def _toxics(self, way: str) -> Toxics:
        return self._proxy.up if way == "up" else self._proxy.down
