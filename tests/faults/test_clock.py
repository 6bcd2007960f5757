"""The wall clock steps by an hour while the gateway runs: nothing that lasts takes notice (rows D13, P29)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import served
from tests.faults.program import rows
from tests.gateway import CHAT, Reply, Serve, read_reply

from sealgate.config import Timeouts
from sealgate.formats.ids import uuid7_milliseconds
from sealgate.testing import RawClient, RawResponse, Received, ScriptedUpstream, Step, WaitFor, answer, silent

pytestmark = pytest.mark.anyio

HOUR = 3600
LIMIT = 0.3
"""The limit on a whole answer that never comes, in seconds."""

CONFIG = """
[server]
discover = false
[storage]
data_dir = "data"
[timeouts]
total = 60
gap = 60
[providers.acme]
kind = "openai"
base_url = "{acme}"
api_key = "none"
[providers.silent]
kind = "openai"
base_url = "{silent}"
api_key = "none"
[models.m]
routes = [{{ provider = "acme", model = "test-model" }}]
[models.late]
routes = [{{ provider = "silent", model = "test-model" }}]
"""


def held(go: asyncio.Event) -> Callable[[Received], Iterator[Step]]:
    """A stream that stops after a few events until it may go on."""

    def script(received: Received) -> Iterator[Step]:
        for number, step in enumerate(answer()(received)):
            if received.streams and number == 3:
                yield WaitFor(go)
            yield step

    return script


@dataclass
class Caller:
    """Asks a gateway."""

    port: int
    key: str

    async def begin(self, client: RawClient, limit: float | None = None, **fields: Any) -> RawResponse:
        body = {"messages": [{"role": "user", "content": "Hello"}], **fields}
        headers = {"authorization": f"Bearer {self.key}"}
        await client.post(CHAT, body, headers | ({} if limit is None else {"x-stainless-read-timeout": str(limit)}))
        return await client.response()

    async def ask(self, limit: float | None = None, **fields: Any) -> Reply:
        async with RawClient("127.0.0.1", self.port, timeout=20) as client:
            return await read_reply(await self.begin(client, limit, **fields))


async def live_through_steps(caller: Caller, step: Callable[[int], None], go: asyncio.Event) -> None:
    """A stream runs through steps ahead and back; whole answers come, and their limit is kept, after each."""
    async with RawClient("127.0.0.1", caller.port, timeout=20) as client:
        response = await caller.begin(client, model="m", stream=True)
        assert await response.next_event() is not None
        episode: str | None = None
        for offset in (HOUR, 0, -HOUR, 0):
            step(offset)
            reply = await caller.ask(model="m", **({"episode_id": episode} if episode else {}))
            assert (reply.status, reply.code) == (200, None)
            episode = reply.json["episode_id"]
            since = time.monotonic()
            late = await caller.ask(LIMIT, model="late")
            assert (late.status, late.code) == (504, "upstream_timeout")
            assert LIMIT - 0.05 <= time.monotonic() - since < LIMIT + 10
        go.set()
        assert (await read_reply(response)).done


def judge(found: Sequence[dict[str, Any]], now: float) -> None:
    """Every row has a valid id of its own, dates within the steps, and lasted as long as it lasted."""
    assert len(found) == len({row["id"] for row in found}) == 9
    for row in found:
        made = uuid7_milliseconds(row["id"])
        assert made is not None
        assert abs(made / 1000 - now) < HOUR + 60
        assert abs(row["created_at"] / 1e6 - now) < HOUR + 60
        assert 0 <= (row["first_content_us"] or 0) <= row["duration_us"] < 30e6
    dates = [row["created_at"] / 1e6 - now for row in found]
    assert min(dates) < -HOUR / 2 < HOUR / 2 < max(dates), "the steps were felt"


async def test_d13_p29_a_step_of_the_clock_in_process(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    go, now, now_ns, offset = asyncio.Event(), time.time, time.time_ns, 0

    def step(seconds: int) -> None:
        nonlocal offset
        offset = seconds

    providers, models = {"acme": held(go), "silent": silent()}, {"m": ["acme"], "late": ["silent"]}
    async with serve(providers, models, timeouts=Timeouts(total=60, gap=60)) as gateway:
        monkeypatch.setattr(time, "time", lambda: now() + offset)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + offset * 10**9)
        monkeypatch.setattr(gateway.gateway.keys, "_clock", lambda: now() + offset)

        await live_through_steps(Caller(gateway.port, gateway.key), step, go)
        assert (await gateway.get("/health/ready")).status == 200
        await gateway.rows(9)
        path = gateway.hall.settings.database_url.removeprefix("sqlite:///")
        judge(rows(Path(path)), now())


@pytest.fixture
def libfaketime() -> str:
    """Gives a process another wall clock, and leaves its monotonic one alone."""
    places = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib*/faketime/libfaketimeMT.so.1")
    found = [str(path) for place in places for path in Path("/").glob(place)]
    if not found:
        pytest.skip("libfaketime is not installed")
    return found[0]


@pytest.mark.long
async def test_d13_p29_a_step_of_the_clock_under_a_process(tmp_path: Path, libfaketime: str) -> None:
    clock = tmp_path / "clock"

    def step(seconds: int) -> None:
        fresh = tmp_path / "clock.new"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(clock)

    step(0)
    environ = {"LD_PRELOAD": libfaketime, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    environ |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    go = asyncio.Event()
    async with ScriptedUpstream(default=held(go)) as acme, ScriptedUpstream(default=silent()) as late:
        config = CONFIG.format(acme=acme.base_url, silent=late.base_url)
        (tmp_path / "sealgate.toml").write_text(config)
        with served(tmp_path, **environ) as gateway:
            caller = Caller(int(gateway.url.rpartition(":")[2]), gateway.key)
            await live_through_steps(caller, step, go)
    judge(rows(tmp_path / "data" / "sealgate.db"), time.time())
