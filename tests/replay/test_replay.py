"""Recorded answers of real providers, through a whole gateway: the judge finds nothing wrong, however bytes are cut.

The recordings lie beside the project (see `recorded`); where they are not, these tests are skipped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.gateway import CHAT, Running, Serve, provider
from tests.replay import recorded
from tests.replay.recorded import Json, Verdict

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.table import KINDS
from sealgate.relay.answer import Label, StreamedAnswer
from sealgate.testing import ScriptedUpstream, splits
from sealgate.testing.script import LAST_CHUNK, Chunk, head

WHY_NOT = recorded.missing()
pytestmark = [pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""), pytest.mark.timeout(700)]

QUICK = "split=awkward,delay=0"
LONG = ["", "split=events", "split=one", "split=rand", "split=awkward", "split=bytes", "gzip=1", "crlf=1", "ping=1",
        "bom=1", "crlf=1,ping=1,bom=1,split=awkward", "gzip=1,split=bytes"]  # fmt: skip

SMALL = 4000
"""The most bytes of an answer that is sent byte by byte: of ten, eight have no more. Of the others, what reads them is
given each byte by itself (`test_a_recorded_stream_gives_the_same_however_it_is_cut`)."""

TOLD = {
    failure.value
    for failure in (
        Failure.INVALID_REQUEST, Failure.UNPROCESSABLE, Failure.REQUEST_TOO_LARGE, Failure.UNSUPPORTED, Failure.MEDIA,
        Failure.MODEL_GONE, Failure.CONTEXT_LENGTH,
    )
}  # fmt: skip
"""Codes that carry the provider's sentence. Others are about the gateway's own account."""


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    with recorded.upstream() as found:
        yield found


@pytest.mark.anyio
@pytest.mark.parametrize("options", [QUICK, *(pytest.param(each, marks=pytest.mark.long) for each in LONG)])
async def test_a_recorded_answer_reaches_the_caller_unharmed(serve: Serve, replay: str, options: str) -> None:
    recorded.forget_requests(replay)
    verdicts = await recorded.replayed(serve, replay, options, SMALL if "bytes" in options else None)
    log = recorded.request_log(replay)

    assert len(verdicts) > 100
    assert {each.case["case"]: each.bad for each in verdicts if wrong(each)} == {}
    ours = [each for each in verdicts if recorded.of_openai(each.case)]
    noted = {each.case["case"]: [note for note in each.notes if not excused(each, note, log)] for each in ours}
    assert {case: notes for case, notes in noted.items() if notes} == {}
    asked = {case: entry["compare"] for case, entry in log.items() if case in noted}
    assert [case for case, found in asked.items() if not found["path_ok"] or not found.get("stream_ok", True)] == []


def wrong(verdict: Verdict) -> bool:
    """Whether the judge's word stands.

    One answer differs by a rule of ours: media by any address but https is refused at the door, whatever a provider
    would say to it.
    """
    if verdict.code == "media_url_not_allowed":
        return verdict.status != 400
    return bool(verdict.bad)


def excused(verdict: Verdict, note: str, log: dict[str, Json]) -> bool:
    """Whether a smaller thing is the upstream's own, or a rule of ours."""
    if note.startswith("own: "):
        return True
    if note == "upstream message not shown":
        return verdict.code not in TOLD or verdict.case["case"] not in log
    if note == "upstream 400 became 404":
        return verdict.code == "model_not_found"  # by the error's own code
    # Where the sum has more than its parts, what lies beside them is brought inside.
    usage = verdict.case["expect"].get("usage", {})
    return note.startswith("usage prompt_tokens") and "completion_tokens_any_of" in usage


@pytest.mark.anyio
async def test_the_official_sdk_reads_every_recorded_answer(serve: Serve, replay: str) -> None:
    plan = [case for case in recorded.cases(replay) if recorded.of_openai(case)]
    async with (
        serve(*recorded.configured(plan), telemetry=recorded.QUIET) as gateway,
        AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
    ):
        read = await asyncio.gather(*(_read_by_sdk(client, case) for case in plan))
    wanted = [case["expect"].get("text", "") for case in plan]
    found = {
        case["case"]: text for case, text, want in zip(plan, read, wanted, strict=True) if text not in (None, want)
    }
    assert found == {}
    assert sum(text is not None for text in read) > 80


async def _read_by_sdk(client: AsyncOpenAI, case: Json) -> str | None:
    """The text as the SDK puts it together, or None for an error that it raises as it should."""
    request = {name: value for name, value in case["request"].items() if name not in ("messages", "stream")}
    stream = bool(case["request"].get("stream"))
    try:
        found: Any = await client.chat.completions.create(
            model=case["alias"], messages=case["request"]["messages"], stream=stream, extra_body=request
        )
        if not stream:
            assert isinstance(found, ChatCompletion)
            return found.choices[0].message.content or ""
        text = ""
        async for chunk in found:
            assert isinstance(chunk, ChatCompletionChunk)
            text += "".join(each.delta.content or "" for each in chunk.choices if each.index == 0)
    except openai.APIError:
        assert case["status"] >= 400 or "error" in case["expect"]
        return None
    return text


