"""Reasoning of open tool loops: kept for clients that drop it (G16), put back where it came from, and nowhere else.

Where the database fails, requests go on without it (H22).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, delete, select, update
from tests.gateway import PEPPER, Running, Serve, model
from tests.postgres import PostgresServer
from tests.relay.loops import (
    BEDROCK,
    CALLS,
    CLAUDE,
    DEEPSEEK,
    GEMINI,
    MISTRAL,
    QUESTION,
    SECRET,
    THOUGHT,
    WEATHER,
    WIRES,
    Json,
    Wire,
    ask,
    at,
    blocks,
    forget,
    kept,
    loop,
    parts,
    result,
    sent,
    serving,
)

from sealgate.auth.keys import KeyStore
from sealgate.auth.seal import Seal
from sealgate.config import Model, Reasoning, Storage
from sealgate.errors import StorageError
from sealgate.relay import recall as recalls
from sealgate.relay.recall import Kept
from sealgate.storage import open_storage
from sealgate.storage.tables import metadata, reasoning_state
from sealgate.testing import Behaviour, ScriptedUpstream, answer, cut_after, error, tool
from sealgate.testing.anthropic_wire import Message, message_error, thinking, tool_use
from sealgate.testing.gemini_wire import function_call
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, Hang, Step, head, json_answer, resolve, sse

anyio = pytest.mark.anyio
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


# Put back


@anyio
@either
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_a_client_that_drops_reasoning_goes_on_as_if_it_had_not(serve: Serve, wire: Wire, stream: bool) -> None:
    async with (
        wire.upstream() as upstream,
        serving(serve, wire, upstream) as gateway,
    ):
        await loop(gateway, stream=stream)
        forget(gateway)
        await loop(gateway, stream=stream)
        assert await kept(gateway) == 2
    first, second, _, fourth = sent(upstream)
    assert wire.wanted not in wire.shown(first)
    assert wire.shown(second).count(wire.wanted) == 1
    assert wire.shown(fourth).count(wire.wanted) == 1


@anyio
@pytest.mark.parametrize("wire", [CLAUDE, GEMINI, DEEPSEEK], ids=lambda wire: wire.kind)
async def test_the_caller_is_told_what_was_put_back(serve: Serve, wire: Wire) -> None:
    async with wire.upstream() as upstream, serving(serve, wire, upstream) as gateway:
        said = await ask(gateway, [QUESTION], stream=False)
        reply = await gateway.post(
            "/v1/chat/completions",
            {"model": "m", "tools": [WEATHER], "messages": [QUESTION, said, result(said)]},
        )
    told = [each for each in reply.tresor["adjustments"] if each["detail"] == recalls.PUT_BACK]
    [needed] = gateway.hall.catalog.models["m"].routes[0].account.kind.replays
    assert told == [{"param": f"messages[].{needed}", "action": "repaired", "detail": recalls.PUT_BACK}]


@anyio
@either
async def test_it_comes_from_memory_where_the_same_process_answers(serve: Serve, stream: bool) -> None:
    """And an answer that came without reasoning is remembered as such, so that nobody looks for it."""
    bare = Message(blocks=[tool_use("weather", {"city": "Bern"}, call_id="toolu_8")])
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        reads = counted_reads(gateway)
        await loop(gateway, stream=stream)
        upstream.enqueue(bare)
        await loop(gateway, stream=stream)
        assert (reads, await kept(gateway)) == ([], 1)
    _, second, _, fourth = sent(upstream)
    assert CLAUDE.wanted in blocks(second)
    assert [block["type"] for block in blocks(fourth)] == ["tool_use"]


def counted_reads(gateway: Running) -> list[Any]:
    """Names looked up in the database from now on."""
    recall, found = gateway.hall.recall, list[Any]()
    find = recall.find

    async def counting(names: Any) -> Any:
        found.append(names)
        return await find(names)

    recall.find = counting  # type: ignore[method-assign]
    return found


@anyio
async def test_a_long_loop_gets_all_of_it_back_each_at_its_place(serve: Serve) -> None:
    """Several rounds, and a picture shown behind a result as the user's: still the same loop."""

    def turn(number: int) -> Message:
        return Message(blocks=[thinking(f"Thought {number}", f"S{number}"),
                               tool_use("weather", {"n": number}, call_id=f"toolu_{number}")])  # fmt: skip

    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        messages = [QUESTION]
        for number in range(4):
            upstream.enqueue(turn(number))
            said = await ask(gateway, messages, stream=number % 2 == 0)
            messages += [said, {**result(said), "content": "not yet"}]
            if number == 1:
                messages.append({"role": "user", "content": "(the picture)"})
            forget(gateway)
        reads = counted_reads(gateway)
        await ask(gateway, messages, stream=False)
        assert len(reads) == 1
    shown = [block.get("signature") or block["id"] for block in blocks(sent(upstream)[-1])]
    assert shown == ["S0", "toolu_0", "S1", "toolu_1", "S2", "toolu_2", "S3", "toolu_3"]


