"""The official Node SDK, unchanged, against a whole gateway: `node_sdk.mjs` does it, this looks at what came back.

Tests fetch nothing, so the package must be there: in a folder named by ``SEALGATE_NODE_SDK`` (the one with
``node_modules``), or in pytest's cache, where a run with ``SEALGATE_NPM_INSTALL=1`` puts it once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Serve, Template, model

from sealgate.config import Provider

VERSION = "6.49.0"
SCRIPT = Path(__file__).with_name("node_sdk.mjs")


def folder(config: pytest.Config) -> Path:
    """Where the package is. Skips the tests where it is not."""
    named = os.environ.get("SEALGATE_NODE_SDK")
    found = Path(named) if named else config.cache.mkdir(f"node-sdk-{VERSION}") if config.cache else Path()
    if not (found / "node_modules" / "openai").is_dir() and not named and os.environ.get("SEALGATE_NPM_INSTALL") == "1":
        install(found)
    if not (found / "node_modules" / "openai").is_dir():
        pytest.skip(f"the Node package openai is not in {found}; SEALGATE_NPM_INSTALL=1 fetches it once")
    return found


def install(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    command = [npm, "install", f"openai@{VERSION}", "--prefix", str(target), "--no-audit", "--no-fund", "--no-save"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not fetch the package: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, gateway_template: Template, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the script saw; it runs once for all tests."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    package = folder(request.config)
    serve = Serve(gateway_template, tmp_path_factory.mktemp("node"))
    with serve.in_thread({"sandbox": Provider(kind="sandbox", region="local")}, {"sandbox": model("sandbox")}) as house:
        environ = {
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": house.base_url,
            "OPENAI_API_KEY": house.key,
            "NODE_SDK_FOLDER": str(package),
        }
        done = subprocess.run(
            [node, str(SCRIPT)], capture_output=True, text=True, timeout=100, env=environ, check=False
        )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_chat_whole_streamed_and_gathered(found: dict[str, Any]) -> None:
    assert "Hello there" in found["text"]
    assert found["streamed"] == found["gathered"] == found["text"]
    assert found["events"] > 1
    assert found["usage"]["total_tokens"] == found["total"]["total_tokens"] > 0
    assert found["tresor"]["routed_model"] == "local/sandbox/echo"
    assert len(found["requestId"]) == 32
    assert found["header"] == "node-1"


def test_tools(found: dict[str, Any]) -> None:
    assert json.loads(found["call"]["arguments"]) == {"city": "Bern"}
    assert found["afterTools"]
    assert found["calls"] == ["Bern", "Oslo"]


def test_structured_output(found: dict[str, Any]) -> None:
    assert isinstance(found["person"]["name"], str)
    assert isinstance(found["person"]["age"], int)


def test_models(found: dict[str, Any]) -> None:
    assert found["models"] == ["sandbox", "local/sandbox/sandbox"]
    assert found["retrieved"] == "local/sandbox/sandbox"


def test_errors_are_of_the_class_of_their_status(found: dict[str, Any]) -> None:
    assert found["errors"] == {
        "temperature": ["BadRequestError", 400, "invalid_parameter"],
        "unknown": ["NotFoundError", 404, "model_not_found"],
        "failing": ["InternalServerError", 502, "upstream_error"],
        "key": ["AuthenticationError", 401, "invalid_api_key"],
    }


def test_p1_a_broken_stream_raises(found: dict[str, Any]) -> None:
    assert found["broken"]
    assert found["brokenBy"] == ["APIError", "upstream_stream_truncated"]


def test_responses(found: dict[str, Any]) -> None:
    assert "Hello there" in found["response"]
    assert found["called"] == ["Bern", "Oslo"]
    assert found["deltas"] >= 2
    assert found["brokenResponse"]
    assert found["brokenResponseBy"] == ["APIError", "upstream_stream_truncated"]
