"""Mocked providers: judged by the providers' own SDKs, and by what they refuse."""

from __future__ import annotations

import datetime
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import botocore.session
import openai
import pytest
from anthropic import AsyncAnthropic
from botocore.config import Config
from botocore.exceptions import ClientError
from openai import AsyncOpenAI
from tests.gateway import Serve

from sealgate.config import load
from sealgate.providers.table import KINDS
from sealgate.testing import MOCKS, Fault, MockProvider, RawClient, Reply, ScriptedUpstream, Usage, answer, sigv4, tool
from sealgate.testing.doors import REGION
from sealgate.testing.reply import REFUSED, STRUCK

WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
CALLS = [tool("get_weather", {"city": "Zürich"}), tool("now", {})]
SPENT = Usage(prompt=30, completion=12, cached=20, written=4, reasoning=5)
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the world's certificates for each client would be most of these tests' time."""


def sdk(mock: MockProvider) -> AsyncOpenAI:
    """OpenAI's client, which asks once."""
    http = openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    return AsyncOpenAI(base_url=mock.base_url, api_key=mock.api_key, max_retries=0, http_client=http)


def claude(mock: MockProvider, **credential: str) -> AsyncAnthropic:
    """Anthropic's client, which asks once."""
    http = anthropic.DefaultAsyncHttpxClient(verify=NO_TLS)
    return AsyncAnthropic(base_url=mock.origin, max_retries=0, http_client=http, **credential)  # type: ignore[arg-type]


def test_every_kind_and_every_variant_has_a_mock() -> None:
    kinds = {name for name in KINDS if name != "sandbox"}
    variants = {
        f"{name}/{value}": row
        for name, kind in KINDS.items() for rows in kind.variants.values() for value, row in rows.items() if row
    }  # fmt: skip
    alike = {"sagemaker/jumpstart": "sagemaker/tgi"}
    assert all(variants[one].wire is variants[other].wire for one, other in alike.items()), "one mock plays both"
    assert MOCKS.keys() == kinds | variants.keys() - alike.keys() | {"azure/deployment"}


def test_a_kind_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'anthropic'"):
        MockProvider("antropic")
    with pytest.raises(ValueError, match="there is no fault 'slow'"):
        Fault("slow")  # type: ignore[arg-type]


# Anthropic, by its SDK


