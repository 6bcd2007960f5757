"""``sealgate serve`` as an operator sees it: what it prints, its signals, and how it says that it cannot start."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import Served, served
from tests.gateway import provider, settings
from typer.testing import CliRunner

from sealgate.app import open_gateway
from sealgate.cli import app, serve
from sealgate.config import Auth
from sealgate.telemetry.registry import LOG_FIELDS

CONFIG = """
[storage]
data_dir = "data"
[providers.sandbox]
kind = "sandbox"
region = "local"
[models.{model}]
routes = [{{ provider = "sandbox", model = "echo" }}]
"""
CANARY = "canary-of-a-prompt-7f3e"


@contextmanager
def asking(gateway: Served, key: str | None = None, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    """A chat request whose head has come."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=40)
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}], **fields}
    headers = {"authorization": f"Bearer {key or gateway.key}", "content-type": "application/json"}
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        with connection.getresponse() as response:
            yield response


def ask(gateway: Served, key: str | None = None, **fields: Any) -> int:
    """The status of a chat request, read to its end."""
    with asking(gateway, key, **fields) as response:
        response.read()
        return response.status


def log_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "err.txt").read_text().splitlines()]


def until(holds: Callable[[], Any], seconds: float = 40) -> Any:
    """The first true value of ``holds``."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A first start without any configuration, for tests that do not stop it."""
    with served(tmp_path_factory.mktemp("first")) as gateway:
        yield gateway


def printed(gateway: Served) -> str:
    return (gateway.folder / "out.txt").read_text()


def test_the_first_start_says_where_it_is_and_gives_a_key(house: Served) -> None:
    text = printed(house)
    assert f"{house.url}/v1" in text
    assert f"{house.url}/docs" in text
    assert re.search(r"models +sandbox", text)
    [key] = set(re.findall(r"sk-sealgate-[\w-]{43}", text))
    assert text.count("shown only now") == 1
    assert ask(house, key) == 200
    assert key not in (house.folder / "err.txt").read_text()


def test_the_printed_line_works_as_it_stands(house: Served) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = printed(house)[printed(house).index("curl") :].replace("curl", "curl -sS", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=100, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_p22_no_content_and_no_key_in_logs_or_database(house: Served) -> None:
    given = {"user": "canary-user", "messages": [{"role": "user", "content": CANARY}]}
    for fields in (given, {**given, "stream": True}, {**given, "model": "sandbox/fail-400"}, {**given, "n": 0}):
        ask(house, **fields)
    assert ask(house, "sk-sealgate-" + CANARY) == 401
    time.sleep(0.15)  # longer than a line is held back
    kept = {path: path.read_bytes() for path in house.folder.rglob("*") if path.is_file()}
    assert any(path.suffix == ".db" for path in kept)
    for path, content in kept.items():
        assert CANARY.encode() not in content, path
        if path.name != "out.txt":
            assert house.key.encode() not in content, path
    assert all(set(line) <= set(LOG_FIELDS) for line in log_lines(house.folder))


def test_the_life_of_a_gateway(tmp_path: Path) -> None:
    """SIGHUP takes a good configuration and refuses a bad one (I4); SIGTERM lets a stream finish, exit code 0 (I1)."""
    file = tmp_path / "sealgate.toml"
    file.write_text(CONFIG.format(model="old"))
    with served(tmp_path) as gateway:
        assert ask(gateway, model="old") == 200
        assert ask(gateway, model="new") == 404

        file.write_text(CONFIG.format(model="new"))
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: ask(gateway, model="new") == 200)
        assert ask(gateway, model="old") == 404

        file.write_text("[models.broken\n")
        gateway.process.send_signal(signal.SIGHUP)
        said = until(lambda: [line for line in log_lines(tmp_path) if line["event"] == "reload_refused"])
        assert "sealgate.toml is not valid TOML" in said[0]["error"]
        assert ask(gateway, model="new") == 200

        with asking(gateway, model="sandbox/slow-100", stream=True) as response:
            assert response.readline().startswith(b"data: ")
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: _refuses(gateway))
            assert gateway.process.poll() is None
            assert response.read().endswith(b"data: [DONE]\n\n")
        assert gateway.process.wait(timeout=60) == 0
    [line] = [line for line in log_lines(tmp_path) if line["event"] == "request" and line.get("stream")]
    assert (line["status"], line["outcome"]) == (200, "ok"), "the line of the last request is not lost"


def _refuses(gateway: Served) -> bool:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_a_stream_at_once_and_honestly(tmp_path: Path) -> None:
    """Row I2."""
    with served(tmp_path) as gateway:
        with asking(gateway, model="sandbox/slow-1", stream=True) as response:
            assert response.readline().startswith(b"data: ")
            gateway.process.send_signal(signal.SIGINT)
            until(lambda: _refuses(gateway))
            gateway.process.send_signal(signal.SIGTERM)
            rest = response.read()
        assert b'"code":"gateway_shutting_down"' in rest
        assert b"[DONE]" not in rest
        assert gateway.process.wait(timeout=60) == 0


