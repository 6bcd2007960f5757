"""`POST /v1/audio/…` of a whole gateway: the official SDK, upstreams that answer in every way, and broken uploads."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from tests.gateway import Reply, Running, Serve, model, provider, read_reply

from sealgate.api import audio
from sealgate.api.edge_rules import EdgeLimits
from sealgate.config import Model, Provider, Route
from sealgate.config import Server as ServerTable
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem, StorageError
from sealgate.limits.ledger import Outcome
from sealgate.providers.sandbox import hearing
from sealgate.receipts.receipt import digest
from sealgate.storage.spool import Spool
from sealgate.testing import Behaviour, ScriptedUpstream, error
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, head, json_answer, sse

PATH = "/v1/audio/transcriptions"
SANDBOX = Provider(kind="sandbox", region="local")
MODEL = {"m": model("acme", type="transcription")}
BOTH = {"m": model("acme", "backup", type="transcription")}


def sound(seconds: float = 1.5, rate: int = 8000, channels: int = 1) -> bytes:
    """A WAV file of silence."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\x01\x00" * int(seconds * rate) * channels)
    return made.getvalue()


WAV = sound()


def said(text: str = "Hello there.", **more: Any) -> Behaviour:
    return lambda _: json_answer({"text": text, **more})


def form(*parts: tuple[str, bytes], boundary: bytes = b"XyZ", end: bytes = b"--\r\n") -> bytes:
    """A form of parts, each with what stands behind ``name=`` and its value."""
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (boundary, name.encode(), value)
        for name, value in parts
    )
    return body + b"--" + boundary + end


FILE = ('"file"; filename="a.wav"', WAV)
ASKED = ('"model"', b"m")


async def send(
    gateway: Running, body: bytes, *, path: str = PATH, kind: str = "multipart/form-data; boundary=XyZ", **headers: str
) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.post(path, body, {"content-type": kind, **named})


async def ask(gateway: Running, *parts: tuple[str, bytes], **headers: str) -> Reply:
    return await send(gateway, form(ASKED, FILE, *parts), **headers)


def received(request: Received) -> tuple[dict[str, list[str]], bytes]:
    """Fields and file of the form that an upstream got."""
    mark = b"--" + request.headers["content-type"].partition("boundary=")[2].encode()
    fields: dict[str, list[str]] = {}
    file = b""
    for part in request.body.split(mark)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        if b"filename=" in head:
            file = value[:-2]
        fields.setdefault(name, []).append(head.decode() if b"filename=" in head else value[:-2].decode())
    return fields, file


def spooled(gateway: Running) -> list[Path]:
    return list((Path(gateway.hall.settings.data_dir) / "spool").glob("*"))


@pytest.mark.anyio
async def test_a_file_and_its_fields_reach_the_provider_and_the_text_comes_back(serve: Serve) -> None:
    usage = {"type": "duration", "seconds": 2}
    async with serve({"acme": said(usage=usage)}, MODEL) as gateway:
        reply = await ask(
            gateway, ('"language"', b"en"), ('"temperature"', b"0.2"), ('"own[]"', b"1"), ('"own[]"', b"2")
        )
        row = await gateway.row()
        left = spooled(gateway)

    assert reply.status == 200
    assert reply.json["text"] == "Hello there."
    assert reply.json["usage"] == usage
    assert reply.json["tresor"]["routed_model"] == "global/acme/m"
    assert reply.headers["x-tresor-receipt-id"] == reply.json["tresor"]["receipt_id"]
    assert (row.endpoint, row.outcome, row.usage_source) == ("audio.transcriptions", Outcome.OK, "reported")
    sent = gateway.upstreams["acme"].requests[0]
    fields, file = received(sent)
    assert (sent.path, sent.headers["accept"], file) == ("/v1/audio/transcriptions", "application/json", WAV)
    assert fields.pop("file") == [
        '\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\nContent-Type: audio/wav'
    ]
    assert fields == {
        "model": ["test-model"], "response_format": ["json"], "language": ["en"], "temperature": ["0.2"],
        "own[]": ["1", "2"],
    }  # fmt: skip
    assert left == []