@pytest.mark.anyio
async def test_anthropics_sdk_reads_a_reply_whole_and_streamed() -> None:
    reply = Reply("Let me look.", reasoning="Hm.", tool_calls=CALLS, usage=SPENT)
    async with (
        MockProvider("anthropic", default=reply) as mock,
        claude(mock, auth_token=mock.api_key) as client,
    ):
        asked: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": HELLO}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for found in (whole, streamed):
        assert [block.type for block in found.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert [block.input for block in found.content if block.type == "tool_use"] == [{"city": "Zürich"}, {}]
        assert found.stop_reason == "tool_use"
        assert (found.usage.input_tokens, found.usage.cache_read_input_tokens) == (6, 20)
        assert (found.usage.cache_creation_input_tokens, found.usage.output_tokens) == (4, 12)
    assert [(each.model, each.stream, each.text) for each in mock.requests] == [
        ("claude-x", False, "Hello"), ("claude-x", True, "Hello"),
    ]  # fmt: skip


@pytest.mark.anyio
async def test_anthropics_sdk_raises_its_own_error_for_each_refusal() -> None:
    raised = {
        "rate_limit": anthropic.RateLimitError, "quota": anthropic.RateLimitError,
        "overload": anthropic.InternalServerError, "server_error": anthropic.InternalServerError,
        "auth": anthropic.AuthenticationError, "not_found": anthropic.NotFoundError,
        "bad_request": anthropic.BadRequestError, "context_length": anthropic.BadRequestError,
    }  # fmt: skip
    async with (
        MockProvider("anthropic", faults=raised) as mock,  # type: ignore[arg-type]
        claude(mock, api_key=mock.api_key) as client,
    ):
        for error in raised.values():
            with pytest.raises(error):
                await client.messages.create(model="m", max_tokens=9, messages=HELLO)
        mock.fail("content_filter", text="Not this.")
        refused = await client.messages.create(model="m", max_tokens=9, messages=HELLO)
        assert refused.stop_reason == "refusal"
        mock.fail("overload", after=4)
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
                await stream.get_final_message()


# OpenAI's family, by OpenAI's SDK

FAMILY = sorted(name for name, mocked in MOCKS.items() if type(mocked.dialect).__name__ == "OpenAIDialect")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [name for name in FAMILY if "/" not in name and name != "azure"])
async def test_openais_sdk_reads_its_family_whole_and_streamed(kind: str) -> None:
    """But for what sets a provider apart: Mistral's content may be a list, xAI's reason for calls an empty text."""
    async with (
        MockProvider(kind, default=Reply(tool_calls=CALLS, usage=SPENT)) as mock,
        sdk(mock) as client,
    ):
        whole = await client.chat.completions.create(model="m", messages=HELLO)
        chunks = [
            each async for each in await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        ]  # fmt: skip
    assert [call.function.name for call in whole.choices[0].message.tool_calls or ()] == ["get_weather", "now"]  # type: ignore[union-attr]
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == 30
    arguments: dict[Any, str] = {}
    for each in chunks:
        for call in (each.choices[0].delta.tool_calls or ()) if each.choices else ():
            place = call.id or call.index
            arguments[place] = arguments.get(place, "") + (call.function.arguments or "" if call.function else "")
    assert arguments


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "groq", "vllm", "xai"])
async def test_openais_sdk_raises_for_refusals_and_for_errors_in_mid_stream(kind: str) -> None:
    async with (
        MockProvider(kind, faults=["rate_limit", "quota", "not_found"]) as mock,
        sdk(mock) as client,
    ):
        for error in (openai.RateLimitError, openai.APIStatusError, openai.NotFoundError):
            with pytest.raises(error):
                await client.chat.completions.create(model="m", messages=HELLO)
        mock.fail("server_error", after=2)
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(model="m", messages=HELLO, stream=True):
                pass


# AWS, by botocore, which signs


@pytest.fixture(scope="module")
def session() -> Any:
    return botocore.session.Session()


def aws(session: Any, service: str, mock: MockProvider, secret: str = sigv4.SECRET_KEY) -> Any:
    """A client of botocore's for a mocked service."""
    return session.create_client(
        service, region_name=REGION, endpoint_url=mock.origin, aws_access_key_id=sigv4.ACCESS_KEY,
        aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


def test_botocore_reads_converse_whole_and_streamed_and_its_signature_holds(session: Any) -> None:
    reply = Reply("Let me look.", reasoning="Hm.", tool_calls=CALLS, usage=SPENT)
    with MockProvider("bedrock", default=reply, signed=True) as mock:
        client = aws(session, "bedrock-runtime", mock)
        asked = {"modelId": mock.model, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
        whole = client.converse(**asked)
        events = list(client.converse_stream(**asked)["stream"])
        mock.fail("rate_limit")
        with pytest.raises(ClientError, match="ThrottlingException"):
            client.converse(**asked)
        mock.fail("overload", after=3)
        broken = client.converse_stream(**asked)["stream"]
        with pytest.raises(ClientError, match="serviceUnavailable"):
            list(broken)
        broken.close()
        client.close()
    blocks = whole["output"]["message"]["content"]
    assert [next(iter(block)) for block in blocks] == ["reasoningContent", "text", "toolUse", "toolUse"]
    assert blocks[3]["toolUse"]["input"] == {}
    assert (whole["stopReason"], whole["usage"]["inputTokens"], whole["usage"]["totalTokens"]) == ("tool_use", 6, 42)
    assert next(iter(events[-1])) == "metadata"
    assert mock.complaints == []
    assert [each.model for each in mock.requests] == [mock.model] * 4


def test_botocore_reads_what_is_carried_in_sagemakers_frames(session: Any) -> None:
    with MockProvider("sagemaker", default=Reply("Hi"), signed=True) as mock:
        client = aws(session, "sagemaker-runtime", mock)
        body = json.dumps({"messages": HELLO, "stream": True})
        found = client.invoke_endpoint_with_response_stream(
            EndpointName="mock", Body=body, ContentType="application/json"
        )
        payload = b"".join(event["PayloadPart"]["Bytes"] for event in found["Body"])
        found["Body"].close()
        client.close()
    assert payload.endswith(b"data: [DONE]\n\n")
    assert b'"content":"Hi"' in payload


def test_a_signature_with_the_wrong_secret_or_for_another_service_is_refused(session: Any) -> None:
    with MockProvider("bedrock", signed=True) as mock:
        client = aws(session, "bedrock-runtime", mock, secret="another-secret")
        with pytest.raises(ClientError, match="UnrecognizedClient"):
            client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "Hello"}]}])
        client.close()
        assert mock.complaints == ["The request signature we calculated does not match the signature you provided."]
        assert mock.requests == []
        other = aws(session, "sagemaker-runtime", mock)
        with pytest.raises(ClientError):
            other.invoke_endpoint(EndpointName="mock", Body=b"{}")
        other.close()
        assert "scoped to correct service" in mock.complaints[1]


