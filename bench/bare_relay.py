"""The floor: the least that a gateway must do, over the same server and a common client (Uvicorn ASGI, aiohttp).

It hashes the key and looks the hash up, decodes the request, forwards it under the upstream's key, decodes the usage
and passes the answer on. It has no limits, no ledger, no failover and no logs, and it trusts everything it reads.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import msgspec
import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Asked(msgspec.Struct):
    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class Answered(msgspec.Struct):
    """A whole answer or a chunk: only its usage is of interest."""

    usage: Usage | None = None


_ask = msgspec.json.Decoder(Asked).decode
_answer = msgspec.json.Decoder(Answered).decode


class Relay:
    def __init__(self, upstream: str, upstream_key: str, key: str) -> None:
        self._url = upstream + "/chat/completions"
        self._headers = {"Authorization": f"Bearer {upstream_key}", "Content-Type": "application/json"}
        self._keys = {hashlib.sha256(key.encode()).digest(): "bench"}
        self._tokens = 0
        self._client: aiohttp.ClientSession

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._owner(scope) is None:
            await _whole(send, 401, b'{"error":{"message":"unknown key"}}')
        else:
            await self._relay(await _body(receive), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        timeout = aiohttp.ClientTimeout(total=None)
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _owner(self, scope: Message) -> str | None:
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self._keys.get(hashlib.sha256(value[7:]).digest())
        return None

    async def _relay(self, body: bytes, send: Send) -> None:
        asked = _ask(body)
        async with self._client.post(self._url, data=body, headers=self._headers) as answer:
            if not asked.stream or answer.status != 200:
                data = await answer.read()
                self._count(data)
                return await _whole(send, answer.status, data)
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
            )
            async for piece in answer.content.iter_any():
                if b'"usage":{' in piece:
                    self._count_events(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})

    def _count(self, data: bytes) -> None:
        usage = _answer(data).usage
        if usage is not None:
            self._tokens += usage.prompt_tokens + usage.completion_tokens

    def _count_events(self, piece: bytes) -> None:
        for event in piece.split(b"\n\n"):
            if b'"usage":{' in event:
                self._count(event.removeprefix(b"data: "))


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def _whole(send: Send, status: int, data: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    for name in ("--port", "--upstream", "--upstream-key", "--key"):
        reader.add_argument(name, required=True)
    given = reader.parse_args()
    relay = Relay(given.upstream, given.upstream_key, given.key)
    uvicorn.run(relay, port=int(given.port), http="httptools", loop="uvloop", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
