"""Many callers of a gateway that is a process of its own, on raw connections; the upstream plays in the test's process.

::

    async with gateway(tmp_path, behaviour, server="max_in_flight = 40") as found:
        reply = await ask(found, found.key)
        assert reply.status == 200
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.served import Served, new_key, served

from sealgate.testing import (
    LAST_CHUNK,
    Behaviour,
    Received,
    Script,
    ScriptedUpstream,
    Sleep,
    Step,
    WaitFor,
    chunk,
    head,
    sse,
)
from sealgate.testing.script import resolve

CONFIG = """
[server]
{server}
[timeouts]
{timeouts}
drain = 1
[providers.acme]
kind = "openai"
base_url = "{base_url}"
api_key = "upstream-secret"
[models.m]
routes = [{{ provider = "acme", model = "test-model" }}]
"""


def after(event: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """The same, once the event is set."""
    return lambda received: [WaitFor(event), *resolve(behaviour, received)]


def ticking(events: int, seconds: float, text: str = "tick") -> Behaviour:
    """A stream of so many contents, so far apart; 0 is as fast as they are taken."""

    def script(_: Received) -> Script:
        wait: list[Step] = [Sleep(seconds)] if seconds else []
        yield head(200, {"content-type": "text/event-stream"})
        for _number in range(events):
            yield from wait
            yield chunk(sse({"choices": [{"index": 0, "delta": {"content": text}}]}))
        yield chunk(sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        yield chunk(sse("[DONE]"))
        yield LAST_CHUNK

    return script


@dataclass
class Gateway:
    served: Served
    upstream: ScriptedUpstream
    port: int
    key: str
    """Of the customer ``default``."""
    other: str
    """Of the customer ``other``."""

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 where there is none yet."""
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        with urllib.request.urlopen(f"{self.served.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(wanted)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def proc(self, file: str) -> str:
        return Path(f"/proc/{self.served.process.pid}/{file}").read_text()

    @property
    def cpu_seconds(self) -> float:
        fields = self.proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident(self) -> int:
        return int(self.proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.served.folder / "err.txt").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def rows(self, column: str) -> Counter[str | None]:
        """How often each value stands in a column of the ledger."""
        database = sqlite3.connect(f"file:{self.served.folder}/.sealgate/sealgate.db?mode=ro", uri=True)
        try:
            return Counter(value for (value,) in database.execute(f"select {column} from ledger"))
        finally:
            database.close()


@asynccontextmanager
async def gateway(
    folder: Path, behaviour: Behaviour, *, server: str = "", timeouts: str = "", prefix: tuple[str, ...] = ()
) -> AsyncIterator[Gateway]:
    async with ScriptedUpstream(default=behaviour) as upstream:
        config = CONFIG.format(base_url=upstream.base_url, server=server, timeouts=timeouts)
        (folder / "sealgate.toml").write_text(config)
        environ = {"SEALGATE_TELEMETRY__FORMAT": "json"}
        manager = served(folder, prefix=prefix, **environ)
        found = await asyncio.to_thread(manager.__enter__)
        try:
            program = [sys.executable, "-m", "sealgate", "keys", "create", "--customer", "other"]
            other = await asyncio.to_thread(new_key, program, folder, {**os.environ, **environ})
            yield Gateway(found, upstream, int(found.url.rpartition(":")[2]), found.key, other)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def request(key: str, *, stream: bool = False, content: str = "Hello") -> bytes:
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": content}]}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    arrivals: list[float] = field(default_factory=list)
    """Of a stream's chunks, by the loop's clock."""


class Caller:
    """One connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, what: bytes) -> Reply:
        begun = time.monotonic()
        self._writer.write(what)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        status = int(lines[0].split()[1])
        if "content-length" in headers:
            body, arrivals = await self._reader.readexactly(int(headers["content-length"])), []
        else:
            body, arrivals = await self._chunks()
        return Reply(status, headers, body, time.monotonic() - begun, arrivals)

    async def _chunks(self) -> tuple[bytes, list[float]]:
        found, arrivals = [], []
        while size := int(await self._reader.readline(), 16):
            found.append((await self._reader.readexactly(size + 2))[:-2])
            arrivals.append(time.monotonic())
        await self._reader.readexactly(2)
        return b"".join(found), arrivals

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def caller(at: Gateway) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
    found = Caller(reader, writer)
    try:
        yield found
    finally:
        found.close()


async def ask(at: Gateway, key: str, **fields: Any) -> Reply:
    """One request on a connection of its own."""
    async with caller(at) as one:
        return await one.ask(request(key, **fields))


@contextmanager
def deaf_callers(at: Gateway, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have asked for a stream and read nothing."""
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            found.append(sock)
            sock.connect(("127.0.0.1", at.port))
            sock.sendall(request(at.key, stream=True, content="deaf"))
        yield found
    finally:
        for sock in found:
            sock.close()


async def until(true: Any, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


def say(text: str) -> None:
    """For who runs these tests by hand with ``-s``."""
    sys.stdout.write(text + "\n")
