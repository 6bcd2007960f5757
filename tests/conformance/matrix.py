"""Every row of the provider table behind one gateway, each with a mock of its provider: what the tests here share.

A `Row` is one kind, or one of its variants, with one model; models that are known to differ have rows of their own.
What it can do is asked of the gateway's catalog, and that is what the tests expect of it: what it has works by itself,
what is emulated works and is told, what it lacks is refused before anybody is asked.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import uvloop
from tests.gateway import CHAT, Reply, Running, Serve, model, provider

from sealgate.config import Model, Provider, Telemetry
from sealgate.providers.base import Kind
from sealgate.providers.capabilities import PARAMETERS
from sealgate.relay.catalog import Route
from sealgate.relay.checked import CHECKABLE
from sealgate.testing import MOCKS, Asked, MockProvider

T = TypeVar("T")
Json = dict[str, Any]

OTHER_MODELS = {
    "anthropic": ("claude-3-5-sonnet-20241022", "claude-opus-4-7", "claude-opus-5-5", "claude-2.1"),
    "bedrock": ("amazon.nova-pro-v1:0", "openai.gpt-oss-120b-1:0", "meta.llama3-1-70b-instruct-v1:0"),
    "bedrock/anthropic": ("anthropic.claude-3-haiku-20240307-v1:0",),
    "google": ("gemini-3-pro-preview", "gemini-2.0-flash"),
    "vertex/anthropic": ("claude-sonnet-5-5",),
}
"""Models beside the usual one of a mock, where names tell models apart."""
NAMES = (*sorted(MOCKS), *(f"{name}={each}" for name, models in OTHER_MODELS.items() for each in models))
"""All rows by name: ``kind``, ``kind/variant``, and ``=model`` behind it for those with another model."""
QUICK = frozenset({"anthropic", "bedrock", "google", "mistral", "vllm", "sagemaker/tgi"})
"""One row of each wire."""
EVERY = pytest.mark.parametrize(
    "row", [pytest.param(name, marks=pytest.mark.long) if "=" in name else name for name in NAMES], indirect=True
)
"""For a test that is in the quick part for every kind and variant: the least that a row must do."""
PATIENCE = 20.0


def split(name: str) -> tuple[str, str | None]:
    """A row's mock, and its model where that is not the usual one."""
    mock, _, upstream = name.partition("=")
    return mock, upstream or None


