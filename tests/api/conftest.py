"""What the tests of the doors share: a gateway for a whole module, in a thread, and the log of one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.gateway import Serve, Template, Threaded

from sealgate.config import Provider
from sealgate.telemetry import logs
from sealgate.testing import ScriptedUpstream
from sealgate.testing.thread import ThreadedUpstream


@pytest.fixture(scope="module")
def start(gateway_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """`serve` for fixtures that live as long as a module."""
    return Serve(gateway_template, tmp_path_factory.mktemp("gateways"))


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(start: Serve, upstream: ThreadedUpstream) -> Iterator[Threaded]:
    """Model ``m`` at a scripted upstream, and ``sandbox`` with any name under it."""
    from tests.gateway import model, provider

    providers = {"acme": provider(upstream), "sandbox": Provider(kind="sandbox", region="local")}
    models = {"m": model("acme"), "sandbox": model("sandbox", upstream_model="sandbox")}
    with start.in_thread(providers, models) as found:
        yield found


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What a gateway started in this test has logged so far."""
    out = io.BytesIO()
    monkeypatch.setattr(logs, "configure", partial(logs.configure, out=out))
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]