@pytest.mark.anyio
async def test_failover_sends_the_same_bytes_again_to_the_next_route(serve: Serve) -> None:
    """Row J8."""
    async with serve({"acme": error(503), "backup": said()}, BOTH) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert (reply.status, reply.json["tresor"]["failover"], row.attempts) == (200, True, 2)
    first, second = (gateway.upstreams[name].requests[0] for name in ("acme", "backup"))
    assert first.body == second.body
    assert WAV in first.body


@pytest.mark.anyio
@pytest.mark.parametrize("bad", [said(None), lambda _: json_answer([1]), error(500), error(401)])  # type: ignore[arg-type]
async def test_when_every_route_fails_the_error_names_each_attempt(serve: Serve, bad: Behaviour) -> None:
    """Row J8."""
    async with serve({"acme": bad}, MODEL) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert reply.status >= 500
    assert [route for route, _, _ in reply.attempts] == ["global/acme/m"]
    assert row.outcome is Outcome.UPSTREAM_FAILED


SEGMENTS = [
    {"start": 0.0, "end": 1.25, "text": " Hello"},
    {"start": 1.25, "end": 3661.5, "text": "there.\n\nYou --> me"},
]


@pytest.mark.anyio
async def test_every_format_is_written_from_the_providers_json(serve: Serve) -> None:
    found = {"duration": 1.5, "language": "english", "segments": SEGMENTS, "x_groq": {"id": "r"}}
    async with serve({"acme": said(**found)}, MODEL) as gateway:
        replies = {
            name: await ask(gateway, ('"response_format"', name.encode()))
            for name in ("json", "text", "verbose_json", "srt", "vtt")
        }

    asked = [received(each)[0]["response_format"] for each in gateway.upstreams["acme"].requests]
    assert asked == [["json"], ["json"], ["verbose_json"], ["verbose_json"], ["verbose_json"]]
    types = {name: reply.headers["content-type"].partition(";")[0] for name, reply in replies.items()}
    assert types == {
        "json": "application/json", "text": "text/plain", "verbose_json": "application/json",
        "srt": "application/x-subrip", "vtt": "text/vtt",
    }  # fmt: skip
    assert replies["text"].body == b"Hello there.\n"
    verbose = replies["verbose_json"].json
    assert (verbose["task"], verbose["duration"], verbose["language"]) == ("transcribe", 1.5, "english")
    assert verbose["segments"] == SEGMENTS
    assert verbose["usage"] == {"type": "duration", "seconds": 1.5}
    assert "x_groq" not in verbose
    assert replies["srt"].body.decode() == (
        "1\n00:00:00,000 --> 00:00:01,250\nHello\n\n2\n00:00:01,250 --> 01:01:01,500\nthere. You -> me\n\n"
    )
    assert replies["vtt"].body.decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nHello\n\n00:00:01.250 --> 01:01:01.500\nthere. You -> me\n\n"
    )
    assert all("x-tresor-receipt-id" in reply.headers for reply in replies.values())


@pytest.mark.anyio
async def test_granularities_go_with_verbose_json_as_they_were_asked_for(serve: Serve) -> None:
    async with serve({"acme": said()}, MODEL) as gateway:
        verbose = ('"response_format"', b"verbose_json")
        await ask(
            gateway, verbose, ('"timestamp_granularities[]"', b"word"), ('"timestamp_granularities[]"', b"segment")
        )
        await ask(gateway, verbose, ('"timestamp_granularities[]"', b"word, segment"))
        wrong = await ask(gateway, verbose, ('"timestamp_granularities[]"', b"letter"))

    for request in gateway.upstreams["acme"].requests:
        assert received(request)[0]["timestamp_granularities[]"] == ["word", "segment"]
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "timestamp_granularities")


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", [b"segment", b"word"])
@pytest.mark.parametrize("given", [[], [('"response_format"', b"json")], [('"response_format"', b"srt")]])
async def test_granularities_without_verbose_json_are_reported_as_dropped(
    serve: Serve, given: Any, wanted: bytes
) -> None:
    """Vercel's AI SDK sends them with ``json``. A strict request is refused instead."""
    asked = [*given, ('"timestamp_granularities[]"', wanted)]
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await ask(gateway, *asked)
        row = await gateway.row()
        strict = await ask(gateway, *asked, X_Sealgate_Strict="true")
        [sent] = gateway.upstreams["acme"].requests
    assert reply.status == 200
    assert "timestamp_granularities[]" not in received(sent)[0]
    assert row.receipt is not None
    claims = json.loads(urlsafe_b64decode(row.receipt.split(".")[1] + "=="))
    assert "timestamp_granularities" in json.dumps(claims["adjustments"])
    if b"srt" not in dict(given).values():
        [told] = reply.json["tresor"]["adjustments"]
        assert (told["param"], told["action"]) == ("timestamp_granularities", "dropped")
    assert (strict.status, strict.code, strict.error["param"]) == (
        400, "unsupported_parameter", "timestamp_granularities",
    )  # fmt: skip


