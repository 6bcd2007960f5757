"""``python -m sealgate.testing`` as a user starts it."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from sealgate.testing.__main__ import main

COMMAND = [sys.executable, "-m", "sealgate.testing"]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def post(base_url: str, model: str) -> bytes:
    body = json.dumps({"model": model, "messages": []}).encode()
    request = urllib.request.Request(f"{base_url}/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


def test_it_prints_its_base_url_and_answers_well(base_url: str):
    assert base_url.startswith("http://127.0.0.1:")
    assert json.loads(post(base_url, "anything"))["choices"][0]["finish_reason"] == "stop"


def test_it_fails_by_model_name(base_url: str):
    with pytest.raises(urllib.error.HTTPError, match="503") as failed:
        post(base_url, "fail-503")
    failed.value.close()
    with pytest.raises(OSError, match="reset"):
        post(base_url, "reset-at-once")


def test_it_lists_its_models(base_url: str):
    with urllib.request.urlopen(f"{base_url}/models", timeout=30) as response:
        names = [entry["id"] for entry in json.load(response)["data"]]
    assert {"test-model", "cut", "silent", "fail-503"} <= set(names)


def test_list_prints_the_names(capsys: pytest.CaptureFixture[str]):
    assert main(["--list"]) == 0
    assert {"fail-400 ... fail-599", "cut", "error-mid-openai"} <= set(capsys.readouterr().out.splitlines())


def test_a_port_that_is_taken_is_said_in_one_line(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert capsys.readouterr().err.startswith(f"cannot listen on port {port}: ")
