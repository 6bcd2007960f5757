"""What Anthropic has answered, through ``/v1/messages``: untouched but for the message's id and the model's name.

Bytes are compared as JSON is written without white space. What else differs is written in ``docs/guides/messages.md``:
pings are not passed on (the gateway has keep-alives of its own), and an error is told in the gateway's words.
The recordings lie beside the project (see `recorded`); where they are not, these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.gateway import Reply, Serve, model, provider
from tests.replay import recorded
from tests.replay.recorded import Json

from sealgate.providers.anthropic_native import OF_ANSWERS
from sealgate.testing import ScriptedUpstream
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, Step, head, whole

FOLDER = recorded.CORPUS / "anthropic"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="there are no recordings of Anthropic beside the project")

PATH = "/v1/messages"
OURS = {"id", "type", "role", "model"}
ASKED = {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def cases() -> dict[str, Json]:
    """The recorded answers by name."""
    found = [_decode(file.read_bytes()) for file in sorted(FOLDER.glob("*.json"))] if FOLDER.exists() else []
    return {case["id"]: case for case in found if case["response"]["status"] == 200}


def streamed(case: Json) -> bool:
    return "text/event-stream" in case["response"]["headers"]["content-type"]


def request(case: Json) -> Json:
    """What its caller would have sent here."""
    body = case["request"].get("body") or {**ASKED, "stream": streamed(case)}
    return {**body, "model": case["id"]}


def playing(found: dict[str, Json], size: int) -> Any:
    """An upstream that answers by the first part of the path, in pieces."""

    def handler(received: Received) -> Iterator[Step] | list[Step]:
        case = found[received.path.split("/")[1]]
        body = case["response"]["body"].encode()
        return pieces(body) if streamed(case) else whole(body, "application/json")

    def pieces(body: bytes) -> Iterator[Step]:
        yield head(200, {"content-type": "text/event-stream; charset=utf-8"})
        for start in range(0, len(body), size):
            yield Chunk(body[start : start + size])
        yield LAST_CHUNK

    return handler


async def answers(serve: Serve, size: int) -> dict[str, Reply]:
    """Every recorded answer as a caller of the door gets it."""
    found = cases()
    async with ScriptedUpstream(handler=playing(found, size)) as upstream:
        providers = {name: provider(f"{upstream.origin}/{name}/v1", "anthropic") for name in found}
        models = {name: model(name, upstream_model="claude-sonnet-4-5") for name in found}
        async with serve(providers, models, telemetry=recorded.QUIET) as gateway:
            return {name: await gateway.post(PATH, request(case)) for name, case in found.items()}


def events_of(case: Json) -> Iterator[Json]:
    for line in case["response"]["body"].splitlines():
        if line.startswith("data:") and not line.startswith("data: [DONE]"):
            document = _decode(line[5:])
            if document["type"] != "ping":
                yield document


@pytest.mark.anyio
@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", [4096, pytest.param(7, marks=pytest.mark.long)])
async def test_what_anthropic_has_streamed_comes_out_as_it_came(serve: Serve, size: int) -> None:
    found, replies = cases(), await answers(serve, size)
    seen = 0
    for name, case in found.items():
        if not streamed(case):
            continue
        seen += 1
        reply = replies[name]
        assert reply.status == 200, (name, reply.body)
        got = [_decode(event.data) for event in reply.events]
        wanted = list(events_of(case))
        if wanted[-1]["type"] == "error":
            assert got.pop()["type"] == "error"
            wanted.pop()
        if got:
            wanted[0]["message"] |= {"id": got[0]["message"]["id"], "model": name}
        lines = [line for line in reply.body.split(b"\n") if line.startswith(b"data: ")][: len(wanted)]
        assert lines == [b"data: " + _encode(document) for document in wanted], name
        assert [event.name for event in reply.events][: len(wanted)] == [document["type"] for document in wanted]
        assert len(got) == len(wanted), name
    assert seen > 5


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_what_anthropic_has_answered_whole_comes_out_as_it_came(serve: Serve) -> None:
    found, replies = cases(), await answers(serve, 4096)
    seen = 0
    for name, case in found.items():
        if streamed(case):
            continue
        seen += 1
        given, got = _decode(case["response"]["body"]), replies[name].json
        assert replies[name].status == 200, (name, replies[name].body)
        assert given.keys() - OURS <= set(OF_ANSWERS), name
        assert _encode({key: got[key] for key in given if key not in OURS}) == _encode(
            {key: value for key, value in given.items() if key not in OURS}
        ), name
        assert (got["type"], got["role"], got["model"]) == ("message", "assistant", name)
    assert seen > 5
