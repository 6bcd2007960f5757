"""The programs that run: the canned upstream, the bare relay, Sealgate. How each is started is written here only."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench import machine, shape
from bench.children import Child, Children, free_port
from bench.fill import fill_keys
from bench.judge import WrongAnswerError
from bench.loadgen import Target, once
from bench.machine import ROOT, Cores

START_SECONDS = 30
CALLER_KEY = "sk-bench-" + "0123456789abcdef" * 2
"""For the programs that make no keys of their own."""


class NotStartedError(Exception):
    """A program that did not come to answer, with what it said last."""


@dataclass(frozen=True)
class Start:
    """From starting a program to its first answer."""

    seconds: float
    cpu: float
    """Seconds of its own CPU time."""
    others: float
    """Share of the core that others had."""


@dataclass(frozen=True)
class Subject:
    """A program under test."""

    name: str
    target: Target
    child: Child
    start: Start
    folder: Path | None = None
    """Where Sealgate's configuration is."""


@dataclass(frozen=True)
class Stage:
    """What all subjects have in common."""

    children: Children
    cores: Cores
    canned: Target
    canned_child: Child

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.canned.port}/v1"


async def start_canned(children: Children, cores: Cores) -> Stage:
    target = Target(free_port(), shape.UPSTREAM_KEY)
    command = [sys.executable, "-m", "bench.canned", "--port", str(target.port)]
    child = children.start("canned", command, cores.load)
    await first_answer(child, target)
    return Stage(children, cores, target, child)


async def start_bare(stage: Stage) -> Subject:
    target = Target(free_port(), CALLER_KEY)
    given = {"--port": str(target.port), "--upstream": stage.base_url}
    given |= {"--upstream-key": shape.UPSTREAM_KEY, "--key": target.key}
    words = [word for pair in given.items() for word in pair]
    return await started(stage, "bare", [sys.executable, "-m", "bench.bare_relay", *words], target)


async def start_sealgate(
    stage: Stage,
    *,
    models: int = 1,
    keys: int = 1,
    tables: str = "",
    price: str = "",
    options: tuple[str, ...] = (),
    launcher: tuple[str, ...] = ("-m",),
) -> Subject:
    """Sealgate with everything on, a fresh SQLite file, ``models`` models, and ``keys`` keys, one of them ours.

    ``tables`` are more of its configuration, ``price`` what its route says besides, ``options`` those of
    ``sealgate keys create``.

    ``launcher`` is what Python is told before the module's name.
    """
    folder = stage.children.folder / f"sealgate-{secrets.token_hex(4)}"
    folder.mkdir()
    port = free_port()
    file = folder / "bench.toml"
    file.write_text(f"{configuration(stage, folder, port, models, price)}\n{tables}\n")
    key = make_key(file, folder, options)
    if keys > 1:
        fill_keys(folder / "bench.db", keys)
    command = [sys.executable, *launcher, "sealgate", "serve", "--config", str(file), "--port", str(port)]
    return replace(await started(stage, "sealgate", command, Target(port, key), cwd=folder), folder=folder)


def with_key(subject: Subject, name: str, *options: str) -> Subject:
    """The same running gateway as another customer's key sees it."""
    assert subject.folder is not None
    key = make_key(subject.folder / "bench.toml", subject.folder, ("--customer", name, *options))
    return replace(subject, name=name, target=Target(subject.target.port, key))


def configuration(stage: Stage, folder: Path, port: int, models: int, price: str = "") -> str:
    others = [
        f'[models.other-{n}]\nroutes = [ {{ provider = "canned", model = "other-{n}" }} ]' for n in range(1, models)
    ]
    route = f'provider = "canned", model = "canned-model"{price and ", " + price}'
    return "\n".join(
        [
            f"[server]\nport = {port}",
            f'[storage]\nurl = "sqlite:///{folder}/bench.db"\ndata_dir = "{folder}"',
            f'[providers.canned]\nkind = "openai"\nbase_url = "{stage.base_url}"\napi_key = "{shape.UPSTREAM_KEY}"',
            f"[models.{shape.MODEL}]\nroutes = [ {{ {route} }} ]",
            *others,
        ]
    )


def make_key(file: Path, folder: Path, options: tuple[str, ...] = ()) -> str:
    create = ["keys", "create", "--name", "bench", "--json", "--config", str(file), *options]
    command = [sys.executable, "-m", "sealgate", *create]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    if done.returncode:
        raise NotStartedError(f"`sealgate keys create` failed: {(done.stderr or done.stdout)[-2000:].strip()}")
    key: str = json.loads(done.stdout)["key"]
    return key


async def started(
    stage: Stage, name: str, command: list[str], target: Target, *, cwd: Path = ROOT, seconds: float = START_SECONDS
) -> Subject:
    """Start a program on the core for tests and wait for its first right answer."""
    core = stage.cores.test
    begun, busy = time.monotonic(), machine.core_seconds(core)
    child = stage.children.start(name, command, core, cwd=cwd)
    await first_answer(child, target, seconds)
    took, cpu = time.monotonic() - begun, machine.cpu_ns(child.pid) / 1e9
    others = max(0.0, machine.core_seconds(core) - busy - cpu) / took
    return Subject(name, target, child, Start(took, cpu, others))


async def first_answer(child: Child, target: Target, seconds: float = START_SECONDS) -> None:
    """Return when a right answer came; it is asked for every 5 ms."""
    begun = time.monotonic()
    body = shape.request_body()
    last: Exception | None = None
    while time.monotonic() - begun < seconds and child.alive:
        try:
            await asyncio.wait_for(once(target, body), 5)
        except (OSError, WrongAnswerError, TimeoutError) as error:
            last = error
            await asyncio.sleep(0.005)
        else:
            return
    raise NotStartedError(f"{child.name} gave no right answer: {last}\n{child.tail()}")