def announced(folder: Path, capsys: pytest.CaptureFixture[str], *, required: bool = True) -> str:
    """What a start in that folder prints."""

    async def start() -> None:
        gateway = await open_gateway(settings(folder, {"acme": provider("http://127.0.0.1:9/v1")}, auth=Auth(required)))
        serve._announce(gateway, ("::1", 3000), "http")
        await gateway.aclose()

    asyncio.run(start())
    return capsys.readouterr().out


def test_a_second_start_says_that_the_key_was_made_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = announced(tmp_path, capsys), announced(tmp_path, capsys)
    assert "http://[::1]:3000/v1" in first
    assert "acme::MODEL" in first
    assert "sk-sealgate-" in first
    assert "sk-sealgate-" not in second
    assert "made at an earlier start" in second
    assert "keys create --name NAME" in second
    assert "$SEALGATE_KEY" in second


def test_without_authentication_there_is_no_word_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "API key " not in announced(tmp_path, capsys, required=False)


# How it says that it cannot start


def refused(*arguments: str) -> str:
    """What `sealgate serve` says when it does not start."""
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("sealgate: ")
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a configuration that works. A gateway that starts all the same is stopped at once."""
    monkeypatch.setattr(serve, "_announce", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sealgate.toml").write_text(CONFIG.format(model="m"))
    return tmp_path


def test_a_taken_port_is_said_with_a_way_out(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--port" in said
    assert not (folder / "data").exists(), "nothing was begun"


def test_an_address_of_another_machine_is_said(folder: Path) -> None:
    assert "cannot listen on 203.0.113.1" in refused("--host", "203.0.113.1")


def test_a_folder_that_cannot_be_written_is_said(folder: Path) -> None:
    (folder / "data").write_text("a file where a folder should be")
    assert "data" in refused("--port", "0")


def test_a_port_that_is_none_is_said(folder: Path) -> None:
    assert "65535" in refused("--port", "70000")


def test_a_configuration_that_is_not_there_is_said(folder: Path) -> None:
    assert refused("--config", "other.toml") == "sealgate: there is no configuration file other.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server", "is not valid TOML"),
        ("[servr]\nport = 1\n", "did you mean 'server'?"),
        ("[server]\nprot = 1\n", "did you mean 'port'?"),
        ("[server]\nport = 'x'\n", "server.port"),
        ('[server]\nhost = "0.0.0.0"\n[auth]\nrequired = false\n', "only on a loopback address"),
        ('[providers.a]\nkind = "opnai"\n', "did you mean 'openai'?"),
        ('[providers.a]\nkind = "openai"\napi_key = "env::NO_SUCH_VARIABLE"\n', "NO_SUCH_VARIABLE"),
        ('[models.m]\nroutes = [{ provider = "x", model = "y" }]\n', "[providers.x]"),
        ('[storage]\nurl = "mysql://x"\n', "storage.url"),
        ('[auth]\npepper = "short"\n[storage]\ndata_dir = "data"\n', "pepper"),
    ],
)
def test_a_configuration_that_cannot_work_is_said(folder: Path, text: str, said: str) -> None:
    (folder / "sealgate.toml").write_text(text)
    assert said in refused()


def test_the_environment_and_the_command_line_go_before_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALGATE_SERVER__PROT", "1")
    assert "SEALGATE_SERVER__PORT" in refused()
    monkeypatch.delenv("SEALGATE_SERVER__PROT")
    monkeypatch.setenv("SEALGATE_SERVER__HOST", "203.0.113.2")
    assert "203.0.113.2" in refused()
    assert "203.0.113.3" in refused("--host", "203.0.113.3")


def test_a_damaged_database_is_said_and_left_alone(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "sealgate.db").write_bytes(b"no database" * 1000)
    assert "sealgate.db" in refused("--port", "0")
    assert (folder / "data" / "sealgate.db").read_bytes() == b"no database" * 1000


def test_the_program_says_its_version_and_its_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "sealgate", "--version"], capture_output=True, timeout=100, check=True)
    assert re.fullmatch(rb"sealgate \d+\.\d+\.\d+\n", done.stdout)
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in text for name in ("serve", "init", "models", "keys"))


def test_the_server_imports_only_what_it_needs() -> None:
    """What other commands need, or only some configurations, is not waited for at every start."""
    script = (
        "import sys\n"
        "from sealgate.__main__ import _import_structlog_alone\n"
        "_import_structlog_alone()\n"
        "import sealgate.cli.serve\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(ran.stdout.split())
    assert "sealgate.app" in imported
    unneeded = {
        "rich",
        "pygments",
        "alembic",
        "aiohttp",
        "cryptography.x509",
        "joserfc",
        "sealgate.cli.usage",
        "sealgate.testing",
    }
    assert not imported & unneeded