# What is refused at the door


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "path", "status"), [
    ("google", "/v1beta/models/gemini-2.5-flash:generateContent", 400), ("openai", "/v1/chat/completions", 401),
    ("bedrock", "/model/m/converse", 403), ("azure", "/openai/v1/chat/completions", 401),
])  # fmt: skip
async def test_a_key_is_wanted_in_its_header_and_nowhere_else(kind: str, path: str, status: int) -> None:
    header = {"google": "x-goog-api-key", "azure": "api-key"}.get(kind, "authorization")
    async with MockProvider(kind) as mock, RawClient("127.0.0.1", mock.upstream.port) as client:
        value = f"Bearer {mock.api_key}" if header == "authorization" else mock.api_key
        found = []
        for target, headers in (
            (path, {}), (path, {header: "wrong"}), (f"{path}?key={mock.api_key}", {header: value}),
            (path, {header: value}),
        ):  # fmt: skip
            await client.post(target, {"messages": HELLO}, headers)
            response = await client.response()
            await response.read()
            found.append(response.status)
    assert found == [status] * 3 + [200]
    assert mock.complaints == [
        "No credential was sent.", "The credential is not valid.", "A credential was sent in the URL.",
    ]  # fmt: skip


@pytest.mark.anyio
async def test_another_address_and_a_body_that_is_none_are_refused() -> None:
    async with MockProvider("anthropic") as mock, RawClient("127.0.0.1", mock.upstream.port) as client:
        found = []
        for path, body, version in (
            ("/v1/chat/completions", {}, "2023-06-01"), ("/v1/messages", [], "2023-06-01"), ("/v1/messages", {}, None),
        ):  # fmt: skip
            headers = {"x-api-key": mock.api_key} | ({"anthropic-version": version} if version else {})
            await client.post(path, body, headers)
            response = await client.response()
            await response.read()
            found.append(response.status)
    assert found == [404, 400, 400]
    assert "anthropic-version" in mock.complaints[-1]
    assert mock.requests == []


# What it is told


@pytest.mark.anyio
async def test_faults_strike_first_then_what_was_told_then_the_default() -> None:
    async with (
        MockProvider("groq", faults=["overload"], default=Reply("As ever.")) as mock,
        sdk(mock) as client,
    ):
        mock.reply("First.")
        mock.enqueue(answer("A script of one's own."))
        said = []
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=HELLO)
        for _ in range(3):
            found = await client.chat.completions.create(model="m", messages=HELLO)
            said.append(found.choices[0].message.content)
        assert [each.id async for each in await client.models.list()] == ["mock-model"]
    assert said == ["First.", "A script of one's own.", "As ever."]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", sorted(MOCKS))
async def test_every_fault_can_be_told_to_every_mock(kind: str) -> None:
    """None of them raises; what comes is what its name says."""
    async with MockProvider(kind, faults=(*REFUSED, "empty", "html", "truncated", "not_json", "gzip", "cut")) as mock:
        statuses = {}
        for name in (*REFUSED, "empty", "html", "truncated", "not_json", "gzip", "cut"):
            statuses[name] = await knock(mock)
    assert mock.complaints == []
    assert {statuses[name] for name in ("empty", "html", "truncated", "not_json", "gzip")} == {200}
    refused = {name: statuses[name] for name in REFUSED if name != "content_filter"}
    assert all(status >= 400 for status in refused.values()), refused


