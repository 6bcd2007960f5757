"""The pulse measures how late the loop is, and its thread says where the loop is stuck (row I9)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from sealgate.api import pulse
from sealgate.api.pulse import BEAT, Pulse

pytestmark = pytest.mark.anyio

Beats = list[tuple[float, float]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is logged; the thread looks every 10 ms."""
    lines: list[dict[str, Any]] = []

    class Log:
        def error(self, event: str, **fields: Any) -> None:
            lines.append({"event": event, **fields})

        warning = error

    monkeypatch.setattr(structlog, "get_logger", Log)
    monkeypatch.setattr(pulse, "LOOK", 0.01)
    return lines


async def beats(during: Callable[[], None] | None = None, blocked_seconds: float = 0.1) -> Beats:
    found: Beats = []
    heart = Pulse(lambda lag, memory: found.append((lag, memory)), blocked_seconds)
    heart.start()
    await asyncio.sleep(0)
    if during is not None:
        during()
    while len(found) < 3:  # noqa: ASYNC110 - beats are what is waited for
        await asyncio.sleep(BEAT / 10)
    heart.stop()
    return found


def holds_the_loop_up(seconds: float) -> None:
    time.sleep(seconds)


def keeps_the_loop_busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_a_loop_that_turns_has_hardly_any_lag_and_says_nothing(said: list[dict[str, Any]]) -> None:
    found = await beats()
    assert min(lag for lag, _ in found) < 0.02
    assert all(0 < memory < 1 for _, memory in found)
    assert [line for line in said if line["event"] == "event_loop_blocked"] == []


@pytest.mark.parametrize("block", [holds_the_loop_up, keeps_the_loop_busy])
async def test_i9_a_blocked_loop_is_reported_once_with_its_place_while_it_lasts(
    said: list[dict[str, Any]], block: Callable[[float], None]
) -> None:
    for _ in range(3):
        said.clear()
        found = await beats(lambda: block(0.35))
        if said and block.__name__ in said[0]["trace"]:
            break  # else the machine gave this process no time, and the loop was late for that
    assert 0.2 < max(lag for lag, _ in found) < 2
    blocked, goes_on = said
    assert blocked["event"] == "event_loop_blocked"
    assert 0.1 <= blocked["seconds"] < 0.35
    assert re.search(r"test_pulse\.py:\d+ " + block.__name__ + "$", blocked["trace"])
    assert "0.35" not in blocked["trace"]
    assert goes_on["event"] == "event_loop_goes_on"
    assert goes_on["seconds"] > 0.2


async def test_each_episode_is_reported(said: list[dict[str, Any]]) -> None:
    def twice() -> None:
        asyncio.get_running_loop().call_later(BEAT * 1.5, time.sleep, 0.6)
        time.sleep(0.6)  # long enough for the watching thread to have its turn on a busy machine

    found = await beats(twice)
    assert len(found) >= 3
    assert [line["event"] for line in said] == ["event_loop_blocked", "event_loop_goes_on"] * 2


async def test_what_is_too_much_is_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse.memory, "allowed", lambda: 1000)
    monkeypatch.setattr(pulse.memory, "resident", lambda: 750)
    heart = Pulse(lambda lag, memory: None)
    heart.start()
    heart.stop()
    assert heart.memory == 0.75
    assert heart.excess(0.5) == 250
    assert heart.excess(0.9) == 0
