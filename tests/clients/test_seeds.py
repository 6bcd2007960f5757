"""The samples of older gateways' documentation run unchanged but for address and key, with ``examples/seeds.toml``.

The documents are not part of this project. Where they do not lie beside it, these tests skip.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.served import ROOT, Served, served

SEEDS = ROOT.parent / "shared" / "seeds"
pytestmark = [
    pytest.mark.skipif(not SEEDS.is_dir(), reason="the older gateways' documents are not beside the project"),
    pytest.mark.xdist_group("seeds"),
]

JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d"
    "1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080010002001011100ffc4001f000001050101"
    "0101010100000000000000000102030405060708090a0bffda0008010100003f00d2cf20ffd9"
)
"""A baseline JPEG head of 32 by 16 pixels, which is all that a description needs."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("seeds"), "--config", str(ROOT / "examples" / "seeds.toml")) as found:
        yield found


def document(number: int) -> str:
    return next(SEEDS.glob(f"{number:03}_*.txt")).read_text(encoding="utf-8")


def adapt(sample: str, gateway: Served) -> str:
    """Address and key, nothing else."""
    sample = re.sub(r"https?://[^\s'\"]+?(/(?:api/)?v1)", gateway.url + r"\1", sample)
    return re.sub(r"sk-osiris-YOUR_KEY|YOUR_API_KEY|<API_KEY>", gateway.key, sample)


def curls(number: int) -> list[str]:
    return re.findall(r"curl .*?\n  }'", document(number), re.DOTALL)


def run_shell(sample: str, gateway: Served) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = adapt(sample, gateway).replace("curl ", "curl -sS ", 1)
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=100, check=True)
    assert not done.stderr
    return done.stdout.decode()


def events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


def test_s0_curl(gateway: Served) -> None:
    [sample] = curls(0)
    answer = json.loads(run_shell(sample, gateway))
    assert answer["model"] == "gpt-oss-120b"
    assert answer["choices"][0]["message"]["content"]
    assert set(answer["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_s2_streaming_curl(gateway: Served) -> None:
    [sample] = curls(2)
    found = events(run_shell(sample, gateway))
    assert found[-1] == "[DONE]"
    chunks = [json.loads(line) for line in found[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}


def python_samples(number: int) -> list[str]:
    return re.findall(
        r"from openai import OpenAI.*?\n(?:for chunk.*?end=\"\"\)|print\(.*?\))\n?", document(number) + "\n", re.DOTALL
    )


def test_s1_python_streaming_sample(gateway: Served) -> None:
    sample = python_samples(1)[0]
    assert "stream=True" in sample
    done = subprocess.run([sys.executable, "-c", adapt(sample, gateway)], capture_output=True, timeout=100, check=True)
    assert b"sandbox" in done.stdout


def test_s1_python_sample_with_timeout_and_failover(gateway: Served) -> None:
    sample = next(text for text in python_samples(1) if "failover" in text)
    done = subprocess.run([sys.executable, "-c", adapt(sample, gateway)], capture_output=True, timeout=100, check=True)
    assert b"sandbox" in done.stdout


@pytest.mark.parametrize("index", range(4))
def test_s4_curl(gateway: Served, index: int) -> None:
    sample = curls(4)[index].replace("/9j/4AAQSkZJRg...", base64.b64encode(JPEG).decode())
    answer = json.loads(run_shell(sample, gateway))
    asked = json.loads(sample[sample.index("{") : sample.rindex("}") + 1])
    assert answer["model"] == asked["model"]
    message = answer["choices"][0]["message"]
    if "tools" in asked:
        assert message["tool_calls"][0]["function"]["name"] == "get_weather"
        assert "location" in json.loads(message["tool_calls"][0]["function"]["arguments"])
    elif "guided_json" in asked:
        person = json.loads(message["content"])
        assert isinstance(person["name"], str)
        assert isinstance(person["age"], int)
    elif index == 3:
        assert "JPEG" in message["content"]
        assert "32" in message["content"]
    else:
        assert message["content"]


def test_s4_has_four_curl_samples() -> None:
    assert len(curls(4)) == 4


def test_s4_javascript_sample(gateway: Served, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    text = document(4)
    sample = text[text.index("const response = await fetch(") : text.index("With Multi-modal Content")]
    script = tmp_path / "sample.mjs"
    # The sample takes each read for whole events. That they are when all that waits fits in one read of Node's, 64 KB,
    # which a story does not where the machine is busy.
    assert "Tell me a story" in sample
    script.write_text(adapt(sample, gateway).replace("Tell me a story", "Hello"), encoding="utf-8")
    done = subprocess.run([node, str(script)], capture_output=True, timeout=100, check=True)
    assert b"sandbox" in done.stdout
