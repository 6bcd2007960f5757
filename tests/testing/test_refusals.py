"""Error statuses and the four shapes of an error inside a stream."""

import msgspec
import pytest

from sealgate.testing import (
    SHAPES,
    RawClient,
    Received,
    ScriptedUpstream,
    Shape,
    error,
    error_first,
    error_mid,
    quota,
    wire,
)
from sealgate.testing.events import Event, EventReader

pytestmark = pytest.mark.anyio


async def post(client: RawClient, *, stream: bool) -> tuple[int, list[Event], bytes]:
    await client.post("/v1/chat/completions", {"model": "m", "stream": stream})
    response = await client.response()
    body = await response.read()
    assert response.complete
    return response.status, EventReader().feed(body, 0.0), body


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
async def test_an_error_has_openais_body_with_a_type_and_a_message(
    upstream: ScriptedUpstream, client: RawClient, status: int
):
    upstream.enqueue(error(status))
    seen, _, body = await post(client, stream=True)
    assert seen == status
    said = msgspec.json.decode(body)["error"]
    assert set(said) == {"message", "type", "param", "code"}
    assert said["message"]
    assert said["type"].endswith("error")


async def test_an_error_says_what_it_is_told_to(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(error(429, "slow_down", "Slower!", {"retry-after": "2"}, kind="tokens", param="n"))
    await client.post("/v1/chat/completions", {})
    response = await client.response()
    await response.read()
    assert response.headers["retry-after"] == "2"
    assert response.json == {"error": {"message": "Slower!", "type": "tokens", "param": "n", "code": "slow_down"}}


def test_quota_is_a_429_that_waiting_does_not_help():
    assert b'"type":"insufficient_quota"' in wire(quota())
    assert b"HTTP/1.1 429 " in wire(quota())


LAST: dict[Shape, str] = {
    "openai": '{"error":{"message":"Boom","type":"server_error","param":null,"code":"x"}}',
    "vllm": '{"object":"error","message":"Boom","type":"InternalServerError","param":null,"code":500}',
    "anthropic": '{"type":"error","error":{"type":"overloaded_error","message":"Boom"}}',
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_error_mid_stream_follows_its_events_in_its_shape(
    upstream: ScriptedUpstream, client: RawClient, shape: Shape
):
    upstream.enqueue(error_mid(shape, 2, "Boom", "x"))
    status, events, _ = await post(client, stream=True)
    assert status == 200
    assert [event.json["object"] for event in events[:2]] == ["chat.completion.chunk"] * 2
    said = events[2]
    assert said.name == ("error" if shape == "anthropic" else "message")
    if shape == "openrouter":
        assert said.json["error"]["message"] == "Boom"
        assert said.json["choices"][0]["finish_reason"] == "error"
    else:
        assert said.data == LAST[shape]
    assert [event.data for event in events[3:]] == (["[DONE]"] if shape == "vllm" else [])


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_error_first_is_the_first_event_or_the_whole_body(
    upstream: ScriptedUpstream, client: RawClient, shape: Shape
):
    upstream.enqueue(error_first(shape), error_first(shape))
    _, events, _ = await post(client, stream=True)
    assert b"overloaded" in events[0].data.lower().encode()
    status, _, body = await post(client, stream=False)
    assert status == 200
    assert msgspec.json.decode(body) == events[0].json
    assert Received.sample().streams