@pytest.mark.anyio
async def test_times_of_words_that_a_provider_does_not_give_are_reported_as_dropped(serve: Serve) -> None:
    """In the answer and in the receipt; a strict request is refused instead."""
    asked = [('"response_format"', b"verbose_json"), ('"timestamp_granularities[]"', b"word")]
    segments = [{"id": 0, "start": 0.0, "end": 1.5, "text": "Hello there."}]
    async with serve({"acme": said(segments=segments)}, MODEL) as gateway:
        lacking = await ask(gateway, *asked)
        row = await gateway.row()
        strict = await ask(gateway, *asked, X_Sealgate_Strict="true")
        gateway.upstreams["acme"].handler = lambda _: said(words=[{"word": "Hello", "start": 0, "end": 1}])
        given = await ask(gateway, *asked, X_Sealgate_Strict="true")
    [told] = lacking.json["tresor"]["adjustments"]
    assert (lacking.status, told["param"], told["action"]) == (200, "timestamp_granularities", "dropped")
    assert row.receipt is not None
    claims = json.loads(urlsafe_b64decode(row.receipt.split(".")[1] + "=="))
    assert "timestamp_granularities" in json.dumps(claims["adjustments"])
    assert (strict.status, strict.code, strict.error["param"]) == (
        400, "unsupported_parameter", "timestamp_granularities",
    )  # fmt: skip
    assert (given.status, given.json["words"][0]["word"]) == (200, "Hello")
    assert "adjustments" not in given.json["tresor"]


@pytest.mark.anyio
async def test_a_text_by_the_name_of_a_sound_is_refused_before_a_provider_is_asked(serve: Serve) -> None:
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await send(gateway, form(ASKED, ('"file"; filename="notes.wav"', b"These are my notes.\n")))
        asked = gateway.upstreams["acme"].requests
    assert (reply.status, reply.json["error"]["code"], reply.json["error"]["param"]) == (400, "invalid_media", "file")
    assert asked == []


@pytest.mark.anyio
async def test_forms_are_told_what_is_wrong_in_the_words_of_json_bodies(serve: Serve) -> None:
    async with serve({"acme": said()}, MODEL) as gateway:
        warm = await ask(gateway, ('"temperature"', b"1.5"))
        letter = await ask(gateway, ('"response_format"', b"xml"))
    assert warm.json["error"]["message"] == "temperature: expected float <= 1.0."
    assert "`" not in letter.json["error"]["message"]


REFUSED: list[tuple[list[tuple[str, bytes]], str, str]] = [
    ([FILE, ASKED, ('"temperature"', b"1.5")], "invalid_parameter", "temperature"),
    ([FILE, ASKED, ('"temperature"', b"nan")], "invalid_parameter", "temperature"),
    ([FILE, ASKED, ('"temperature"', b"warm")], "invalid_parameter", "temperature"),
    ([FILE, ASKED, ('"response_format"', b"xml")], "invalid_parameter", "response_format"),
    ([FILE, ASKED, ('"stream"', b"perhaps")], "invalid_parameter", "stream"),
    ([FILE, ASKED, ('"stream"', b"true"), ('"response_format"', b"srt")], "invalid_parameter", "stream"),
    ([FILE, ASKED, ('"failover"', b"other")], "invalid_failover", "failover"),
    ([FILE, ASKED, ('"failover[]"', b"other")], "invalid_failover", "failover"),
    ([FILE, ASKED, ASKED], "invalid_parameter", "model"),
    ([FILE, ASKED, ('"model[]"', b"other")], "invalid_parameter", "model[]"),
    ([FILE, ASKED, ('"prompt"', b"\xff")], "invalid_parameter", "prompt"),
    ([FILE], "invalid_model", "model"),
    ([FILE, ('"model"', b"nobody")], "model_not_found", "model"),
    ([ASKED], "invalid_parameter", "file"),
    ([ASKED, ('"file"; filename="a.wav"', b"")], "invalid_media", "file"),
    ([ASKED, ('"file"; filename="a.wav"', b"\x89PNG\r\n\x1a\n....")], "invalid_media", "file"),
    ([ASKED, ('"file"; filename="a.exe"', b"words")], "invalid_media", "file"),
    ([ASKED, FILE, FILE], "invalid_multipart", "file"),
    ([ASKED, ('"other"; filename="a.wav"', WAV)], "invalid_parameter", "other"),
]
"""Rows J4 and J10 among them."""