LABEL = Label("chatcmpl-1", "m", 1700000000, "01977ed9-7492-7b70-8347-955764f97b3d", {})


MADE = re.compile(rb"call_[0-9a-f]{32}")
"""An id that is made for a call that has none."""


def test_a_recorded_stream_gives_the_same_however_it_is_cut(replay: str) -> None:
    """Byte by byte, as it was recorded, in one piece, and in between."""
    streams = [case for case in recorded.cases(replay) if "stream" in case["features"]]
    assert {recorded.kind_of(case) for case in streams} >= {"openai", "anthropic", "google", "bedrock", "sagemaker"}
    for case in streams:
        ends = recorded.recording(case)["response"].get("chunk_ends", [])
        body = recorded.body(case)
        whole = outcome(case, [body])
        for cutter in (splits.every(1), splits.every(7), splits.awkward, splits.at(*ends)):
            assert outcome(case, pieces(body, cutter(body))) == whole, case["case"]


def pieces(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    ends = [0, *(each for each in cuts if 0 < each < len(body)), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(ends)]


def outcome(case: Json, content: Iterable[bytes]) -> tuple[bytes, Failure | None]:
    """What a caller reads of a stream that comes in these pieces, and how it failed."""
    choices = case["request"].get("n", 1)
    reader = KINDS[recorded.kind_of(case)].wire.reader(case["request"], stream=True)
    answer = StreamedAnswer(LABEL, choices, 100, include_usage=True, usage_on_finish=False)
    payloads: list[bytes] = []
    try:
        for piece in content:
            for chunk in reader.feed(piece):
                payloads += answer.take(chunk)
        payloads += answer.end()
    except UpstreamError as error:
        return MADE.sub(b"call_made", b"\n".join(payloads)), error.failure
    return MADE.sub(b"call_made", b"\n".join(payloads)), None


# Tool loops


@pytest.mark.anyio
async def test_what_led_to_recorded_calls_goes_back_when_a_client_drops_it(serve: Serve) -> None:
    """Every signature as it came, and DeepSeek's reasoning; with a history that holds OpenAI's fields alone."""
    loops = 0
    async with ScriptedUpstream() as upstream:
        plan = [case for case in recorded.cases(upstream.origin) if _may_reason(case)]
        rows, models = recorded.configured(plan)
        rows |= {case["case"]: provider(case["base_url"], "openrouter") for case in plan if _of_openrouter(case)}
        async with serve(rows, models, telemetry=recorded.QUIET) as gateway:
            for case in plan:
                upstream.requests.clear()
                said = await _asked(gateway, upstream, case, [])
                calls = said.get("tool_calls") or []
                if not calls or not (wanted := _reasons(case, said)):
                    continue
                loops += 1
                plain = {name: said.get(name) for name in ("role", "content")} | {"tool_calls": _plain(calls)}
                results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]
                await _asked(gateway, upstream, case, [plain, *results])
                sent = upstream.requests[1].json
                assert [each for each in wanted if each not in set(_texts(sent))] == [], case["case"]
    assert loops >= 12


def _may_reason(case: Json) -> bool:
    response = recorded.recording(case)["response"]
    able = _of_openrouter(case) or KINDS[recorded.kind_of(case)].replays
    return bool(able) and response["status"] == 200 and isinstance(response.get("body"), str)


def _of_openrouter(case: Json) -> bool:
    return "openrouter" in case["case"]


async def _asked(gateway: Running, upstream: ScriptedUpstream, case: Json, more: list[Json]) -> Json:
    """The assistant's message, put together from whatever form it came in."""
    response = recorded.recording(case)["response"]
    kind = {"content-type": response["headers"]["content-type"]}
    upstream.enqueue([head(200, kind), Chunk(response["body"].encode()), LAST_CHUNK])
    request = case["request"]
    reply = await gateway.post(CHAT, {**request, "model": case["alias"], "messages": [*request["messages"], *more]})
    if reply.error is not None:
        return {}  # some recordings are of failures
    if not reply.events:
        found: Json = reply.json["choices"][0]["message"]
        return found
    said: Json = {"role": "assistant", "content": reply.text, "tool_calls": [], "reasoning_content": ""}
    for delta in (choice["delta"] for chunk in reply.chunks for choice in chunk["choices"]):
        said["reasoning_content"] += delta.get("reasoning_content") or ""
        for piece in delta.get("tool_calls") or ():
            if piece["index"] == len(said["tool_calls"]):
                said["tool_calls"].append(piece)
            else:
                said["tool_calls"][piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return said


def _plain(calls: list[Json]) -> list[Json]:
    return [{"id": call["id"], "type": "function", "function": call["function"]} for call in calls]


def _reasons(case: Json, said: Json) -> set[str]:
    """What must come back: the signatures in the recording, or the reasoning where it is not signed."""
    body = recorded.recording(case)["response"]["body"]
    signatures = {json.loads(f'"{each}"') for each in re.findall(r'"(?:thoughtS|s)ignature":\s*"([^"]+)"', body)}
    return signatures or {text for text in (said.get("reasoning_content"),) if text}


def _texts(value: Any) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