@anyio
async def test_parallel_calls_have_one_reasoning_whatever_their_order(serve: Serve) -> None:
    both = [tool_use("weather", {"city": city}, call_id=f"toolu_{city}") for city in ("Bern", "Chur")]
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        upstream.enqueue(Message(blocks=[thinking(THOUGHT, SECRET), *both]))
        said = await ask(gateway, [QUESTION], stream=True)
        said["tool_calls"].reverse()
        forget(gateway)
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"} for call in said["tool_calls"]]
        await ask(gateway, [QUESTION, said, *results], stream=True)
        assert await kept(gateway) == 1
    assert [block["type"] for block in blocks(sent(upstream)[1])] == ["thinking", "tool_use", "tool_use"]


@anyio
@either
async def test_each_choice_has_its_own(serve: Serve, stream: bool) -> None:
    """Of a streamed answer with several choices, whatever the order of their pieces."""
    async with (
        GEMINI.upstream() as upstream,
        serving(serve, GEMINI, upstream) as gateway,
    ):
        upstream.enqueue(_two_candidates)
        await gateway.chat(QUESTION["content"], tools=[WEATHER], n=2, stream=stream)
        assert await kept(gateway) == 2
        for number in (0, 1):
            said = {"role": "assistant", "content": None, "tool_calls": [{**CALLS[0], "id": f"g{number}"}]}
            await ask(gateway, [QUESTION, said, result(said)], stream=False)
    one, two = sent(upstream)[1:]
    assert [part["thoughtSignature"] for part in parts(one) + parts(two)] == ["S0", "S1"]


