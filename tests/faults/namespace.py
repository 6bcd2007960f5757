"""A network of its own: scenes run in a user and network namespace, where packets may be dropped and sockets ended.

`Namespace` starts this module there (``unshare -rn``), with a gateway as a process, and asks it to play scenes by name.
Nothing here needs a real root, and nothing outside is touched.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tests.clients.served import Served, served
from tests.faults.program import ROOT, rows
from tests.gateway import CHAT, Reply, read_reply

from sealgate.testing import Behaviour, RawClient, RawResponse, ScriptedUpstream

Scene: TypeAlias = Callable[["Stage"], Awaitable[None]]

SCENES: dict[str, Scene] = {}
"""By name; `scene` adds to it."""

CONNECT, GAP, STALL = 0.5, 1.5, 1.5
"""Limits of the gateway in seconds: to connect, on a provider's silence, on a caller who takes nothing."""

FIRST_PORT, PAIRS = 7100, 12
"""Each scene has two providers of its own, so that none inherits what another made of them."""


class Impossible(Exception):  # noqa: N818 - no error, a reason to skip
    """This system does not let us do that."""


def scene(play: Scene) -> Scene:
    """Make it known by its name."""
    SCENES[play.__name__] = play
    return play


class Stage:
    """What a scene has: the gateway, two providers, and the network between."""

    def __init__(self, gateway: Served, number: int) -> None:
        self.gateway = gateway
        self.number = number
        self.port = int(gateway.url.rpartition(":")[2])
        self.first, self.second = FIRST_PORT + 2 * number, FIRST_PORT + 2 * number + 1
        """The ports of the two providers; model ``both`` has a route at each, ``one`` at the first only."""
        self._asked = 0

    @asynccontextmanager
    async def upstreams(self, *behaviours: Behaviour) -> AsyncIterator[list[ScriptedUpstream]]:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(ScriptedUpstream(port=port, default=behaviour))
                for port, behaviour in zip((self.first, self.second), behaviours, strict=False)
            ]

    def client(self) -> RawClient:
        return RawClient("127.0.0.1", self.port, timeout=20)

    async def begin(self, client: RawClient, model: str, **fields: Any) -> str:
        """Send a request; gives its id."""
        self._asked += 1
        name = f"{self.number}-{self._asked}"
        body = {"model": f"{model}-{self.number}", "messages": [{"role": "user", "content": "Hello"}], **fields}
        await client.post(CHAT, body, {"authorization": f"Bearer {self.gateway.key}", "x-request-id": name})
        return name

    async def ask(self, model: str, **fields: Any) -> Reply:
        async with self.client() as client:
            await self.begin(client, model, **fields)
            return await read_reply(await client.response())

    @asynccontextmanager
    async def streaming(self, model: str) -> AsyncIterator[tuple[RawClient, RawResponse, str]]:
        """A stream whose first event has come, and its request's id."""
        async with self.client() as client:
            name = await self.begin(client, model, stream=True)
            response = await client.response()
            assert await response.next_event() is not None
            yield client, response, name

    async def row(self, request_id: str) -> dict[str, Any]:
        """The one row of that request, once it is there."""
        async with asyncio.timeout(20):
            while True:
                found = [
                    row for row in rows(self.gateway.folder / "data" / "sealgate.db") if row["request_id"] == request_id
                ]
                if found:
                    assert len(found) == 1
                    return found[0]
                await asyncio.sleep(0.02)

    # The network

    def rule(self, words: str) -> None:
        """Judge incoming packets by an nft rule, until `calm`."""
        nft(f"add rule inet faults incoming {words}")

    def blackhole(self, port: int) -> None:
        """Nothing comes through from that port or to it."""
        self.rule(f"tcp sport {port} drop")
        self.rule(f"tcp dport {port} drop")

    def calm(self) -> None:
        nft("flush chain inet faults incoming")

    def end_sockets(self, words: str) -> None:
        """Break established connections whose local end fits (``ss -K``); the other end hears of it by a reset."""
        subprocess.run(["ss", "-K", "state", "established", words], check=True, capture_output=True)


