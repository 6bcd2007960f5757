"""A walk without the house around it: for tests on a clock that jumps, which sees no other threads."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.gateway import Upstream, model, provider

from sealgate.auth.caller import ANONYMOUS
from sealgate.config import Provider, Secret, Settings, Timeouts
from sealgate.errors import Problem
from sealgate.limits.ledger import Entry
from sealgate.relay import plan as plans
from sealgate.relay.budget import RetryBudget
from sealgate.relay.catalog import build
from sealgate.relay.exchange import AnswerMaker
from sealgate.relay.health import Health
from sealgate.relay.pace import Paces
from sealgate.relay.request import read_chat
from sealgate.relay.upstreams import Upstreams
from sealgate.relay.walk import Means, Walk
from sealgate.testing import ScriptedUpstream


@dataclass
class Walked:
    """What came of a walk, and when: seconds of the loop since its start."""

    walk: Walk
    upstreams: dict[str, ScriptedUpstream]
    payloads: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    problem: Problem | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        found = [choice for each in self.payloads for choice in each["choices"]]
        return "".join((choice.get("delta") or choice.get("message"))["content"] for choice in found
                       if (choice.get("delta") or choice.get("message", {})).get("content"))  # fmt: skip

    @property
    def code(self) -> str | None:
        return self.problem.code.name if self.problem else None

    @property
    def outcomes(self) -> list[str]:
        return [outcome.render()["outcome"] for outcome in self.walk.outcomes]

    @property
    def route(self) -> str | None:
        return self.walk.route.id if self.walk.route else None


async def walk(
    providers: Mapping[str, Upstream],
    *,
    timeouts: Timeouts | None = None,
    seconds: float = math.inf,
    keys: int = 1,
    **fields: Any,
) -> Walked:
    """Walk over one route at each of these providers, in order, to the end.

    ``fields`` are those of the request, ``seconds`` is what a whole answer may take, ``keys`` how many a provider has.
    """
    async with AsyncExitStack() as stack:
        made: dict[str, ScriptedUpstream] = {}
        found: dict[str, Provider] = {}
        for name, upstream in providers.items():
            if not isinstance(upstream, Provider):
                if not isinstance(upstream, str):
                    upstream = made[name] = await stack.enter_async_context(ScriptedUpstream(default=upstream))
                upstream = provider(upstream, api_key=tuple(Secret(f"key-number-{number}") for number in range(keys)))
            found[name] = upstream
        upstreams = Upstreams(found)
        stack.push_async_callback(upstreams.aclose)
        settings = Settings(providers=found, models={"m": model(*found)}, timeouts=timeouts or Timeouts())
        until = asyncio.get_running_loop().time() + seconds
        walked = Walked(_walk(settings, upstreams, until, fields), made)
        await _follow(walked)
        return walked


def _walk(
    settings: Settings, upstreams: Upstreams, until: float, fields: dict[str, Any], seen: plans.Seen | None = None
) -> Walk:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    ask = read_chat(json.dumps(body).encode())
    means = Means(upstreams, settings.timeouts, seen or plans.Seen(Health(), Paces()), RetryBudget(), set())
    plan = plans.make(build(settings), ask, ANONYMOUS, means.seen)
    entry = Entry(id="0" * 32, request_id="r", customer_id="c", endpoint="chat.completions", created_at=0)
    answers = AnswerMaker(plan, ask, entry, usage_on_finish=False)
    return Walk(means, plan, ask.prompt, answers, until)


async def _follow(walked: Walked) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    def take(payload: bytes) -> None:
        walked.payloads.append(json.loads(payload))
        walked.times.append(loop.time() - started)

    try:
        await walked.walk.run(take)
    except Problem as problem:
        walked.problem = problem
    walked.seconds = loop.time() - started
