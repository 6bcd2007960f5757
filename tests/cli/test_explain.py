"""``sealgate explain``: the plan of a request, from the configuration alone."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sealgate.cli import app
from sealgate.limits.ledger import Entry, Outcome, row
from sealgate.sessions import store
from sealgate.sessions.store import Holder, Wanted
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger

CONFIG = """
[server]
discover = false
[providers.acme]
kind = "openai"
api_key = "acme-secret-key"
region = "eu"
[providers.local]
kind = "vllm"
base_url = "http://127.0.0.1:9/v1"
[models.m]
routes = [ { provider = "acme", model = "up-a", weight = 3 }, { provider = "local", model = "up-b" } ]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "sealgate.toml"
    file.write_text(CONFIG)
    return str(file)


def explain(*arguments: str, content: str | None = None) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments], input=content)


def test_the_plan_is_printed_with_reasons(config: str) -> None:
    found = explain("m", "--config", config)
    assert found.exit_code == 0, found.output
    for words in ("auto/auto/m", "eu/acme/m", "up-a", "drawn with weight 3 of 4", "global/local/m", "up-b"):
        assert words in found.output
    assert "acme-secret-key" not in found.output


def test_a_request_decides_what_is_eligible(config: str, tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}
    body = {"messages": [{"role": "user", "content": [picture]}], "model": "ignored"}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    for found in (
        explain("m", "--config", config, "--json", "--request", str(file)),
        explain("m", "--config", config, "--json", "--request", "-", content=json.dumps(body)),
    ):
        document = json.loads(found.stdout)
        assert [each["route"] for each in document["targets"]] == ["eu/acme/m"]
        assert document["skipped"] == [{"route": "global/local/m", "reason": "takes media as data URLs only"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("n",), "model_not_found: There is no model 'n'."),
        (("us/auto/m",), "model_not_found: There is no model 'us/auto/m'."),
        (("m", "--request", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_explained_gets_a_sentence(config: str, arguments: tuple[str, ...], said: str) -> None:
    found = explain(*arguments, "--config", config)
    assert found.exit_code == 1
    assert "Traceback" not in found.output
    assert said in found.output


def test_a_request_that_is_none_gets_a_sentence(config: str) -> None:
    found = explain("m", "--config", config, "--request", "-", content="[1]")
    assert found.exit_code == 1
    assert "is not a JSON object" in found.output
    found = explain("m", "--config", config, "--request", "-", content='{"messages": []}')
    assert (found.exit_code, "invalid_messages" in found.output) == (1, True)


def test_a_requests_session_says_which_route_comes_first(config: str, tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/sealgate.db", time.time_ns() // 1000
    where = {"SEALGATE_STORAGE__URL": url}
    holder = Holder("acme", "k", None)
    storage = open_storage(url)
    try:
        made = asyncio.run(
            storage.write(
                lambda connection: store.open_one(connection, Wanted("session-1", holder, "m", 60, now, reuse=True))
            )
        )
        answered = Entry(
            id="1", request_id="1", customer_id="acme", endpoint="chat.completions", created_at=now, outcome=Outcome.OK,
            session_id=made.id, routed_model="global/local/m",
        )  # fmt: skip
        asyncio.run(storage.append(ledger, row(answered)))
    finally:
        storage.close()

    def asked(session_id: str, model: str = "m") -> Result:
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "session_id": session_id})
        arguments = ["explain", model, "--config", config, "--json", "--request", "-"]
        return CliRunner(env=where).invoke(app, arguments, input=body)

    targets = json.loads(asked("session-1").stdout)["targets"]
    assert [each["route"] for each in targets] == ["global/local/m", "eu/acme/m"]
    assert targets[0]["reason"] == "the session is there"
    assert "session_not_found" in asked("session-2").output
    assert "session_model_mismatch" in asked("session-1", "local::other").output
