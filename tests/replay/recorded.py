"""Recorded answers of real providers, replayed: an upstream that gives them, and a gateway with one model for each.

The recordings and the tools that replay and judge them lie beside the project, in ``../shared``, and are no part of
it. Nothing of the tools is copied: the upstream runs as a process, the judge is loaded from its file.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
from tests.gateway import CHAT, Running, Serve, model, provider

from sealgate.config import Provider, Telemetry
from sealgate.providers.openai import OpenAIWire
from sealgate.providers.table import KINDS
from sealgate.testing import RawClient

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
TOOLS = SHARED / "tools" / "replay"
CORPUS = SHARED / "recorded"
NEEDED = (TOOLS / "drive.py", TOOLS / "replay_upstream.py", CORPUS)

KIND_OF = {"compat": "compatible"}
"""Folders whose kind has another name."""
SETTINGS = {"aws_region": "us-east-1", "project": "test", "location": "us-central1", "endpoint": "test"}
"""What kinds may need besides an address, given to those that read it."""
QUIET = Telemetry(format="json", level="error")
AT_ONCE = 8
PATIENCE = 120.0
"""Seconds: bytes that come one by one take long."""

Json = dict[str, Any]


class Verdict(NamedTuple):
    """An answer, and what the judge says of it: what is wrong, and smaller things."""

    case: Json
    bad: list[str]
    notes: list[str]
    status: int
    text: str

    @property
    def code(self) -> str | None:
        """The public code, where the answer is an error."""
        return json.loads(self.text)["error"]["code"] if self.status >= 400 else None


def missing() -> str | None:
    """Why nothing can be replayed here, or None."""
    absent = [path.name for path in NEEDED if not path.exists()]
    if absent:
        return f"the folder of recordings beside the project has no {', '.join(absent)}"
    needed = ("aiohttp", "jsonschema")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"the replaying upstream needs {', '.join(absent)}" if absent else None


@cache
def judge() -> ModuleType:
    """The judge, from its own file."""
    spec = importlib.util.spec_from_file_location("replay_drive", TOOLS / "drive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _leaving_files_open():
        spec.loader.exec_module(module)
        importlib.import_module("validate")  # where its folder is now
    return module


@contextlib.contextmanager
def _leaving_files_open() -> Iterator[None]:
    """The tools leave it to the collector to close what they read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def cases(replay: str, options: str = "") -> list[Json]:
    """Every recorded chat of a kind there is, each with the request a caller would have sent."""
    wanted = {"corpus": str(CORPUS), "split": "all", "provider": "", "api": "", "replay": replay}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), _leaving_files_open():
        judge().plan(argparse.Namespace(**wanted, opts=options, keep_extra=False))
    found: list[Json] = json.loads(printed.getvalue())
    return [case for case in found if kind_of(case) in KINDS and case["api"] != "transcriptions" and _spoken(case)]


def recording(case: Json) -> Json:
    """The case's own file: request, response, and what is expected of it."""
    found: Json = json.loads((CORPUS / case["provider"] / f"{case['case']}.json").read_text())
    return found


def kind_of(case: Json) -> str:
    """The kind that speaks this case's wire."""
    folder = str(case["provider"])
    return KIND_OF.get(folder, folder)


def of_openai(case: Json) -> bool:
    """Whether it is spoken by OpenAI's wire."""
    return type(KINDS[kind_of(case)].wire) is OpenAIWire


def _inside(case: Json) -> dict[str, str]:
    """The setting that says which publisher's wire is inside, where a kind has several."""
    api = str(case["api"])
    if not (api.startswith("invoke") or api in ("rawPredict", "streamRawPredict", "chat")):
        return {}
    named = "openai" if api == "chat" else "anthropic"
    return {"api_model": named} if named in KINDS[kind_of(case)].variants.get("api_model", {}) else {}


def _spoken(case: Json) -> bool:
    """Whether there is a wire for it: models behind InvokeModel each have their own, and one of them is known here."""
    if not str(case["api"]).startswith("invoke-") and case["api"] != "invoke":
        return True
    body = recording(case)["request"].get("body") or {}
    return bool(_inside(case)) and "anthropic_version" in body


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """The replaying upstream as a process; gives where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(TOOLS / "replay_upstream.py"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the replaying upstream did not start"
            _wait_until_open(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_open(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("the replaying upstream does not listen")


def configured(plan: Sequence[Json]) -> tuple[dict[str, Provider], dict[str, Any]]:
    """One provider and one model for each case, named by it."""
    providers, models = {}, {}
    for case in plan:
        kind = KINDS[kind_of(case)]
        own = {name: value for name, value in SETTINGS.items() if name in kind.reads} | _inside(case)
        providers[case["case"]] = provider(case["base_url"], kind.name, media="pass", **own)
        models[case["case"]] = model(case["case"], upstream_model=case["upstream_model"])
    return providers, models


def body(case: Json) -> bytes:
    """What the provider's answer held."""
    response = recording(case)["response"]
    return base64.b64decode(response["body_base64"]) if "body_base64" in response else str(response["body"]).encode()


async def replayed(serve: Serve, replay: str, options: str, most: int | None = None) -> list[Verdict]:
    """Drive a gateway through every case and have each answer judged. ``options`` are those of the upstream.

    ``most``: no case whose answer has more bytes.
    """
    plan = [case for case in cases(replay, options) if most is None or len(body(case)) <= most]
    verdicts: list[Verdict] = []
    order = iter(plan)

    async def some(gateway: Running) -> None:
        for case in order:
            status, kind, text, error = await ask(gateway, case)
            bad, notes = judge().judge(case, status, kind, text, error)
            verdicts.append(Verdict(case, bad, notes, status, text))

    async with serve(*configured(plan), telemetry=QUIET) as gateway, anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(some, gateway)
    return verdicts


async def ask(gateway: Running, case: Json) -> tuple[int, str, str, str | None]:
    """Status, content type, text, and how it broke."""
    body = {"model": case["alias"], **case["request"]}
    async with RawClient(gateway.host, gateway.port, timeout=PATIENCE) as client:
        await client.post(CHAT, body, gateway.headers)
        response = await client.response()
        content = await response.read()
    kind = response.headers.get("content-type", "")
    return response.status, kind, content.decode(errors="replace"), None if response.complete else "broken off"


def request_log(replay: str) -> dict[str, Json]:
    """What the upstream says of the last request of each case, held against the recorded one."""
    with urllib.request.urlopen(f"{replay}/_log") as found:
        return {entry["case"]: entry for entry in json.load(found) if "compare" in entry}


def forget_requests(replay: str) -> None:
    """Empty the log."""
    with urllib.request.urlopen(f"{replay}/_reset", data=b""):
        pass
