"""How many tokens a conversation has: asked of Anthropic where it would answer, else the gateway's estimate."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from sealgate.errors import UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.providers.anthropic import ANTHROPIC
from sealgate.providers.base import Json
from sealgate.relay import usage as usages
from sealgate.relay.ask import Ask
from sealgate.relay.attempt import compose
from sealgate.relay.catalog import Target
from sealgate.relay.plan import Plan
from sealgate.relay.walk import Means

SECONDS = 10.0
MAX_ANSWER = 64 * 1024
_UNTOLD = frozenset({"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"})
"""Fields of a request that its count does not take."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


async def count(means: Means, plan: Plan, ask: Ask) -> int:
    """Input tokens at the route that would be asked first. Where that does not tell, an estimate by length."""
    target = plan.targets[0]
    if target.route.account.kind.host is ANTHROPIC:
        try:
            async with asyncio.timeout(SECONDS):
                return await _asked(means, target, ask)
        except (UpstreamError, TimeoutError, KeyError, ValueError):
            pass  # a guess is better than nothing, and the next answer's usage tells
    return usages.estimate(ask.size, 0).prompt


async def _asked(means: Means, target: Target, ask: Ask) -> int:
    request, _ = compose(target, replace(ask.prompt, stream=False))
    body: Json = {name: value for name, value in _decode(request.body).items() if name not in _UNTOLD}
    client, signer = means.upstreams.way(target.route.account)
    asked = Request("POST", f"{request.url}/count_tokens", request.headers, _encode(body))
    if signer is not None:
        asked = await signer.sign(asked, target.key)
    until = asyncio.get_running_loop().time() + SECONDS
    response = await client.send(asked, Limits(means.timeouts.connect, SECONDS, until))
    try:
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < MAX_ANSWER and (piece := await response.read()):
            pieces.append(piece)
        if response.status != 200:
            raise ValueError(response.status)
        return int(_decode(b"".join(pieces))["input_tokens"])
    finally:
        response.close()
