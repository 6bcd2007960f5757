"""Transcriptions by Gemini through a gateway: what it is asked, and what becomes of what it answers."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from tests.api.test_audio import ASKED, FILE, WAV, ask, form, said, send, sound
from tests.gateway import Reply, Serve, model, provider

from sealgate.errors import Failure, UpstreamError
from sealgate.limits.ledger import Outcome
from sealgate.providers.gemini_audio import ALONE, CONTEXT, GEMINI_SPEECH, SLICE, SPOKEN, TASKS
from sealgate.relay.answer import Label
from sealgate.relay.attempt import HEAVY
from sealgate.relay.transcripts import answer, read_transcription
from sealgate.testing import ScriptedUpstream, ThreadedUpstream
from sealgate.testing.gemini_wire import generated, generation_broken, google_error
from sealgate.testing.script import json_answer, wire

USAGE = {
    "promptTokenCount": 60, "candidatesTokenCount": 5, "totalTokenCount": 65,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "AUDIO", "tokenCount": 48}],
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", ["google", "vertex"])
STREAM = ('"stream"', b"true")


def gemini(upstream: ScriptedUpstream, kind: str = "google") -> Any:
    more = {"project": "acme", "location": "eu"} if kind == "vertex" else {}
    return provider(f"{upstream.origin}/v1beta", kind=kind, **more)


def models(*names: str) -> Any:
    return {"m": model(*names, upstream_model="gemini-2.5-flash", type="transcription")}


def sound_in(request: Any) -> dict[str, Any]:
    found: dict[str, Any] = request.json["contents"][0]["parts"][0]["inlineData"]
    return found


@KINDS
@pytest.mark.anyio
async def test_the_sound_and_an_instruction_go_out_and_the_text_comes_back(serve: Serve, kind: str) -> None:
    async with ScriptedUpstream(handler=generated("Hello there.", usage=USAGE)) as upstream:
        async with serve({"g": gemini(upstream, kind)}, models("g")) as gateway:
            reply = await ask(
                gateway, ('"language"', b"en"), ('"prompt"', b"Ada"), ('"temperature"', b"0.5"), ('"own"', b"1")
            )
            row = await gateway.row()
        [request] = upstream.requests

    assert (reply.status, reply.json["text"]) == (200, "Hello there.")
    assert reply.json["usage"] == {
        "type": "tokens", "input_tokens": 60, "output_tokens": 5, "total_tokens": 65,
        "input_token_details": {"text_tokens": 12, "audio_tokens": 48},
    }  # fmt: skip
    assert (row.prompt_tokens, row.completion_tokens, row.usage_source) == (60, 5, "reported")
    assert request.path.endswith("/models/gemini-2.5-flash:generateContent")
    assert sound_in(request)["mimeType"] == "audio/wav"
    assert base64.b64decode(sound_in(request)["data"]) == WAV
    order = request.json["systemInstruction"]["parts"][0]["text"]
    assert order == "\n".join([TASKS["transcriptions"], ALONE, f"{SPOKEN}en", f"{CONTEXT}Ada"])
    assert request.json["generationConfig"] == {"temperature": 0.5}
    assert [(each["param"], each["action"]) for each in reply.json["tresor"]["adjustments"]] == [("own", "dropped")]


@pytest.mark.anyio
async def test_a_translation_is_asked_for_in_english_and_text_comes_as_text(serve: Serve) -> None:
    async with ScriptedUpstream(handler=generated("Good morning.")) as upstream:
        async with serve({"g": gemini(upstream)}, models("g")) as gateway:
            reply = await send(
                gateway, form(ASKED, FILE, ('"response_format"', b"text")), path="/v1/audio/translations"
            )
            row = await gateway.row()
        [request] = upstream.requests

    assert (reply.status, reply.body) == (200, b"Good morning.\n")
    assert request.json["systemInstruction"]["parts"][0]["text"].startswith(TASKS["translations"])
    assert row.endpoint == "audio.translations"


@KINDS
@pytest.mark.anyio
async def test_a_streamed_transcript_comes_as_events_with_its_end(serve: Serve, kind: str) -> None:
    async with (
        ScriptedUpstream(handler=generated("One two three.", usage=USAGE)) as upstream,
        serve({"g": gemini(upstream, kind)}, models("g")) as gateway,
    ):
        reply = await ask(gateway, STREAM)
        row = await gateway.row()

    *deltas, done = reply.documents
    assert "".join(each["delta"] for each in deltas) == done["text"] == "One two three."
    assert {each["type"] for each in deltas} == {"transcript.text.delta"}
    assert (done["type"], done["usage"]["input_tokens"]) == ("transcript.text.done", 60)
    assert (row.outcome, row.prompt_tokens) == (Outcome.OK, 60)


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", [b"verbose_json", b"srt", b"vtt"])
async def test_formats_with_times_are_refused_in_words_and_left_to_routes_that_have_them(
    serve: Serve, wanted: bytes
) -> None:
    async with ScriptedUpstream(handler=generated("no")) as upstream:
        async with serve({"g": gemini(upstream)}, models("g")) as gateway:
            refused = await ask(gateway, ('"response_format"', wanted))
        whisper = said("Hi.", segments=[{"start": 0.0, "end": 1.0, "text": "Hi."}])
        async with serve({"g": gemini(upstream), "acme": whisper}, models("g", "acme")) as gateway:
            served = await ask(gateway, ('"response_format"', wanted))
        assert not upstream.requests

    assert (refused.status, refused.code, refused.error["param"]) == (400, "unsupported_parameter", "response_format")
    assert "when" in refused.error["message"]
    assert served.status == 200
    assert b"Hi." in served.body


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_silence_is_an_empty_text_and_no_failure(serve: Serve, stream: bool) -> None:
    async with (
        ScriptedUpstream(handler=generated(parts=[{"text": ""}])) as upstream,
        serve({"g": gemini(upstream)}, models("g")) as gateway,
    ):
        reply = await ask(gateway, *([STREAM] if stream else []))

    assert reply.status == 200
    assert (reply.documents[-1] if stream else reply.json)["text"] == ""


async def failed(serve: Serve, behaviour: Any, *, stream: bool) -> tuple[Reply, Any]:
    async with (
        ScriptedUpstream(handler=lambda _: behaviour) as upstream,
        serve({"g": gemini(upstream)}, models("g")) as gateway,
    ):
        reply = await ask(gateway, *([STREAM] if stream else []))
        return reply, await gateway.row()


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("behaviour", "status"), [
    (generated("Half of it", finish_reason="MAX_TOKENS"), 502),
    (generated("Half of it", finish_reason=None), 502),
    (generated("", finish_reason="MALFORMED_RESPONSE"), 502),
    (generated(None, parts=[{"text": ""}], finish_reason="SAFETY"), 400),
    (google_error(429), 429),
    (google_error(503), 503),
    (google_error(400, "Unsupported MIME type"), 400),
    (google_error(403), 502),
    (lambda _: json_answer({}), 502),
    (lambda _: json_answer({"candidates": []}), 502),
    (lambda _: json_answer({"candidates": [{"content": {"parts": [{"text": None}]}}]}), 502),
    (lambda _: json_answer({"candidates": [{"content": {"parts": "x"}, "finishReason": "STOP"}]}), 502),
    (lambda _: json_answer({"candidates": None, "error": {"code": 503, "status": "UNAVAILABLE"}}), 503),
    (lambda _: json_answer([]), 502),
    (lambda _: json_answer("text"), 502),
    (lambda _: json_answer(None), 502),
])  # fmt: skip
async def test_what_is_no_whole_transcript_never_looks_like_one(
    serve: Serve, behaviour: Any, status: int, stream: bool
) -> None:
    reply, row = await failed(serve, behaviour, stream=stream)

    if stream and reply.events:
        assert reply.error is not None
        assert not reply.done
    else:
        assert reply.status == status, reply.body
    assert row.outcome is not Outcome.OK
    assert row.outcome is not Outcome.ERROR


@pytest.mark.anyio
async def test_a_stream_that_breaks_ends_with_an_error(serve: Serve) -> None:
    reply, row = await failed(serve, generation_broken(2, base=generated("One two three four.")), stream=True)

    assert reply.error is not None
    assert not reply.done
    assert row.outcome is Outcome.TRUNCATED


@pytest.mark.anyio
async def test_a_large_file_arrives_whole(serve: Serve) -> None:
    """Its body is made aside and in slices."""
    large = sound(150, rate=8000)
    assert len(large) > HEAVY > SLICE
    parts = (ASKED, ('"file"; filename="a.wav"', large))
    async with ScriptedUpstream(handler=generated("Long.")) as upstream:
        async with serve({"g": gemini(upstream), "acme": said("Long.")}, models("g", "acme")) as gateway:
            by_gemini = await send(gateway, form(*parts))
            by_form = await send(gateway, form(*parts, ('"provider"', b"acme")))
        [request] = upstream.requests

    assert (by_gemini.status, by_form.status) == (200, 200)
    assert base64.b64decode(sound_in(request)["data"]) == large
    assert large in gateway.upstreams["acme"].requests[0].body


@pytest.mark.anyio
async def test_a_route_that_fails_leaves_the_same_file_to_the_next(serve: Serve) -> None:
    async with (
        ScriptedUpstream(handler=lambda _: google_error(503)) as upstream,
        serve({"g": gemini(upstream), "acme": said("Hello.")}, models("g", "acme")) as gateway,
    ):
        reply = await ask(gateway)
        row = await gateway.row()

    assert (reply.json["text"], reply.json["tresor"]["failover"], row.attempts) == ("Hello.", True, 2)
    assert WAV in gateway.upstreams["acme"].requests[0].body


def test_a_stream_may_be_cut_anywhere() -> None:
    answer = generated("Grüße, 世界. One two.", usage=USAGE)
    received: Any = type("R", (), {"path": "/m:streamGenerateContent", "json": {}, "watermark": "w"})
    body = wire(list(answer(received)), received).partition(b"\r\n\r\n")[2]
    plain = b"".join(line for line in body.split(b"\r\n") if line.startswith(b"data:"))
    events = b"".join(b"data:" + each + b"\n\n" for each in plain.split(b"data:") if each)
    for size in (1, 2, 7, 100, len(events)):
        reader = GEMINI_SPEECH["transcriptions"].reader({}, stream=True)
        found = [each for place in range(0, len(events), size) for each in reader.feed(events[place : place + size])]
        found += reader.end()
        assert found[-1]["text"] == "Grüße, 世界. One two."


def test_no_end_is_no_transcript() -> None:
    reader = GEMINI_SPEECH["transcriptions"].reader({}, stream=True)
    assert list(reader.feed(b"")) == []
    with pytest.raises(UpstreamError) as caught:
        list(reader.end())
    assert caught.value.failure is Failure.TRUNCATED


def test_the_official_sdk_transcribes_by_gemini(serve: Serve) -> None:
    with ThreadedUpstream(ScriptedUpstream(handler=generated("Hello from Gemini."))) as upstream:
        providers = {"g": provider(f"{upstream.origin}/v1beta", kind="google")}
        with serve.in_thread(providers, models("g")) as gateway:
            client = OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0)
            file = io.BytesIO(WAV)
            file.name = "a.wav"
            found = client.audio.transcriptions.create(model="m", file=file)
            file.seek(0)
            streamed = list(client.audio.transcriptions.create(model="m", file=file, stream=True))

    assert found.text == "Hello from Gemini."
    assert [each.type for each in streamed][-1] == "transcript.text.done"
    assert streamed[-1].text == "Hello from Gemini."  # type: ignore[union-attr]


SAID = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(-2, 2) | st.sampled_from(["", "x", "STOP"])
PART = st.dictionaries(st.sampled_from(["text", "thought", "inlineData", "functionCall"]), SAID, max_size=2)
CANDIDATE = st.fixed_dictionaries(
    {}, optional={"content": SAID | st.fixed_dictionaries({"parts": SAID | st.lists(PART, max_size=2)}),
                  "finishReason": st.sampled_from(["STOP", "SAFETY", "MAX_TOKENS", "OTHER", "", None]), "index": SAID},
)  # fmt: skip
COUNTS = st.fixed_dictionaries({"promptTokenCount": SAID}, optional={"promptTokensDetails": SAID | st.lists(SAID)})
DOCUMENT = SAID | st.fixed_dictionaries(
    {}, optional={"candidates": SAID | st.lists(SAID | CANDIDATE, max_size=2), "usageMetadata": SAID | COUNTS,
                  "promptFeedback": SAID, "error": SAID},
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(DOCUMENT, st.booleans())
def test_whatever_comes_is_a_transcript_or_an_error_of_the_route(document: Any, stream: bool) -> None:
    pairs = [("model", "m"), *([("stream", "true")] if stream else [])]
    asked = read_transcription("transcriptions", pairs, WAV, "a.wav")
    reader = GEMINI_SPEECH["transcriptions"].reader({}, stream=stream)
    found = answer(Label(id="1", model="m", created=0, episode_id="e", tresor={}), asked)
    body = json.dumps(document).encode()
    try:
        for each in [*reader.feed(b"data: " + body + b"\n\n" if stream else body), *reader.end()]:
            found.take(each)
        found.end()
    except UpstreamError:
        return
    assert found.finished
    assert found.usage.prompt >= 0
