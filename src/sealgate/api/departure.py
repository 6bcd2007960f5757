"""Noticing that a caller leaves, under a server that does not say so by itself.

`sealgate.api.edge` cancels a request whose caller is gone. Other ASGI servers only answer ``receive`` with a
disconnect, so here somebody waits for that once the body has been read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sealgate.api.call import CONNECTION, Message, Receive, Scope


@dataclass(slots=True)
class Departure:
    """What is known of the connection, in the form in which the edge says it."""

    lost: bool = False
    lost_how: str = "client_disconnected"
    shutting_down: bool = False


def watched(scope: Scope, receive: Receive) -> Receive:
    """The same ``receive``; after the end of the body, a disconnect cancels the task that reads it."""
    departure = Departure()
    scope["extensions"] = {**(scope.get("extensions") or {}), CONNECTION: departure}
    waiting: list[asyncio.Task[None]] = []

    async def wait(reader: asyncio.Task[object]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        departure.lost = True
        reader.cancel()

    async def receive_and_wait() -> Message:
        message = await receive()
        reader = asyncio.current_task()
        if message["type"] == "http.request" and not message.get("more_body") and reader is not None:
            waiting.append(asyncio.create_task(wait(reader)))
            reader.add_done_callback(lambda _: waiting.pop().cancel())
        return message

    return receive_and_wait