def nft(words: str) -> None:
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Impossible("nft is not installed")
    done = subprocess.run([program, words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Impossible(f"nft does not work here: {done.stderr.strip().splitlines()[:1]}")


def local_port(client: RawClient) -> int:
    return int(client._socket.getsockname()[1])


async def within(seconds: float, holds: Callable[[], Any]) -> float:
    """Wait until it holds; the seconds it took."""
    since = time.monotonic()
    while not holds():
        assert time.monotonic() - since < seconds, f"it did not come to be within {seconds} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - since


# Inside


def _config() -> str:
    lines = ["[server]", "discover = false", "[storage]", 'data_dir = "data"', "[timeouts]"]
    lines += [f"connect = {CONNECT}", f"gap = {GAP}", f"first_content = {GAP}", f"write_stall = {STALL}", "total = 20"]
    for number in range(PAIRS):
        for name, port in ((f"first{number}", 2 * number), (f"second{number}", 2 * number + 1)):
            lines += [f"[providers.{name}]", 'kind = "openai"', 'api_key = "none"']
            lines += [f'base_url = "http://127.0.0.1:{FIRST_PORT + port}/v1"']
        first, second = (f'{{ provider = "{name}{number}", model = "test-model" }}' for name in ("first", "second"))
        lines += [f"[models.both-{number}]", f"routes = [{first}, {second}]"]
        lines += [f"[models.one-{number}]", f"routes = [{first}]"]
    return "\n".join(lines)


def _prepare() -> None:
    """Raises `Impossible`."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    nft("add table inet faults; add chain inet faults incoming { type filter hook input priority 0; }")


def _ends_sockets() -> bool:
    """Whether this kernel has what ``ss -K`` needs (CONFIG_INET_DIAG_DESTROY)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client, server.accept()[0]:
            subprocess.run(["ss", "-K", "dport", "=", str(port)], check=False, capture_output=True)
            client.settimeout(0.2)
            try:
                client.recv(1)
            except TimeoutError:
                return False
            except OSError:
                return True
    return False


def _play(stage: Stage, name: str) -> str | None:
    """None where it went well, else what went wrong."""
    try:
        asyncio.run(SCENES[name](stage))
    except BaseException:
        return traceback.format_exc()
    finally:
        stage.calm()
    return None


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201 - the answer to the one who asked


def main(folder: Path, module: str) -> None:
    importlib.import_module(module)
    # Scenes are registered in the module under its own name, not in the copy that runs as __main__.
    try:
        _prepare()
    except (Impossible, OSError, subprocess.CalledProcessError) as error:
        _say(impossible=str(error))
        return
    (folder / "sealgate.toml").write_text(_config())
    with served(folder) as gateway:
        _say(ends_sockets=bool(shutil.which("ss")) and _ends_sockets())
        for number, line in enumerate(sys.stdin):
            _say(failed=_play(Stage(gateway, number), line.strip()))


# Outside


class Namespace:
    """The other side, where the tests are."""

    def __init__(self, process: subprocess.Popen[str], ends_sockets: bool) -> None:
        self.ends_sockets = ends_sockets
        self._process = process

    def play(self, play: Scene) -> None:
        """Fails as the scene fails."""
        assert self._process.stdin is not None
        self._process.stdin.write(play.__name__ + "\n")
        self._process.stdin.flush()
        failed = _heard(self._process)["failed"]
        assert failed is None, failed


@contextmanager
def namespace(folder: Path, module: str) -> Iterator[Namespace]:
    """Raises `Impossible` with the reason."""
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        raise Impossible("unshare and ip are needed (util-linux, iproute2)")
    tried = subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        raise Impossible(f"no namespaces for us here: {tried.stderr.strip()}")
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    program = f"import pathlib, tests.faults.namespace as n; n.main(pathlib.Path({str(folder)!r}), {module!r})"
    process = subprocess.Popen(
        [unshare, "-rn", sys.executable, "-W", "error", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        try:
            said = _heard(process)
            if "impossible" in said:
                raise Impossible(said["impossible"])
            yield Namespace(process, said["ends_sockets"])
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def _heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the namespace has ended"
    return json.loads(line)