@pytest.mark.anyio
async def test_what_is_no_request_for_a_transcript_is_refused_by_name(serve: Serve) -> None:
    """Rows J4 and J10."""
    async with serve({"acme": said()}, MODEL) as gateway:
        for parts, code, param in REFUSED:
            reply = await send(gateway, form(*parts))
            assert (reply.status, reply.code, reply.error["param"]) == (
                404 if code == "model_not_found" else 400, code, param,
            ), parts[-1][0]  # fmt: skip
        late = await ask(gateway, x_tresor_timeout_seconds="5")
        in_api = await send(gateway, form(FILE), path="/api" + PATH)
        left = spooled(gateway)

    assert (late.status, late.code) == (400, "invalid_timeout_override")
    assert (in_api.status, in_api.json["detail"][0]["loc"]) == (422, ["body", "model"])
    assert not gateway.upstreams["acme"].requests
    assert left == []


HEADER = b"X-Header: value\r\n"
BROKEN: dict[str, bytes] = {
    "no parts at all": b"",
    "never closes": form(ASKED, FILE, end=b"\r\n"),
    "another boundary": form(ASKED, FILE, boundary=b"Other"),
    "many parts": form(FILE, ASKED, *[(f'"f{number}"', b"") for number in range(10_000)]),
    "many headers": form(FILE).replace(b"\r\n\r\n", b"\r\n" + HEADER * 10_000 + b"\r\n", 1),
    "a long header": form(FILE).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", 1),
    "a long preamble": b"\r\n" * 600_000 + form(FILE, ASKED),
    "words before": b"words\r\n" + form(FILE, ASKED),
    "a long epilogue": form(FILE, ASKED) + b"\r\n" * 600_000,
    "a long field": form(FILE, ASKED, ('"prompt"', b"x" * 70_000)),
    "no name": form(FILE, ASKED).replace(b'; name="model"', b""),
    "no disposition": form(FILE, ASKED).replace(b"Content-Disposition", b"Content-Other", 1),
    "two dispositions": form(FILE, ASKED).replace(
        b"\r\n\r\n", b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n', 1
    ),
    "an extended file name": form(ASKED, ('"file"; filename="a.wav"; filename*=UTF-8\'\'b.wav', WAV)),
    "an extended name": form(FILE, ("model; name*=UTF-8''file", b"m")),
}
"""Rows J1, J2 and J4."""


@pytest.mark.anyio
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_a_form_out_of_shape_or_bounds_is_refused_and_nothing_stays(serve: Serve, body: bytes) -> None:
    """Rows J1, J2 and J4."""
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await send(gateway, body)
        left = spooled(gateway)

    assert (reply.status, reply.code) == (400, "invalid_multipart")
    assert left == []
    assert not gateway.upstreams["acme"].requests


@pytest.mark.anyio
async def test_a_body_without_a_proper_boundary_is_refused(serve: Serve) -> None:
    """Row J1."""
    async with serve({"acme": said()}, MODEL) as gateway:
        kinds = ("", "; boundary=", '; boundary=""', "; boundary=" + "x" * 71, "; boundary=a{b")
        replies = [await send(gateway, form(FILE), kind="multipart/form-data" + kind) for kind in kinds]

    assert [(reply.status, reply.code) for reply in replies] == [(400, "invalid_multipart")] * len(kinds)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "application/json", "", "multipart/mixed; boundary=XyZ"]
)
async def test_another_type_of_body_is_415(serve: Serve, kind: str) -> None:
    """Row J5."""
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await send(gateway, b"model=m&file=x", kind=kind)

    assert (reply.status, reply.code) == (415, "unsupported_media_type")


