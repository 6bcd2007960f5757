"""Row I8: a whole gateway whose file descriptors run out."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.matrix.crowd import ask, gateway, request, say, ticking, until

from sealgate.testing import answer

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(200)]

FEW = ("sh", "-c", 'ulimit -n 72; exec "$@"', "sh")
MORE = ("sh", "-c", 'ulimit -n 120; exec "$@"', "sh")


async def test_i8_callers_wait_while_descriptors_are_short_and_streams_go_on(tmp_path: Path) -> None:
    async with gateway(tmp_path, ticking(80, 0.05), prefix=FEW) as at:
        streams = [asyncio.create_task(ask(at, at.other, stream=True)) for _ in range(5)]
        assert await until(lambda: len(at.upstream.requests) == 5)
        idle = [socket.create_connection(("127.0.0.1", at.port)) for _ in range(90)]
        await asyncio.sleep(0.5)
        at.upstream.default = answer("Hi")
        begun = at.cpu_seconds
        await asyncio.sleep(1)
        say(f"CPU in a second of waiting: {at.cpu_seconds - begun:.3f} s")
        assert at.cpu_seconds - begun < 0.25, "five streams are all there is to do"
        late = asyncio.create_task(ask(at, at.key))
        await asyncio.sleep(0.3)
        for sock in idle:
            sock.close()
        assert (await asyncio.wait_for(late, 5)).status == 200
        replies = await asyncio.gather(*streams)
        assert {(reply.status, reply.body.count(b'"content":"tick')) for reply in replies} == {(200, 80)}
        assert Counter(line["event"] for line in at.log)["accepting_paused"] >= 1
        assert not [line for line in at.log if line["event"] == "unexpected_error"]


async def test_i8_a_provider_that_cannot_be_reached_for_want_of_descriptors_is_not_blamed(tmp_path: Path) -> None:
    """Everything that is free is taken away while requests come; then all is as before at once, nothing is ejected."""
    async with gateway(tmp_path, answer("Hi"), prefix=MORE) as at, AsyncExitStack() as stack:
        assert (await ask(at, at.key)).status == 200
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", at.port))) for _ in range(20)]
        await asyncio.sleep(0.2)
        resource.prlimit(at.served.process.pid, resource.RLIMIT_NOFILE, (8, 120))
        for sock in callers:
            sock.sendall(request(at.key))
        statuses: Counter[bytes] = Counter()
        bodies = []
        for sock in callers:
            found = await asyncio.to_thread(sock.recv, 65536)
            statuses[found[9:12]] += 1
            bodies.append(found)
        resource.prlimit(at.served.process.pid, resource.RLIMIT_NOFILE, (120, 120))
        say(f"{statuses}: {bodies[-1]!r}")
        assert set(statuses) <= {b"200", b"502", b"503"}
        assert statuses[b"503"]
        assert b"upstream_pool_exhausted" in b"".join(bodies)
        assert [(await ask(at, at.key)).status for _ in range(5)] == [200] * 5
        assert not [line for line in at.log if line["event"] == "unexpected_error"]
