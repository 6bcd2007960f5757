"""Which client carries the requests of an account: shared where accounts connect alike, made when it is needed."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Serve, provider

from sealgate.config import Provider
from sealgate.errors import ConfigError
from sealgate.outward.aiohttp_client import AiohttpClient
from sealgate.outward.client import Client
from sealgate.outward.http1 import Http1Client
from sealgate.providers.sandbox import SandboxClient
from sealgate.relay.catalog import make_account
from sealgate.relay.upstreams import Upstreams
from sealgate.testing import ScriptedUpstream, answer
from sealgate.testing.openai_wire import GREETING

HTTPS = "https://llm.acme.example/v1"
HTTP = "http://127.0.0.1:9/v1"


def clients(**rows: Provider) -> dict[str, Client]:
    upstreams = Upstreams(rows)
    accounts = {table: make_account(table, row) for table, row in rows.items()}
    found = {table: upstreams.way(account)[0] for table, account in accounts.items()}
    assert all(upstreams.way(accounts[table])[0] is client for table, client in found.items()), "it is made once"
    return found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that only trusts itself, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program is needed to make certificates")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    made = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=here"
    words = [openssl, *made.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", file]
    subprocess.run(words, check=True, capture_output=True)
    return file


def test_accounts_that_connect_alike_share_a_client_and_its_connections() -> None:
    found = clients(a=provider(HTTPS), b=provider(HTTPS, kind="vllm", region="eu"), c=provider(HTTP), d=provider(HTTP))
    assert found["a"] is found["b"]
    assert found["c"] is found["d"]
    assert isinstance(found["a"], Http1Client)


def test_what_connects_otherwise_has_a_client_of_its_own(certificate: Path) -> None:
    found = clients(
        plain=provider(HTTPS),
        proxied=provider(HTTPS, proxy="http://127.0.0.1:9"),
        trusting=provider(HTTPS, ca_file=str(certificate)),
        showing=provider(HTTPS, client_cert=str(certificate)),
    )
    assert len(set(map(id, found.values()))) == 4
    assert isinstance(found["proxied"], AiohttpClient)


def test_each_sandbox_has_its_own_pace() -> None:
    found = clients(fast=Provider(kind="sandbox"), slow=Provider(kind="sandbox", tokens_per_second=5))
    assert all(isinstance(client, SandboxClient) for client in found.values())
    assert found["fast"] is not found["slow"]


@pytest.mark.parametrize("setting", ["ca_file", "client_cert"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_that_cannot_be_used_is_refused_before_the_first_request(
    tmp_path: Path, setting: str, content: str | None
) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="ca_file or client_cert cannot be used"):
        Upstreams({"acme": provider(HTTPS, **{setting: str(file)})})


@pytest.mark.anyio
async def test_row_e3_a_certificate_that_nobody_vouches_for_is_refused_and_the_next_route_asked(
    serve: Serve, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with ScriptedUpstream(tls=context) as secure:
        providers: dict[str, Any] = {
            "trusted": provider(secure, ca_file=str(certificate)), "unknown": secure, "backup": answer(),
        }  # fmt: skip
        models = {"m": ["unknown", "backup"], "alone": ["unknown"], "known": ["trusted"]}
        async with serve(providers, models) as gateway:
            left, failed, known = [await gateway.chat(model=name) for name in ("m", "alone", "known")]
            await gateway.rows(3)
    assert left.tresor["routed_model"] == "global/backup/m"
    assert (failed.status, failed.code) == (502, "upstream_tls_error")
    assert failed.attempts == [("global/unknown/alone", "tls", None)]
    assert failed.headers["x-should-retry"] == "false"
    assert known.text == GREETING
    assert len(secure.requests) == 1, "no request, and no key, went to the one nobody vouches for"


def test_the_proxy_client_is_imported_only_where_a_proxy_is_configured() -> None:
    """It takes a fifth of a second, which every start would pay."""
    program = "import sys, sealgate.app; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