@pytest.mark.anyio
async def test_a_file_beyond_the_limit_is_413_declared_or_not(serve: Serve) -> None:
    """Row J3."""
    small = ServerTable(port=0, discover=False, max_upload_bytes=len(WAV) - 1)
    async with serve({"acme": said()}, MODEL, server=small) as gateway:
        one = await ask(gateway)
        async with gateway.client() as client:
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: {gateway.host}\r\nAuthorization: Bearer {gateway.key}\r\n"
                "Content-Type: multipart/form-data; boundary=XyZ\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            body = form(FILE, ASKED)
            await client.send(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            chunked = await read_reply(await client.response())
        async with gateway.client() as client:
            head = head.replace("Transfer-Encoding: chunked", "Content-Length: 3000000")
            await client.send(head.encode())
            declared = await read_reply(await client.response())
        left = spooled(gateway)

    assert [(each.status, each.code) for each in (one, chunked, declared)] == [(413, "request_too_large")] * 3
    assert left == []


@pytest.mark.anyio
async def test_a_name_with_a_path_in_it_never_becomes_one(serve: Serve, tmp_path: Path) -> None:
    """Row J4."""
    async with serve({"acme": said()}, MODEL) as gateway:
        target = tmp_path / "made.wav"
        reply = await send(gateway, form(ASKED, (f'"file"; filename="../../..{target}"', WAV)))

    assert reply.status == 200
    assert not target.exists()
    assert b'filename="audio.wav"' in gateway.upstreams["acme"].requests[0].body


@pytest.mark.anyio
async def test_a_transfer_encoding_of_a_part_is_not_decoded(serve: Serve) -> None:
    """Row J6."""
    body = form(FILE, ASKED).replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await send(gateway, body)

    assert reply.status == 200
    assert received(gateway.upstreams["acme"].requests[0])[1] == WAV


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_a_file_full_of_half_boundaries_arrives_whole_however_it_is_cut(serve: Serve, size: int) -> None:
    tricky = b"RIFF....WAVE" + b"\r\n--Xy\r\n--XyZ_\r\n\r\n--XY" * 3 + b"\r"
    body = form(ASKED, ('"file"; filename="a.wav"', tricky))
    async with serve({"acme": said()}, MODEL) as gateway, gateway.client() as client:
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {gateway.host}\r\nAuthorization: Bearer {gateway.key}\r\n"
            f"Content-Type: multipart/form-data; boundary=XyZ\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await client.send(head.encode())
        await client.trickle(body, size=size, every=0)
        reply = await read_reply(await client.response())

    assert reply.status == 200
    assert received(gateway.upstreams["acme"].requests[0])[1] == tricky


@pytest.mark.anyio
async def test_a_caller_who_leaves_in_the_middle_of_an_upload_leaves_nothing_behind(serve: Serve) -> None:
    """Row J7."""
    async with serve({"acme": said()}, MODEL) as gateway:
        async with gateway.client() as client:
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: {gateway.host}\r\nAuthorization: Bearer {gateway.key}\r\n"
                "Content-Type: multipart/form-data; boundary=XyZ\r\nContent-Length: 100000\r\n\r\n"
            )
            await client.send(head.encode() + form(ASKED, FILE)[:5000])
            async with asyncio.timeout(20):
                while not gateway.hall.metrics.in_flight:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.005)
        async with asyncio.timeout(20):
            while gateway.hall.metrics.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        left = spooled(gateway)
        again = await ask(gateway)

    assert left == []
    assert again.status == 200
    assert len(gateway.upstreams["acme"].requests) == 1


