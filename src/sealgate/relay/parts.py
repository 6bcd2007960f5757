"""Requests for embeddings that a provider does not take in one call: in several, and still one attempt.

The calls are made a few at a time; their vectors come together in the order of the inputs. The first call that fails
ends the others: nothing of the answer has gone out yet, so that the next route is asked for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from sealgate.outward.client import Limits
from sealgate.providers.base import Adjustment, Batched, Json, Prompt
from sealgate.providers.whole import HEAVY
from sealgate.relay.attempt import NO_EVIDENCE, Attempt
from sealgate.relay.catalog import Target
from sealgate.relay.embeddings import in_order, vectors_wanted
from sealgate.relay.upstreams import Upstreams

AT_ONCE = 8
"""Calls of one request that are under way at the same time."""


def attempt(
    upstreams: Upstreams, target: Target, prompt: Prompt, background: set[asyncio.Task[None]]
) -> Attempt | PartedAttempt:
    """One try at one target, in as many calls as it takes."""
    if prompt.operation != "embeddings" or len(prompts := of(target, prompt)) == 1:
        return Attempt(upstreams, target, prompt, background)
    return PartedAttempt(upstreams, target, prompts, background)


def of(target: Target, prompt: Prompt) -> Sequence[Prompt]:
    """The request as it goes to a target: whole, or in parts."""
    if prompt.operation != "embeddings":
        return (prompt,)
    route = target.route
    wire = route.account.kind.wires[prompt.operation]
    if not isinstance(wire, Batched):
        return (prompt,)
    return [replace(prompt, fields=fields) for fields in wire.parts(prompt.fields, route.upstream_model)]


class PartedAttempt:
    """As `Attempt`, for one request in several calls, whose heads may differ: of none of them is any evidence told."""

    marked = True
    evidence = NO_EVIDENCE

    def __init__(
        self, upstreams: Upstreams, target: Target, prompts: Sequence[Prompt], background: set[asyncio.Task[None]]
    ) -> None:
        self.over = False
        self.status: int | None = None
        self.adjustments: Sequence[Adjustment] = ()
        self.sent = b""
        """The bodies that were sent, in order, with a line feed between each two."""
        self.size = 0
        """Bytes of the bodies of all answers."""
        self._upstreams = upstreams
        self._target = target
        self._prompts = prompts
        self._background = background
        self._sent = [b""] * len(prompts)
        self._found: list[Json] = [{}] * len(prompts)
        self._events: Iterable[Json] = ()

    @property
    def heavy(self) -> bool:
        """As `Attempt` has it: each of many calls may bring little, and the answer is made of them all."""
        return self.size > HEAVY

    async def open(self, limits: Limits) -> None:
        """Make all calls. Raises `UpstreamError`, of the first one that failed."""
        waiting = iter(enumerate(self._prompts))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(self._prompts))):
                    group.create_task(self._work(waiting, limits))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self.sent = b"\n".join(self._sent)
        self._events = (_joined(self._prompts, self._found),)

    async def read(self) -> Iterable[Json]:
        self.over = True
        return self._events

    def set_silence(self, seconds: float) -> None:
        """Nothing comes from the upstream any more."""

    def close(self) -> None:
        """Each call was closed when it ended."""

    async def _work(self, waiting: Iterator[tuple[int, Prompt]], limits: Limits) -> None:
        for place, prompt in waiting:
            self._found[place] = await self._call(place, prompt, limits)

    async def _call(self, place: int, prompt: Prompt, limits: Limits) -> Json:
        """One part's answer."""
        call = Attempt(self._upstreams, self._target, prompt, self._background)
        found: Json = {}
        try:
            await call.open(limits)
            self._sent[place], self.adjustments = call.sent, call.adjustments
            while not call.over:
                found = next(iter(await call.read()), found)
            self.size += call.size
        finally:
            self.status = call.status
            call.close()
        return found


def _joined(prompts: Sequence[Prompt], answers: Sequence[Json]) -> Json:
    """One answer of all. Raises `UpstreamError` where one has not a vector for each of its inputs."""
    vectors: list[Any] = []
    counts: list[Any] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        vectors += in_order(answer.get("data"), vectors_wanted(prompt.fields["input"]))
        usage = answer.get("usage")
        counts.append(usage.get("prompt_tokens") if isinstance(usage, dict) else None)
    found: Json = {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}
    if all(type(count) is int for count in counts):
        found["usage"] = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return found | {"model": next((each["model"] for each in answers if "model" in each), None)}
