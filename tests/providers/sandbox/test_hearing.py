"""The sandbox listens: speech through a whole gateway, in bounds, without holding anybody up."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any

import pytest
from openai import OpenAI
from tests.api.test_audio import PATH, SANDBOX, form, send, sound
from tests.gateway import Serve
from tests.providers.sandbox.test_recogniser import SPOKEN, needs_speech, packed, speech, wav

from sealgate.formats.sound import Sound
from sealgate.limits.ledger import Outcome
from sealgate.providers.sandbox import hearing
from sealgate.providers.sandbox.recogniser import Segment, Word

ASKED = ('"model"', b"sandbox::transcribe")
MODEL = {"m": ["sandbox"]}
HEARD = [
    Segment(0.5, 1.0, "hello there", [Word("hello", 0.5, 0.8), Word("there", 0.8, 1.0)]),
    Segment(2.0, 2.4, "bye", [Word("bye", 2.0, 2.4)]),
]


def program(code: str) -> tuple[str, ...]:
    """Another program in the recogniser's place."""
    return (sys.executable, "-I", "-c", code)


def hears(monkeypatch: pytest.MonkeyPatch, code: str | None = None) -> None:
    monkeypatch.setattr(hearing, "can_hear", lambda: True)
    if code is not None:
        monkeypatch.setattr(hearing, "PROGRAM", program(code))


SAYS = "import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write(%r)"


def says(monkeypatch: pytest.MonkeyPatch, segments: Any = None) -> None:
    import msgspec

    hears(monkeypatch, SAYS % msgspec.json.encode(HEARD if segments is None else segments))


@needs_speech
def test_the_official_sdk_gets_the_words_of_real_speech_from_the_sandbox(serve: Serve) -> None:
    samples = speech()
    file = io.BytesIO(wav(packed(samples, "16")[0]))
    file.name = "speech.wav"
    with serve.in_thread({"sandbox": SANDBOX}, MODEL) as gateway:
        client = OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0, timeout=55)
        found: Any = client.audio.transcriptions.create(
            model="sandbox::transcribe", file=file, response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )  # fmt: skip

    assert found.text == SPOKEN
    assert [each.word for each in found.words] == SPOKEN.split()
    assert found.segments[0].start > 0
    assert found.duration == pytest.approx(len(samples) / 16000, abs=0.01)


@pytest.mark.anyio
async def test_what_was_heard_comes_in_every_format(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch)
    file = ('"file"; filename="a.wav"', sound(3))
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        plain = await send(gateway, form(ASKED, file))
        subtitles = await send(gateway, form(ASKED, file, ('"response_format"', b"srt")))
        stream = await send(gateway, form(ASKED, file, ('"stream"', b"true")))
        english = await send(gateway, form(ASKED, file, ('"language"', b"en")), path="/v1/audio/translations")

    assert plain.json["text"] == english.json["text"] == stream.documents[-1]["text"] == "hello there bye"
    assert "00:00:00,500 --> 00:00:01,000\nhello there" in subtitles.body.decode()
    assert "00:00:02,000 --> 00:00:02,400\nbye" in subtitles.body.decode()


@pytest.mark.anyio
async def test_silence_is_an_empty_transcript(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, [])
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        for more in [], [('"stream"', b"true")], [('"response_format"', b"vtt")]:
            reply = await send(gateway, form(ASKED, ('"file"; filename="a.wav"', sound()), *more))
            assert reply.status == 200, reply.body


@pytest.mark.parametrize(("found", "language", "why"), [
    (Sound("wav", 1000), "", None),
    (Sound("wav", 1000), "en", None),
    (Sound("wav", 1000), "en-US", None),
    (Sound("wav", None), "", None),
    (Sound("wav", 1000), "de", "English only"),
    (Sound("mp3", 1000), "", "WAV files only"),
    (None, "", "WAV files only"),
    (Sound("wav", 301_000), "", "5 minutes"),
])  # fmt: skip
def test_what_is_not_listened_to_is_said(found: Sound | None, language: str, why: str | None) -> None:
    said = hearing.deaf_to(found, language)

    assert said is None if why is None else why in str(said)


@pytest.mark.anyio
@pytest.mark.parametrize("code", [
    "import sys; sys.exit(2)",
    "import os; os.kill(os.getpid(), 9)",
    SAYS % b"not JSON",
    SAYS % b"[{}]",
    "pass",
], ids=["unreadable", "killed", "not JSON", "no segments", "does not even read"])  # fmt: skip
async def test_a_recogniser_that_fails_leaves_an_honest_description(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    hears(monkeypatch, code)
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        reply = await send(gateway, form(ASKED, ('"file"; filename="a.wav"', sound(60))))

    assert reply.status == 200
    assert reply.json["text"].startswith("The sandbox could not listen to this. It was given a sound in the format wav")


@pytest.mark.anyio
async def test_a_program_that_cannot_be_started_is_no_500(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    hears(monkeypatch)
    monkeypatch.setattr(hearing, "PROGRAM", ("/nowhere/python",))
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        reply = await send(gateway, form(ASKED, ('"file"; filename="a.wav"', sound())))

    assert reply.json["text"].startswith("The sandbox could not listen to this.")


@pytest.mark.anyio
async def test_listening_has_an_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    hears(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(hearing, "PATIENCE", 0.2)
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        reply = await send(gateway, form(ASKED, ('"file"; filename="a.wav"', sound())))

    assert reply.json["text"].startswith("The sandbox could not listen to this.")


@pytest.mark.anyio
async def test_while_the_sandbox_listens_everybody_else_is_served(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever leaves takes the process along."""
    hears(monkeypatch, "import time; time.sleep(600)")
    processes: list[Any] = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Any:
        processes.append(await start(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(hearing.asyncio, "create_subprocess_exec", noted)
    async with serve({"sandbox": SANDBOX}, MODEL) as gateway:
        client = gateway.client()
        async with client:
            body = form(ASKED, ('"file"; filename="a.wav"', sound()))
            kind = {"content-type": "multipart/form-data; boundary=XyZ"}
            await client.post(PATH, body, {**gateway.headers, **kind})
            async with asyncio.timeout(20):
                while not processes:  # noqa: ASYNC110 - nobody tells of a process
                    await asyncio.sleep(0.005)
            reply = await gateway.chat(model="sandbox::echo")
            assert reply.status == 200
        async with asyncio.timeout(20):
            await processes[0].wait()
        rows = await gateway.rows(2)

    assert {row.outcome for row in rows} == {Outcome.OK, Outcome.CLIENT_DISCONNECTED}
    assert processes[0].returncode == -9


@pytest.mark.anyio
async def test_one_sound_is_listened_to_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch)
    under_way, most = [0], [0]
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Any:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        return await start(*arguments, **options)

    async def ended(process: Any) -> None:
        under_way[0] -= 1

    monkeypatch.setattr(hearing.asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(hearing, "_ended", ended)
    found = await asyncio.gather(*(hearing.hear(b"") for _ in range(3)))

    assert found == [HEARD] * 3
    assert most == [1]


def test_without_the_library_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing.importlib.util, "find_spec", lambda _: None)
    assert not hearing.can_hear()