@pytest.mark.anyio
async def test_an_upload_byte_by_byte_is_cut_by_the_deadline_and_nothing_stays(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows A2 and J7: whoever sends for ever holds neither a file nor a provider."""
    monkeypatch.setattr("tests.gateway.EdgeLimits", partial(EdgeLimits, body_seconds=1.0, linger_seconds=0.1))
    body = form(ASKED, FILE)
    async with serve({"acme": said()}, MODEL) as gateway:
        async with gateway.client() as client:
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: {gateway.host}\r\nAuthorization: Bearer {gateway.key}\r\n"
                f"Content-Type: multipart/form-data; boundary=XyZ\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            await client.send(head.encode() + body[:600])
            trickling = asyncio.create_task(client.trickle(body[600:], every=0.02))
            reply = await read_reply(await client.response())
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)
        async with asyncio.timeout(20):
            while gateway.hall.metrics.in_flight:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        left = spooled(gateway)
        again = await ask(gateway)

    assert (reply.status, reply.code) == (408, "request_timeout")
    assert left == []
    assert again.status == 200
    assert len(gateway.upstreams["acme"].requests) == 1


@pytest.mark.anyio
async def test_a_full_disk_is_503_and_the_partial_file_is_gone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row J9."""

    def full(self: Spool, data: bytes) -> None:
        self._file.write(data[:10])
        raise StorageError("the spool cannot be written: No space left on device")

    async with serve({"acme": said()}, MODEL) as gateway:
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "_put", full)
            reply = await ask(gateway)
        left = spooled(gateway)
        again = await ask(gateway)

    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "storage_unavailable", "5")
    assert left == []
    assert again.status == 200


def events(*found: Any) -> Behaviour:
    def play(_: Received) -> Iterator[Any]:
        yield head(200, {"content-type": "text/event-stream"})
        for each in found:
            yield Chunk(sse(each))
        yield LAST_CHUNK

    return play


