"""The witness as an ASGI application: one endpoint, ``POST …/add-checkpoint``."""

from __future__ import annotations

import asyncio

from sealgate.api.call import Receive, Scope, Send
from sealgate.receipts.witness import LARGEST, Answer, Witness


class WitnessApplication:
    """Answers logs. One question at a time: each depends on what was signed before."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await _say(await self._answer(scope, receive), send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if not scope["path"].endswith("/add-checkpoint"):
            return Answer(404, "text/plain", b"POST /add-checkpoint\n")
        if scope["method"] != "POST":
            return Answer(405, "text/plain", b"POST /add-checkpoint\n")
        body = await _body(receive)
        if body is None:
            return Answer(413, "text/plain", b"the question is too long\n")
        async with self._turn:
            return await asyncio.to_thread(self._witness.add_checkpoint, body)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._witness.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        body += piece
        if len(body) > LARGEST:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


async def _say(answer: Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type.encode("ascii")),
        (b"content-length", b"%d" % len(answer.body)),
        *([(b"connection", b"close")] if answer.status == 413 else []),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