def _two_candidates(received: Received) -> Iterator[Step]:
    content = [
        {"role": "model", "parts": [function_call("weather", {"city": "Bern"}, call_id=f"g{number}",
                                                  signature=f"S{number}")]} for number in (0, 1)
    ]  # fmt: skip
    found = [{"index": number, "content": each, "finishReason": "STOP"} for number, each in enumerate(content)]
    document = {"candidates": found, "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}
    if "stream" not in received.path:
        yield from json_answer(document)
        return
    yield head(200, {"content-type": "text/event-stream"})
    for each in reversed(found):
        yield Chunk(sse({**document, "candidates": [each]}))
    yield LAST_CHUNK


@anyio
async def test_a_model_that_thinks_by_budget_goes_on_thinking(serve: Serve) -> None:
    """Without its signed thinking the provider would refuse to, and the effort would be dropped."""
    wire = dataclasses.replace(CLAUDE, model="claude-sonnet-4-5")
    async with wire.upstream() as upstream, serving(serve, wire, upstream) as gateway:
        said = await ask(gateway, [QUESTION], stream=False, reasoning_effort="high")
        await ask(gateway, [QUESTION, said, result(said)], stream=False, reasoning_effort="high")
        forget(gateway)
        await gateway.hall.storage.write(lambda connection: connection.execute(delete(reasoning_state)) and None)
        await ask(gateway, [QUESTION, said, result(said)], stream=False, reasoning_effort="high")
    assert ["thinking" in each for each in sent(upstream)] == [True, True, False]


# Not put back


@anyio
@either
@pytest.mark.parametrize("other", [GEMINI, BEDROCK, DEEPSEEK, CLAUDE], ids=lambda wire: wire.kind)
async def test_another_provider_never_gets_it(serve: Serve, other: Wire, stream: bool) -> None:
    """Neither after a failover, another account of the same provider included, nor where the caller asks elsewhere."""
    async with CLAUDE.upstream() as one, other.upstream() as two:
        rows = {"acme": CLAUDE.at(one), "backup": other.at(two)}
        models = {
            "m": Model(routes=(*at("acme", CLAUDE).routes, *at("backup", other).routes)),
            "o": at("backup", other),
        }
        async with serve(rows, models) as gateway:
            said = await ask(gateway, [QUESTION], stream=stream)
            messages = [QUESTION, said, result(said)]
            one.enqueue(error(529))
            await ask(gateway, messages, stream=stream)
            await ask(gateway, messages, stream=stream, model="o")
            assert await kept(gateway) == 1
    assert CLAUDE.wanted in blocks(sent(one)[1])
    assert len(sent(two)) == 2
    for received in two.requests:
        assert SECRET.encode() not in received.body
        assert THOUGHT.encode() not in received.body


@anyio
async def test_another_model_of_the_same_account_does_not_get_it(serve: Serve) -> None:
    async with CLAUDE.upstream() as upstream:
        models = {"m": at("acme", CLAUDE), "o": model("acme", upstream_model="claude-opus-4-6")}
        async with serve({"acme": CLAUDE.at(upstream)}, models) as gateway:
            await loop(gateway, model="o")
    assert SECRET.encode() not in upstream.requests[1].body


@anyio
@pytest.mark.parametrize(
    "own",
    [
        {"reasoning_details": [{"type": "thinking", "thinking": "Mine", "signature": "own"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "own", "format": "anthropic-claude-v1"}]},
    ],
)
async def test_what_the_caller_sends_wins(serve: Serve, own: Json) -> None:
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        reads = counted_reads(gateway)
        said = await ask(gateway, [QUESTION], stream=False)
        forget(gateway)
        await ask(gateway, [QUESTION, {**said, **own}, result(said)], stream=False)
        assert reads == []
    body = upstream.requests[1].body
    assert b"own" in body
    assert SECRET.encode() not in body


@anyio
@pytest.mark.parametrize("wire", [DEEPSEEK, MISTRAL], ids=lambda wire: wire.kind)
async def test_reasoning_of_the_callers_own_wins_where_it_is_text(serve: Serve, wire: Wire) -> None:
    async with wire.upstream() as upstream, serving(serve, wire, upstream) as gateway:
        said = await ask(gateway, [QUESTION], stream=False)
        await ask(gateway, [QUESTION, {**said, "reasoning_content": "Mine"}, result(said)], stream=False)
    body = upstream.requests[1].body
    assert b"Mine" in body
    assert THOUGHT.encode() not in body


@anyio
async def test_readable_reasoning_alone_is_completed_where_a_signature_is_wanted(serve: Serve) -> None:
    """Many clients send back what they could read and show."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        await ask(gateway, [QUESTION, {**said, "reasoning_content": THOUGHT}, result(said)], stream=False)
    assert blocks(sent(upstream)[1])[0] == CLAUDE.wanted


@anyio
@pytest.mark.parametrize(
    "before",
    [
        pytest.param([{"role": "user", "content": "Another question?"}], id="another conversation with the same ids"),
        pytest.param([QUESTION, {"role": "assistant", "content": "Fine."}, {"role": "user", "content": "And Chur?"}],
                     id="a later question"),
    ],
)  # fmt: skip
async def test_an_id_alone_is_not_enough(serve: Serve, before: list[Json]) -> None:
    """Some providers number their calls, so ids come again in other conversations of the same customer."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        await ask(gateway, [*before, said, result(said)], stream=False)
    assert SECRET.encode() not in upstream.requests[1].body


@anyio
async def test_it_is_put_back_once_where_an_id_stands_twice(serve: Serve) -> None:
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        await ask(gateway, [QUESTION, said, result(said), said, result(said)], stream=False)
    assert [block["type"] for block in blocks(sent(upstream)[1])] == ["tool_use", "thinking", "tool_use"]


@anyio
async def test_a_closed_loop_is_not_completed(serve: Serve) -> None:
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        reads = counted_reads(gateway)
        said = await ask(gateway, [QUESTION], stream=False)
        done = [QUESTION, said, result(said), {"role": "assistant", "content": "18 degrees."}]
        await ask(gateway, [*done, {"role": "user", "content": "Thanks"}], stream=False)
        assert reads == []
    assert SECRET.encode() not in upstream.requests[1].body


@anyio
async def test_the_text_that_opened_the_loop_may_change_its_form(serve: Serve) -> None:
    """Marks for caches wander through a conversation, and a text becomes a part for one."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        marked = {"type": "text", "text": QUESTION["content"], "cache_control": {"type": "ephemeral"}}
        said = await ask(gateway, [{"role": "user", "content": [marked]}], stream=False)
        await ask(gateway, [QUESTION, said, result(said)], stream=False)
    assert CLAUDE.wanted in blocks(sent(upstream)[1])


@anyio
@either
async def test_nothing_is_kept_where_it_is_switched_off(serve: Serve, stream: bool) -> None:
    async with CLAUDE.upstream() as upstream:
        off = Reasoning(keep_seconds=0)
        async with serving(serve, CLAUDE, upstream, reasoning=off) as gateway:
            await loop(gateway, stream=stream)
            assert await kept(gateway) == 0
            assert gateway.hall.recall._cache == {}
    assert SECRET.encode() not in upstream.requests[1].body


@anyio
@either
@pytest.mark.parametrize(
    ("wire", "behaviour", "fields"),
    [
        (CLAUDE, Message(blocks=[thinking(THOUGHT, SECRET)], text="Hello"), {}),
        (CLAUDE, Message(blocks=[tool_use("weather", {}, call_id="toolu_9")]), {}),
        (CLAUDE, CLAUDE.calls, {"tools": None}),
        (DEEPSEEK, answer("Hello", reasoning=THOUGHT), {}),
        (DEEPSEEK, cut_after(2, base=DEEPSEEK.calls), {}),
    ],
    ids=["no call", "no reasoning", "no tools", "text", "broken off"],
)
async def test_nothing_is_kept_of_what_opens_no_loop(
    serve: Serve, wire: Wire, behaviour: Behaviour, fields: Json, stream: bool
) -> None:
    async with (
        ScriptedUpstream(handler=lambda _: behaviour) as upstream,
        serving(serve, wire, upstream) as gateway,
    ):
        await gateway.chat(stream=stream, **{"tools": [WEATHER], **fields})
        await gateway.row()
        assert await kept(gateway) == 0


@anyio
async def test_nothing_is_kept_for_a_provider_that_wants_nothing_back(serve: Serve) -> None:
    calls = answer(reasoning=THOUGHT, tool_calls=[tool("weather", {"city": "Bern"})])
    async with serve({"acme": calls}) as gateway:
        reads = counted_reads(gateway)
        await loop(gateway)
        assert (await kept(gateway), reads) == (0, [])


# Refused


@anyio
@either
async def test_a_provider_that_refuses_what_was_put_back_is_asked_without_it(serve: Serve, stream: bool) -> None:
    """Signatures may be bound to more than we know; the caller did nothing wrong. Not put back again, either."""
    refusal = message_error(400, text="messages.1.content.0: Invalid `signature` in `thinking` block")
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        first = await ask(gateway, [QUESTION], stream=stream)
        more = Message(blocks=[thinking("More", "S2"), tool_use("weather", {}, call_id="toolu_8")])
        upstream.enqueue(refusal, more)
        messages = [QUESTION, first, result(first)]
        second = await ask(gateway, messages, stream=stream)
        await ask(gateway, [*messages, second, result(second)], stream=stream)
        assert [row.outcome for row in await gateway.rows(3)] == ["ok", "ok", "ok"]
    shown = [[block["type"] for block in blocks(each)] for each in sent(upstream)[1:]]
    assert shown == [["thinking", "tool_use"], ["tool_use"], ["tool_use", "thinking", "tool_use"]]


@anyio
@pytest.mark.parametrize(
    ("status", "text", "count"),
    [(400, "messages.1: tool_use ids must be unique", 1), (413, "thinking is too long", 1),
     (400, "Expected `thinking`", 2)],
)  # fmt: skip
async def test_other_refusals_reach_the_caller_at_once_and_the_last_one_in_the_end(
    serve: Serve, status: int, text: str, count: int
) -> None:
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        upstream.enqueue(*[message_error(status, text=text)] * 4)
        body = {"model": "m", "tools": [WEATHER], "messages": [QUESTION, said, result(said)]}
        reply = await gateway.post("/v1/chat/completions", body)
        assert (reply.status, len(upstream.requests) - 1) == (status, count)


# Time


@anyio
async def test_it_is_gone_after_its_time(serve: Serve) -> None:
    """From memory and from the database alike, and the parts of a loop together."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        clock = Clock(gateway)
        first = await ask(gateway, [QUESTION], stream=False)
        clock.seconds += 3000
        upstream.enqueue(Message(blocks=[thinking("More", "S2"), tool_use("weather", {}, call_id="toolu_8")]))
        second = await ask(gateway, [QUESTION, first, result(first)], stream=False)
        clock.seconds += 601
        messages = [QUESTION, first, result(first), second, result(second)]
        await ask(gateway, messages, stream=False)
        assert await gateway.hall.recall.sweep() == 2
        assert gateway.hall.recall._cache == {}
        clock.seconds = 0
        await ask(gateway, messages, stream=False)
    assert CLAUDE.wanted in blocks(sent(upstream)[1])
    for received in upstream.requests[2:]:
        assert b"signature" not in received.body


class Clock:
    """The clock of what is kept, ahead by ``seconds``."""

    def __init__(self, gateway: Running) -> None:
        self.seconds = 0
        self._now = gateway.hall.recall.now
        gateway.hall.recall.now = lambda: self._now() + self.seconds * 1_000_000


@anyio
async def test_a_shorter_time_holds_for_what_is_kept_already(serve: Serve, tmp_path: Path) -> None:
    """Also a configuration that switches it off: then all of it is deleted."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        settings = gateway.hall.settings
        await ask(gateway, [QUESTION], stream=False)
        off = Reasoning(keep_seconds=0)
        await gateway.gateway.reload(lambda: msgspec.structs.replace(settings, reasoning=off))
        await gateway.hall.recall.sweep()
        assert await kept(gateway) == 0
        await gateway.gateway.reload(lambda: settings)
        await loop(gateway)
        assert await kept(gateway) == 1


# The database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either engine, for several gateways."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create()


async def customers_keys(url: str, *customers: str) -> list[str]:
    storage = await asyncio.to_thread(open_storage, url)
    try:
        keys = KeyStore(storage, PEPPER.encode())
        return [(await keys.create(name="key", customer=customer)).key for customer in customers]
    finally:
        await storage.aclose()


def replica(serve: Serve, wire: Wire, upstream: ScriptedUpstream, url: str, folder: Path, **tables: Any) -> Any:
    return serving(serve, wire, upstream, storage=Storage(url=url, data_dir=str(folder)), **tables)


@anyio
@either
async def test_another_replica_knows_it_and_another_customer_does_not(
    serve: Serve, database: str, tmp_path: Path, stream: bool
) -> None:
    [mine, others] = await customers_keys(database, "acme", "other")
    async with (
        CLAUDE.upstream() as upstream,
        replica(serve, CLAUDE, upstream, database, tmp_path) as one,
        replica(serve, CLAUDE, upstream, database, tmp_path) as two,
    ):
        said = await ask(one, [QUESTION], stream=stream, key=mine)
        messages = [QUESTION, said, result(said)]
        await ask(two, messages, stream=stream, key=mine)
        for gateway in (one, two):
            await ask(gateway, messages, stream=stream, key=others)
        assert await kept(two) == 1
    _, second, *foreign = sent(upstream)
    assert blocks(second)[0] == CLAUDE.wanted
    assert [[block["type"] for block in blocks(each)] for each in foreign] == [["tool_use"], ["tool_use"]]


@anyio
async def test_a_replica_with_another_pepper_cannot_read_it(serve: Serve, tmp_path: Path) -> None:
    """As whoever steals the database: what is in it opens with the pepper only."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        forget(gateway)
        gateway.hall.recall.seal = Seal(b"another pepper of the same length", recalls.PURPOSE)
        await ask(gateway, [QUESTION, said, result(said)], stream=False)
    assert SECRET.encode() not in upstream.requests[1].body


@anyio
async def test_what_stands_under_another_name_does_not_open(serve: Serve) -> None:
    """Rows changed by hand, or a mistake of ours: the content is bound to all that it was kept under."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        upstream.enqueue(Message(blocks=[thinking("Other", "S2"), tool_use("weather", {}, call_id="toolu_8")]))
        await ask(gateway, [QUESTION], stream=False)
        forget(gateway)

        def swap(connection: Connection) -> None:
            rows = connection.execute(select(reasoning_state)).mappings().all()
            for row, other in zip(rows, reversed(rows), strict=True):
                mine = reasoning_state.c.name == row["name"]
                connection.execute(update(reasoning_state).where(mine).values(sealed=other["sealed"]))

        await gateway.hall.storage.write(swap)
        await ask(gateway, [QUESTION, said, result(said)], stream=False)
    assert [block["type"] for block in blocks(sent(upstream)[2])] == ["tool_use"]


@anyio
async def test_what_is_too_old_is_deleted_a_few_rows_at_a_time_and_nothing_else(
    serve: Serve, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalls, "SWEEP_ROWS", 2)
    [key] = await customers_keys(database, "acme")
    async with CLAUDE.upstream() as upstream, replica(serve, CLAUDE, upstream, database, tmp_path) as gateway:
        clock = Clock(gateway)
        for number in range(5):
            await ask(gateway, [{"role": "user", "content": f"Question {number}"}], stream=False, key=key)
        clock.seconds = 3000
        await ask(gateway, [QUESTION], stream=False, key=key)
        clock.seconds = 3601
        before = gateway.hall.storage.commits
        assert await gateway.hall.recall.sweep() == 5
        assert (await kept(gateway), gateway.hall.storage.commits - before) == (1, 3)
        assert await gateway.hall.recall.sweep() == 0
        assert gateway.hall.storage.commits - before == 3


@anyio
async def test_the_sweeper_goes_on_after_the_database_failed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "SWEEP_SECONDS", 0.01)
    async with CLAUDE.upstream() as upstream, serving(serve, CLAUDE, upstream) as gateway:
        clock = Clock(gateway)
        await ask(gateway, [QUESTION], stream=False)
        await gateway.hall.recall.aclose()
        read, failures = gateway.hall.storage.read, [StorageError("gone"), StorageError("gone")]

        async def failing(fn: Any) -> Any:
            if failures:
                raise failures.pop()
            return await read(fn)

        gateway.hall.storage.read = failing  # type: ignore[method-assign]
        clock.seconds = 3601
        gateway.hall.recall.start()
        async with asyncio.timeout(5):
            while failures or await kept(gateway):  # noqa: ASYNC110 - nobody tells of a row
                await asyncio.sleep(0.005)


@anyio
@pytest.mark.parametrize("wire", [CLAUDE, GEMINI, DEEPSEEK], ids=lambda wire: wire.kind)
async def test_nothing_of_it_can_be_read_in_the_database(
    serve: Serve, wire: Wire, database: str, tmp_path: Path
) -> None:
    """Not the reasoning, its signature, the question or the id of the call: in no column, and in no file."""
    [key] = await customers_keys(database, "acme")
    async with wire.upstream() as upstream, replica(serve, wire, upstream, database, tmp_path / "1") as gateway:
        said = await ask(gateway, [QUESTION], stream=True, key=key)
        found = await gateway.hall.storage.read(_everything) + _files(tmp_path)
        assert await kept(gateway) == 1
    found += _files(tmp_path)
    for secret in (SECRET, THOUGHT, THOUGHT[:12], QUESTION["content"], said["tool_calls"][0]["id"]):
        assert not any(secret.encode() in data for data in found), secret


def _everything(connection: Connection) -> list[bytes]:
    """All values of all tables."""
    rows = [row for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("shared.db*")]


@anyio
async def test_it_is_in_the_commit_of_the_answers_own_row(serve: Serve) -> None:
    """So it is there for every replica before the caller has its last bytes, and costs no commit of its own."""
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        await gateway.chat()
        commits: dict[bool, list[int]] = {True: [], False: []}
        for number in range(20):
            before = gateway.hall.storage.commits
            await gateway.chat(tools=[WEATHER], stream=number % 2 == 0)
            commits[number % 2 == 0].append(gateway.hall.storage.commits - before)
            assert await kept(gateway) == number + 1
        assert {min(each) for each in commits.values()} == {1}, "what the house does now and then commits beside it"


@anyio
async def test_a_client_that_leaves_at_the_finish_chunk_can_go_on(serve: Serve) -> None:
    """Many stop to read there, before the provider has ended its stream."""

    def without_end(received: Received) -> Iterator[Step]:
        for step in resolve(CLAUDE.calls, received):
            if isinstance(step, Chunk) and b"message_stop" in step.data:
                yield Hang()
            yield step

    async with (
        ScriptedUpstream(handler=lambda _: without_end) as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        async with gateway.client() as client:
            await gateway.begin(client, tools=[WEATHER], stream=True)
            response = await client.response()
            async for event in response.events():
                if event.json["choices"][0]["finish_reason"]:
                    break
        assert (await gateway.row()).outcome == "client_disconnected"
        async with asyncio.timeout(20):  # nobody waits for either, so they may be two commits
            while await kept(gateway) == 0:  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.005)
        assert await kept(gateway) == 1


@anyio
@pytest.mark.parametrize("trouble", [StorageError("gone"), None], ids=["fails", "hangs"])
async def test_where_the_database_cannot_be_asked_the_request_goes_on_without(
    serve: Serve, trouble: StorageError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalls, "LOOKUP_SECONDS", 0.02)

    async def fail(_: Any) -> Any:
        if trouble is None:
            await asyncio.Event().wait()
        raise trouble or AssertionError

    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        forget(gateway)
        read = gateway.hall.storage.read
        gateway.hall.storage.read = fail  # type: ignore[method-assign]
        await ask(gateway, [QUESTION, said, result(said)], stream=False)
        gateway.hall.storage.read = read  # type: ignore[method-assign]
    assert [block["type"] for block in blocks(sent(upstream)[1])] == ["tool_use"]


@anyio
async def test_a_row_that_the_database_refuses_does_not_cost_the_answer(serve: Serve) -> None:
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        gateway.hall.recall.now = lambda: 1_900_000_000_000_000
        await ask(gateway, [QUESTION], stream=False)
        await ask(gateway, [QUESTION], stream=False)
        assert (await kept(gateway), gateway.hall.storage.lost_appends) == (1, 1)
        assert len(await gateway.rows(2)) == 2


# Memory


@anyio
async def test_memory_is_bounded_by_bytes_and_by_number(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "CACHE_BYTES", 100)
    monkeypatch.setattr(recalls, "CACHE_ENTRIES", 3)
    async with serve({"acme": answer()}) as gateway:
        recall = gateway.hall.recall
        now = recall.now()
        for number in range(5):
            recall.remember(b"%d" % number, Kept(now, bytes(10)))
        assert list(recall._cache) == [b"2", b"3", b"4"]
        recall.remember(b"big", Kept(now, bytes(85)))
        assert list(recall._cache) == [b"4", b"big"]
        recall.remember(b"4", Kept(now, None))
        assert (list(recall._cache), recall._cached_bytes) == ([b"big", b"4"], 85)
        recall.remember(b"huge", Kept(now, bytes(101)))
        assert (recall._cache, recall._cached_bytes) == ({}, 0)


@anyio
async def test_longer_reasoning_than_the_bound_is_not_kept(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "MAX_BYTES", 10)
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        await loop(gateway)
        assert await kept(gateway) == 0


@anyio
async def test_a_loop_with_too_many_calls_is_not_looked_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "MAX_CALLS", 1)
    async with (
        CLAUDE.upstream() as upstream,
        serving(serve, CLAUDE, upstream) as gateway,
    ):
        said = await ask(gateway, [QUESTION], stream=False)
        other = {"role": "assistant", "content": None, "tool_calls": CALLS}
        await ask(gateway, [QUESTION, other, result(other), said, result(said)], stream=False)
    assert SECRET.encode() not in upstream.requests[1].body