DELTAS = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.delta", "delta": "lo"}]
TOKENS = {
    "type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
}  # fmt: skip
STREAMS: dict[str, Behaviour] = {
    "openai": events(*DELTAS, {"type": "transcript.text.done", "text": "Hello", "usage": TOKENS}),
    "mistral": events(
        {"type": "transcription.language", "audio_language": "en"},
        {"type": "transcription.text.delta", "text": "Hel"},
        {"type": "transcription.text.delta", "text": "lo"},
        {
            "type": "transcription.done",
            "text": "Hello",
            "usage": {
                "prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17, "prompt_audio_seconds": 2,
                "prompt_tokens_details": {"audio_tokens": 10},
            },
        },
    ),
    "vllm": events(
        {"object": "transcription.chunk", "choices": [{"delta": {"content": "Hel"}}]},
        {"object": "transcription.chunk", "choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 14, "completion_tokens": 3, "prompt_tokens_details": {"audio_tokens": 10}},
        },
        "[DONE]",
    ),
    "one document": said("Hello", usage=TOKENS),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("upstream", STREAMS.values(), ids=STREAMS.keys())
async def test_a_stream_has_openais_events_whoever_sends_it(serve: Serve, upstream: Behaviour) -> None:
    async with serve({"acme": upstream}, MODEL) as gateway:
        reply = await ask(gateway, ('"stream"', b"true"))
        row = await gateway.row()

    *deltas, last = reply.documents
    assert reply.done
    assert "".join(each["delta"] for each in deltas) == last["text"] == "Hello"
    assert {each["type"] for each in deltas} == {"transcript.text.delta"}
    assert (last["type"], last["usage"]) == ("transcript.text.done", TOKENS)
    assert last["tresor"]["routed_model"] == "global/acme/m"
    assert received(gateway.upstreams["acme"].requests[0])[0]["stream"] == ["true"]
    assert (row.outcome, row.stream, row.prompt_tokens, row.completion_tokens) == (Outcome.OK, True, 14, 3)


@pytest.mark.anyio
async def test_a_stream_that_breaks_off_ends_with_an_error_and_one_without_content_fails_over(serve: Serve) -> None:
    async with serve({"acme": events(*DELTAS), "backup": said()}, BOTH) as gateway:
        broken = await ask(gateway, ('"stream"', b"true"))
        row = await gateway.row()
    async with serve({"acme": events(), "backup": STREAMS["openai"]}, BOTH) as gateway:
        left = await ask(gateway, ('"stream"', b"true"))

    assert not broken.done
    assert broken.error["code"] == "upstream_stream_truncated"
    assert row.outcome is Outcome.TRUNCATED
    assert left.documents[-1]["tresor"]["failover"] is True


BY_MINUTE = Route(provider="acme", model="test-model", per_minute=Decimal("0.006"), per_request=Decimal("0.001"))
PRICED = {"m": Model(routes=(BY_MINUTE,), type="transcription")}


@pytest.mark.anyio
@pytest.mark.parametrize(("usage", "minutes"), [({"type": "duration", "seconds": 90}, 9_000_000), (None, 150_000)])
async def test_minutes_are_paid_as_told_or_by_the_files_header(serve: Serve, usage: Any, minutes: int) -> None:
    """A minute is 0.006, a request 0.001: 90 seconds told; else the 1.5 seconds of the file."""
    cost = 1_000_000 + minutes
    more = {} if usage is None else {"usage": usage}
    async with serve({"acme": said(**more)}, PRICED) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert (row.cost, row.usage_source) == (cost, "reported")
    assert reply.json["tresor"]["cost"] == f"{cost / 1e9:.9f}".rstrip("0")


def test_the_official_sdk_reads_every_answer_of_the_sandbox(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that cannot hear."""
    monkeypatch.setattr(hearing, "can_hear", lambda: False)
    with serve.in_thread({"sandbox": SANDBOX}, {"m": ["sandbox"]}) as gateway:
        client = OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0)
        asked: Any = {"model": "sandbox::transcribe", "file": ("my talk.wav", sound(2, 16000, 2), "audio/wav")}
        plain = client.audio.transcriptions.create(**asked, extra_body={"region": "local"})
        text = client.audio.transcriptions.create(**asked, response_format="text")
        verbose = client.audio.transcriptions.create(
            **asked, response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        srt = client.audio.transcriptions.create(**asked, response_format="srt")
        with pytest.warns(DeprecationWarning, match="deprecated"):
            english = client.audio.translations.create(**asked)
        stream = list(client.audio.transcriptions.create(**asked, stream=True))
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(**asked, extra_body={"failover": ["m"]})
        rows = gateway.rows(6)

    found = "in the format wav, 2.00 seconds, 16000 Hz, 2 channels, 128,044 bytes."
    told = f"The sandbox cannot hear. It was given a sound {found}"
    assert plain.text == text.strip() == verbose.text == english.text == told
    assert (verbose.duration, verbose.segments[0].end) == (2.0, 2.0)
    assert srt.startswith("1\n00:00:00,000 --> 00:00:02,000\nThe sandbox")
    assert plain.usage.seconds == 2
    assert stream[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in stream[:-1]) == told
    assert refused.value.code == "invalid_failover"
    assert {row.endpoint for row in rows} == {"audio.transcriptions", "audio.translations"}


@pytest.mark.anyio
async def test_tokens_are_counted_in_every_providers_words(serve: Serve) -> None:
    usage = {
        "prompt_audio_seconds": 3, "prompt_tokens": 5, "total_tokens": 400, "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
    }  # fmt: skip
    async with serve({"acme": said(usage=usage)}, MODEL) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert (row.prompt_tokens, row.completion_tokens) == (380, 20)
    assert reply.json["usage"] == {
        "type": "tokens", "input_tokens": 380, "output_tokens": 20, "total_tokens": 400,
        "input_token_details": {"text_tokens": 5, "audio_tokens": 375},
    }  # fmt: skip


@pytest.mark.anyio
async def test_budgets_and_limits_hold_for_uploads_too(serve: Serve) -> None:
    async with serve({"acme": said()}, PRICED) as gateway:
        keys = gateway.gateway.keys
        poor = await keys.create(name="poor", budget=Budget(Decimal("0.001")))
        rich = await keys.create(name="rich", budget=Budget(Decimal("0.01")))
        slow = await keys.create(name="slow", limits=Limits(requests_per_minute=1))
        refused = await ask(gateway, authorization=f"Bearer {poor.key}")
        served = await ask(gateway, authorization=f"Bearer {rich.key}")
        first = await ask(gateway, authorization=f"Bearer {slow.key}")
        second = await ask(gateway, authorization=f"Bearer {slow.key}")

    assert (refused.status, refused.code) == (402, "insufficient_quota")
    assert served.status == first.status == 200
    assert (second.status, second.code) == (429, "rate_limit_exceeded")
    assert len(gateway.upstreams["acme"].requests) == 2


@pytest.mark.anyio
async def test_the_receipt_is_about_the_form_as_it_came_and_the_text_as_it_went(serve: Serve) -> None:
    body = form(ASKED, FILE)
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await send(gateway, body)
        row = await gateway.row()

    assert row.receipt is not None
    claims = json.loads(urlsafe_b64decode(row.receipt.split(".")[1] + "=="))
    salt = urlsafe_b64decode(claims["salt"] + "==")
    assert claims["receipt_type"] == "transcription"
    assert claims["request"]["wire"] == digest(salt, "request.wire", body)
    assert claims["request"]["jcs"] is None
    assert claims["response"]["wire"] == digest(salt, "response.wire", reply.body)
    content = b'[{"index":0,"text":"Hello there."}]'
    assert claims["response"]["content"] == digest(salt, "response.content", content)


@pytest.mark.anyio
async def test_the_gateways_own_fields_stay_here(serve: Serve) -> None:
    async with serve({"acme": said()}, MODEL) as gateway:
        reply = await ask(gateway, ('"episode_id"', b"x"), ('"tensorzero::tags[a]"', b"x"), ('"user"', b"someone"))
        row = await gateway.row()

    assert received(gateway.upstreams["acme"].requests[0])[0].keys() == {"model", "response_format", "file"}
    assert [each["param"] for each in reply.json["tresor"]["adjustments"]] == ["episode_id", "tensorzero::tags[a]"]
    assert row.end_user == "someone"


@pytest.mark.anyio
async def test_beyond_the_room_for_uploads_a_request_is_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    held = audio.Held()
    monkeypatch.setattr(audio, "MAX_HELD", 100)
    with held.room("one", 150):
        for customer in ("one", "two"):
            with pytest.raises(Problem, match="Too many uploads"), held.room(customer, 1):
                pass
    with held.room("one", 40), held.room("two", 40):
        with pytest.raises(Problem, match="Too many uploads"), held.room("one", 15):
            pytest.fail("one customer has more than half")
        with held.room("two", 10):
            assert held.size == 90
    assert held.size == 0

    async with serve({"acme": said()}, MODEL) as gateway:
        replies = [await ask(gateway) for _ in range(2)]
    assert [each.status for each in replies] == [200, 200], "what is over is given back"


@pytest.mark.anyio
async def test_a_provider_without_formats_is_asked_for_segments(serve: Serve) -> None:
    found = said(segments=[{"start": 0.1, "end": 0.9, "text": "Hi", "speaker_id": "s"}], language=None)
    async with ScriptedUpstream(default=found) as upstream:
        async with serve(
            {"voxtral": provider(upstream, "mistral")}, {"m": model("voxtral", type="transcription")}
        ) as gateway:
            srt = await ask(gateway, ('"response_format"', b"srt"), ('"prompt"', b"Names"))
            plain = await ask(gateway, ('"prompt"', b"Names"))
        fields = [received(each)[0] for each in upstream.requests]

    assert srt.body == b"1\n00:00:00,100 --> 00:00:00,900\nHi\n\n"
    assert fields[0]["timestamp_granularities[]"] == ["segment"]
    assert fields[1].keys() == {"model", "file"}
    assert [each["param"] for each in plain.json["tresor"]["adjustments"]] == ["prompt"]


RECORDED = Path(__file__).parents[3] / "shared" / "recorded"


@pytest.mark.anyio
@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings are not beside the project")
async def test_recorded_answers_of_real_providers_come_out_with_text_and_usage(serve: Serve) -> None:
    found = [json.loads(path.read_text()) for path in RECORDED.rglob("*.json")]
    found = [each for each in found if each["api"] == "transcriptions" and each["response"]["status"] == 200]
    assert found
    for each in found:
        document = json.loads(each["response"]["body"])
        async with serve({"acme": lambda _, it=document: json_answer(it)}, MODEL) as gateway:
            reply = await ask(gateway)
        assert reply.json["text"] == each["expect"]["text"]
        assert reply.json["usage"]["total_tokens"] == document["usage"]["total_tokens"]