def test_all_faults_are_named_once() -> None:
    assert len({*REFUSED, *STRUCK}) == len(REFUSED) + len(STRUCK)


async def knock(mock: MockProvider) -> int:
    """The status of an answer to a request that the mock takes."""
    address = {
        "azure": "/openai/v1/chat/completions", "anthropic": "/v1/messages",
        "azure/deployment": "/openai/deployments/mock/chat/completions?api-version=2024-10-21",
        "google": "/v1beta/models/m:generateContent", "bedrock": "/model/m/converse",
        "bedrock/anthropic": "/model/m/invoke", "sagemaker": "/endpoints/mock/invocations",
        "sagemaker/tgi": "/endpoints/mock/invocations",
    }  # fmt: skip
    place = "/projects/mock-project/locations/us-central1"
    address |= {
        "vertex": f"/v1{place}/publishers/google/models/m:generateContent",
        "vertex/anthropic": f"/v1{place}/publishers/anthropic/models/m:rawPredict",
        "vertex/openai": f"/v1beta1{place}/endpoints/openapi/chat/completions",
    }
    name = f"{mock.kind}/{mock.variant}" if mock.variant else mock.kind
    header = mock.mocked.door.headers[0]
    value = f"Bearer {mock.api_key}" if header == "authorization" else mock.api_key
    async with RawClient("127.0.0.1", mock.upstream.port) as client:
        await client.post(
            address.get(name, "/v1/chat/completions"),
            {"model": "m", "messages": HELLO, "inputs": "Hello"},
            {header: value, "anthropic-version": "2023-06-01"},
        )
        response = await client.response()
        await response.read()
    return response.status


# Behind a gateway


@pytest.mark.anyio
async def test_its_configuration_is_one_that_the_gateway_takes(serve: Serve, tmp_path: Path) -> None:
    async with MockProvider("vertex/anthropic") as mock:
        (tmp_path / "sealgate.toml").write_text(mock.toml("claude"), encoding="utf-8")
        settings = load(tmp_path / "sealgate.toml", {})
        async with serve(settings.providers, settings.models) as gateway:
            mock.reply("Hello from there.", reasoning="Hm.")
            reply = await gateway.chat("And you?", model="claude", stream=True)
    assert (reply.text, reply.done) == ("Hello from there.", True)
    assert (mock.requests[0].text, mock.requests[0].stream) == ("And you?", True)


@pytest.mark.anyio
async def test_a_gateways_own_signature_holds(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For both services, with a path that holds signs which are written anew for the signature."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for kind in ("bedrock", "sagemaker"):
        async with MockProvider(kind, signed=True) as mock:
            for name, value in mock.environment.items():
                monkeypatch.setenv(name, value)
            path = tmp_path / f"{kind}.toml"
            path.write_text(mock.toml(), encoding="utf-8")
            settings = load(path, {})
            assert settings.providers["mock"].api_key == ()
            async with serve(settings.providers, settings.models) as gateway:
                assert (await gateway.chat(model="mock")).status == 200
                assert (await gateway.chat(model="mock", stream=True)).done
        assert mock.complaints == []
        today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
        scope = f"/{today}/{REGION}/{kind}/aws4_request"
        assert all(scope in each.headers["authorization"] for each in mock.requests)


@pytest.fixture
def plain() -> Iterator[MockProvider]:
    with MockProvider("ollama") as mock:
        yield mock


def test_in_a_thread_it_serves_clients_that_block(plain: MockProvider) -> None:
    plain.reply("Hi there.")
    http = openai.DefaultHttpxClient(verify=NO_TLS)
    with openai.OpenAI(base_url=plain.base_url, api_key=plain.api_key, http_client=http) as client:
        found = client.chat.completions.create(model="llama", messages=HELLO)
    assert found.choices[0].message.content == "Hi there."
    assert plain.requests[0].model == "llama"


def test_it_stands_on_a_scripted_upstream() -> None:
    assert isinstance(MockProvider("xai").upstream, ScriptedUpstream)
