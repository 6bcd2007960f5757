"""Objects of customers, by the endpoints that name them: what tests of the whole table of routes ask about.

A new kind of object is one maker here, and everything that is asked of every object is asked of it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.gateway import Running

from sealgate.auth.records import KeyInfo


@dataclass(frozen=True)
class Made:
    """An object, and whether it is still as it was made."""

    id: str
    intact: Callable[[], Awaitable[bool]]


Maker = Callable[[Running, str], Awaitable[Made]]


async def a_key(running: Running, customer: str) -> Made:
    store = running.gateway.keys
    made = await store.create(name="theirs", customer=customer, beyond_limit=True)

    async def stored() -> KeyInfo:
        return next(each for each in await store.list(customer) if each.id == made.id)

    before = await stored()

    async def intact() -> bool:
        return await stored() == before

    return Made(made.id, intact)


async def a_receipt(running: Running, customer: str) -> Made:
    """Of an answer of model ``m``, which the gateway must have."""
    made = await running.gateway.keys.create(name="asking", customer=customer, beyond_limit=True)
    theirs = {"authorization": f"Bearer {made.key}"}
    reply = await running.chat(headers=theirs)
    name = reply.tresor["receipt_id"]
    await running.hall.transparency.tick()

    async def stored() -> bytes:
        return (await running.get(f"/v1/receipts/{name}", theirs)).body

    before = await stored()

    async def intact() -> bool:
        return await stored() == before

    return Made(name, intact)


async def an_episode(running: Running, customer: str) -> Made:
    """With one answer of model ``m``."""
    made = await running.gateway.keys.create(name="telling", customer=customer, beyond_limit=True)
    theirs = {"authorization": f"Bearer {made.key}"}
    name = (await running.chat(headers=theirs)).json["episode_id"]

    async def stored() -> bytes:
        return (await running.get(f"/v1/episodes/{name}", theirs)).body

    before = await stored()

    async def intact() -> bool:
        return await stored() == before

    return Made(name, intact)


async def a_response(running: Running, customer: str) -> Made:
    """Of model ``m``, by a gateway that keeps responses."""
    made = await running.gateway.keys.create(name="keeping", customer=customer, beyond_limit=True)
    theirs = {"authorization": f"Bearer {made.key}"}
    name = (await running.post("/v1/responses", {"model": "m", "input": "Hi", "store": True}, theirs)).json["id"]

    async def stored() -> bytes:
        return (await running.get(f"/v1/responses/{name}", theirs)).body

    before = await stored()

    async def intact() -> bool:
        return await stored() == before

    return Made(name, intact)


MAKERS: dict[str, Maker] = {
    "/auth/keys/": a_key, "/receipts/": a_receipt, "/episodes/": an_episode, "/responses/": a_response,
}  # fmt: skip
"""What stands before the name in a path, to what makes such an object for a customer (its id)."""

BODIES: dict[str, Any] = {}
"""Bodies for the paths that take one: one that would do if the object were the caller's."""

NOBODYS = {
    "/models/": "the catalogue belongs to no customer",
    "/log/tile/": "the log is one for all, and says nothing of anybody",
}
"""Paths with a name of something that is no customer's, and why."""


def kind_of(path: str) -> str:
    """What stands before the name in a route's path, without its mount: the key of `MAKERS`."""
    return path.removeprefix("/api").removeprefix("/v1").partition("{")[0]
