"""The provider table: what each row says of itself, and that its keys stay where they belong."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway import CHAT, Serve, provider

from sealgate.config import is_loopback
from sealgate.providers.capabilities import ALL, HINTS
from sealgate.providers.openai import OpenAIWire
from sealgate.providers.params import adjust
from sealgate.providers.table import KINDS
from sealgate.testing import ScriptedUpstream, error, redirect

OVER_HTTP = sorted(name for name, kind in KINDS.items() if type(kind.wire) is OpenAIWire and name != "sandbox")
"""The kinds that are held against an upstream here: those that speak OpenAI's wire."""
PROMISED = {
    "openai", "azure", "together", "deepseek", "fireworks", "mistral", "hyperbolic", "xai", "groq", "openrouter",
    "vllm", "vllm-legacy", "sglang", "tgi", "llamacpp", "ollama", "lmstudio", "compatible", "sandbox", "anthropic",
}  # fmt: skip


# What the rows say


def test_the_kinds_that_are_promised_are_there() -> None:
    assert KINDS.keys() >= PROMISED
    assert all(name == kind.name for name, kind in KINDS.items())


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_row_says_where_its_facts_come_from_and_where_it_lives(kind: Any) -> None:
    assert kind.title
    assert kind.source
    assert {"stop", "max_tokens"} <= kind.capabilities <= kind.abilities <= ALL
    assert kind.hints is None or kind.hints <= HINTS
    assert not kind.base_url or not kind.base_url.endswith("/")
    if kind.base_url and kind.name != "sandbox":
        where = urlsplit(kind.base_url)
        local = is_loopback(where.hostname or "")
        assert where.scheme == ("http" if local else "https"), "a key never travels in the open"
        assert not (local and kind.key_variables)
        if kind.port is not None:
            assert where.port == kind.port
            assert not kind.media_by_url, "a server of one's own must not fetch what callers name"


SIGNED_ELSEWHERE = {
    "role": "assistant", "content": "Hi", "reasoning_content": "hm",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1"}],
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["openai", "azure", "groq", "deepseek", "together", "fireworks", "hyperbolic", "xai", "mistral"]
)
def test_what_other_providers_have_signed_is_left_out_and_told_of(name: str) -> None:
    call = {"id": "c12345678", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {**SIGNED_ELSEWHERE, "tool_calls": [{**call, "extra_content": {"google": {"thought_signature": "s"}}}]}

    fields, said = adjust(KINDS[name], {"messages": [SIGNED_ELSEWHERE, called]})

    for message in fields["messages"]:
        assert "reasoning_details" not in message
        assert all("extra_content" not in each for each in message.get("tool_calls", ()))
    assert "messages[].reasoning_details" in {each.param for each in said if each.action == "dropped"}
    assert called["tool_calls"][0]["extra_content"], "the caller's own stays as it was"


def test_a_key_in_the_environment_belongs_to_one_kind() -> None:
    variables = [variable for kind in KINDS.values() for variable in kind.key_variables]
    assert len(variables) == len(set(variables))
    assert all(re.fullmatch(r"[A-Z]+_API_KEY", variable) for variable in variables)


def test_kinds_with_a_usual_port_have_one_each() -> None:
    ports = [kind.port for kind in KINDS.values() if kind.port is not None]
    assert len(ports) == len(set(ports))


# Each row, against a real upstream: what it says, does and refuses is in `tests/conformance`


def where(upstream: ScriptedUpstream, kind: str) -> str:
    """The base URL of that kind at this upstream."""
    return upstream.origin if kind == "azure" else upstream.base_url


@pytest.mark.anyio
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_an_upstream_without_a_key_gets_no_credential(serve: Serve, kind: str) -> None:
    async with ScriptedUpstream() as upstream:
        row = provider(where(upstream, kind), kind=kind, api_key=())
        async with serve({"acme": row}) as gateway:
            assert (await gateway.chat()).status == 200
    [received] = upstream.requests
    assert not {"authorization", "api-key", "x-api-key"} & received.headers.keys()


# P18: a provider's key goes to its own origin only


@pytest.mark.anyio
async def test_p18_a_providers_key_never_leaves_for_anywhere_else(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Not by a redirect, a failover, an error, a log line, or any answer of the gateway."""
    first_key, second_key = "canary-one-7Zp", "canary-two-9Qx"
    async with ScriptedUpstream() as second, ScriptedUpstream() as elsewhere:
        location = f"{elsewhere.base_url}/chat/completions"
        faults = [error(401, message=f"Incorrect API key provided: {first_key}"), error(400, message=first_key)]
        faults += [redirect(location, status) for status in (301, 302, 307, 308)]
        async with ScriptedUpstream() as first:
            first.enqueue(*faults * 2)
            providers = {"one": provider(first, api_key=first_key), "two": provider(second, api_key=second_key)}
            async with serve(providers) as gateway:
                said = []
                for stream in (True, False) * len(faults):
                    said.append((await gateway.chat(stream=stream)).body)
                    gateway.forget()
                paths = (
                    "/v1/models?detail=true",
                    "/v1/models/m",
                    "/health",
                    "/health/ready",
                    "/metrics",
                    "/openapi.json",
                )
                said += [(await gateway.get(path)).body for path in paths]
                said += [repr([gateway.hall.settings, gateway.hall.catalog, gateway.hall.means.upstreams]).encode()]
                said += [repr(await gateway.rows(len(faults) * 2)).encode()]
    captured = capfdbinary.readouterr()
    for canary in (first_key.encode(), second_key.encode()):
        assert not [each for each in [*said, captured.err, captured.out] if canary in each]
    assert len(first.requests) == len(faults) * 2
    assert {each.headers["authorization"] for each in first.requests} == {f"Bearer {first_key}"}
    assert {each.headers["authorization"] for each in second.requests} == {f"Bearer {second_key}"}
    assert not elsewhere.requests, "a redirect is never followed"


@pytest.mark.anyio
async def test_p18_a_caller_cannot_change_where_a_key_goes_or_what_it_is(serve: Serve) -> None:
    """Row C16: such fields are a provider's business, or nobody's; they never steer the gateway's own client."""
    fields = {
        "base_url": "http://127.0.0.1:9/v1",
        "api_base": "x",
        "api_key": "mine",
        "headers": {"a": "b"},
        "timeout": 1,
    }
    extra = {"tensorzero::extra_headers": {"authorization": "Bearer mine", "x-allowed": "yes", "x-other": "no"}}
    async with ScriptedUpstream() as upstream:
        row = provider(upstream, api_key="the-key", extra_headers=("x-allowed", "authorization"))
        async with serve({"acme": row}) as gateway:
            reply = await gateway.post(CHAT, gateway.ask() | fields | extra)
    [received] = upstream.requests
    assert reply.status == 200
    assert received.headers["authorization"] == "Bearer the-key"
    assert received.headers["x-allowed"] == "yes"
    assert "x-other" not in received.headers
    assert {name: received.json.get(name) for name in fields} == fields