@dataclass(frozen=True)
class Row:
    """One row behind the gateway."""

    matrix: Matrix
    name: str
    mock: MockProvider
    route: Route

    @property
    def kind(self) -> Kind:
        """The row of the table that holds for it."""
        return self.route.account.kind

    @property
    def native(self) -> frozenset[str]:
        return self.route.capabilities - self.route.emulated

    def can(self, *capabilities: str) -> bool:
        """By itself or emulated without loss."""
        return self.route.capabilities.issuperset(capabilities)

    def serves(self, *capabilities: str) -> bool:
        """As `can`, or in words, where the gateway can check what comes."""
        return CHECKABLE.issuperset(set(capabilities) - self.route.capabilities)

    def ask(self, content: Any = "Hello", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
        """Ask the gateway for this row's model; the answer is read to its end. Nothing is remembered of its health."""
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        body = {"model": self.name, "messages": messages, **fields}
        return self.matrix.post(body, headers)

    @property
    def asked(self) -> Asked:
        """What the provider was asked last."""
        return self.mock.requests[-1]

    @property
    def sent(self) -> str:
        """The body of that as text, to look for words in."""
        return json.dumps(self.asked.body, ensure_ascii=False)


class Matrix:
    """The gateway and all the mocks, in a thread of their own."""

    def __init__(self, gateway: Running, rows: Mapping[str, Row], loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.rows = rows
        self._loop = loop

    def post(self, body: Json, headers: Mapping[str, str] | None = None) -> Reply:
        async def post() -> Reply:
            self.gateway.forget()
            return await self.gateway.post(CHAT, body, headers)

        return self.run(post())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine in the thread's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


def configured(name: str, mock: MockProvider) -> Provider:
    """The gateway's provider for a mock."""
    table: Json = mock.provider_table()
    return provider(table.pop("base_url"), table.pop("kind"), name=name.replace("/", "-"), **table)


@contextmanager
def running(serve: Serve, names: Sequence[str] = NAMES) -> Iterator[Matrix]:
    """The rows of these names, answering."""
    ready: list[Matrix] = []
    told, errors = threading.Event(), list[BaseException]()
    stop: list[asyncio.Event] = []

    async def main() -> None:
        stop.append(asyncio.Event())
        async with AsyncExitStack() as stack:
            mocks = {
                name: await stack.enter_async_context(MockProvider(name))
                for name in {split(name)[0]: None for name in names}
            }
            providers = {name.replace("/", "-"): configured(name, mock) for name, mock in mocks.items()}
            models: dict[str, Model] = {}
            for name in names:
                mock, upstream = split(name)
                models[name] = model(mock.replace("/", "-"), upstream_model=upstream or mocks[mock].model)
            gateway = await stack.enter_async_context(
                serve(providers, models, telemetry=Telemetry(format="json", level="error"))
            )
            matrix = Matrix(gateway, {}, asyncio.get_running_loop())
            routes = {name: gateway.hall.catalog.models[name].routes[0] for name in names}
            matrix.rows = {name: Row(matrix, name, mocks[split(name)[0]], routes[name]) for name in names}
            ready.append(matrix)
            told.set()
            await stop[0].wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            errors.append(error)
        finally:
            told.set()

    thread = threading.Thread(target=run, name="matrix", daemon=True)
    thread.start()
    told.wait()
    try:
        if ready:
            yield ready[0]
    finally:
        if ready and thread.is_alive():
            ready[0]._loop.call_soon_threadsafe(stop[0].set)
        thread.join()
    if errors:
        raise errors[0]


# What the tests say of an answer


def good(reply: Reply) -> Reply:
    """An answer that is one: whole, or a stream that says that it is complete."""
    assert reply.status == 200, reply.body
    assert reply.error is None, reply.error
    assert reply.done or not reply.events
    return reply


def refused(reply: Reply, row: Row, *capabilities: str) -> None:
    """The request was refused for one of these capabilities, naming parameter and model, and nobody was asked."""
    assert reply.status == 400, reply.body
    error = reply.error
    assert error["code"] == "unsupported_parameter"
    assert error["param"] in {PARAMETERS[name] for name in capabilities}
    assert repr(row.name) in error["message"]
    assert repr(error["param"]) in error["message"]


def adjusted(reply: Reply) -> dict[str, set[str]]:
    """What was done to each parameter, by the outermost part of its name."""
    found: dict[str, set[str]] = {}
    for each in reply.tresor.get("adjustments", ()):
        found.setdefault(each["param"].partition("[")[0], set()).add(each["action"])
    return found


def message(reply: Reply) -> Json:
    """The first choice's message, whole or put together from its deltas; calls in order, reason under ``finish``."""
    if not reply.events:
        [choice, *_] = reply.json["choices"]
        return {**choice["message"], "finish": choice["finish_reason"], "logprobs": choice.get("logprobs")}
    found: Json = {"content": None, "finish": None}
    calls: dict[int, Json] = {}
    for choice in (each for chunk in reply.chunks for each in chunk["choices"] if each["index"] == 0):
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for call in value:
                    _join(calls, call)
            elif name == "reasoning_details":
                found[name] = found.get(name, []) + value
            elif name != "role":
                found[name] = (found.get(name) or "") + value
        found["finish"] = choice["finish_reason"] or found["finish"]
    if calls:
        found["tool_calls"] = [calls[index] for index in sorted(calls)]
    return found


def _join(calls: dict[int, Json], call: Json) -> None:
    index = call["index"]
    if index in calls:
        assert "id" not in call, "a call's id and name come once"
        calls[index]["function"]["arguments"] += call["function"]["arguments"]
    else:
        function = {"arguments": "", **call["function"]}
        calls[index] = {"id": call["id"], "type": call["type"], "function": function}


def called(reply: Reply) -> list[tuple[str, Any]]:
    """Name and arguments of each call."""
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message(reply)["tool_calls"]]
