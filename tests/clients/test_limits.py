"""What the official SDK makes of a limit, and the guide's examples."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai import OpenAI
from tests.gateway import Serve, Template, Threaded
from typer.testing import CliRunner

from sealgate.cli.keys import app
from sealgate.config import Limits, SharedLimits, load
from sealgate.limits.memory import MemoryLimiter
from sealgate.telemetry.registry import METRICS
from sealgate.testing import answer

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "limits.md"
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def gateway(gateway_template: Template, tmp_path: Path) -> Iterator[Threaded]:
    with Serve(gateway_template, tmp_path).in_thread({"acme": answer("Hi")}) as found:
        yield found


@pytest.fixture
def slept(gateway: Threaded, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the SDK waited each time: no time passes but for the limiter."""
    waits: list[float] = []
    limiter = gateway.hall.turns.limiter
    assert isinstance(limiter, MemoryLimiter)
    limiter._clock = lambda: time.monotonic() + sum(waits)
    monkeypatch.setattr("openai._base_client.time", SimpleNamespace(sleep=waits.append, time=time.time))
    return waits


def client(gateway: Threaded, **limits: int) -> OpenAI:
    made = gateway.run(gateway.running.gateway.keys.create(name="limited", limits=Limits(**limits)))
    return OpenAI(base_url=gateway.base_url, api_key=made.key, timeout=20)


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_waits_as_long_as_it_is_told_and_is_answered(
    gateway: Threaded, slept: list[float], stream: bool
) -> None:
    with client(gateway, requests_per_minute=2) as sdk:
        for _ in range(3):
            answered = sdk.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            if stream:
                assert "".join(chunk.choices[0].delta.content or "" for chunk in answered) == "Hi"
    assert len(slept) == 1
    assert 55 <= slept[0] <= 60
    assert [row.status for row in gateway.rows(4)] == [200, 200, 429, 200]


@pytest.mark.parametrize(
    ("limits", "more", "code"),
    [
        ({"requests_per_day": 1}, {}, "rate_limit_exceeded"),
        ({"tokens_per_minute": 500}, {"max_tokens": 501}, "token_limit_exceeded"),
    ],
)
def test_the_sdk_does_not_come_again_where_that_would_be_in_vain(
    gateway: Threaded, slept: list[float], limits: dict[str, int], more: dict[str, Any], code: str
) -> None:
    with client(gateway, **limits) as sdk:
        sdk.chat.completions.create(model="m", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.chat.completions.create(model="m", messages=MESSAGES, **more)
    assert caught.value.code == code
    assert slept == []
    assert len(gateway.rows(2)) == 2


def test_the_guides_program_runs(
    gateway_template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = blocks("python")
    with Serve(gateway_template, tmp_path).in_thread(
        {"acme": answer("Hi")}, limits=SharedLimits(requests_per_minute=40)
    ) as at:
        monkeypatch.setenv("OPENAI_BASE_URL", at.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", at.key)
        names: dict[str, Any] = {}
        exec(compile(program, str(GUIDE), "exec"), names)
        names["client"].close()
    assert capsys.readouterr().out == "Hi\n39 of 40 left\n"


def test_the_guides_settings_and_metrics_exist(tmp_path: Path) -> None:
    first, second = blocks("toml")
    file = tmp_path / "sealgate.toml"
    file.write_text(first)
    settings = load(file, {})
    assert settings.limits.own == Limits(requests_per_minute=40, concurrency=20)
    assert settings.models["gemma-4-31b"].limits == Limits(requests_per_minute=5, tokens_per_minute=200_000)
    file.write_text(second)
    url = load(file, {"LIMITS_URL": "redis://:hunter2@127.0.0.1/0"}).limits.url
    assert url is not None
    assert url.reveal() == "redis://:hunter2@127.0.0.1/0"
    assert "hunter2" not in repr(url)
    named = set(re.findall(r"^\| `(sealgate_\w+)` \|", GUIDE.read_text(), re.MULTILINE))
    assert named <= {metric.name for metric in METRICS}
    assert len(named) == 2


def test_the_guides_command_makes_a_limited_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [command] = blocks("sh")
    monkeypatch.chdir(tmp_path)
    words = command.split()
    assert words[:2] == ["sealgate", "keys"]
    made = CliRunner().invoke(app, [*words[2:], "--json"])
    assert made.exit_code == 0, made.output
    assert '"requests_per_minute":40' in made.stdout.replace(" ", "")
