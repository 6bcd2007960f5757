"""Azure OpenAI: OpenAI's wire at an address, and with a header, of its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway import Serve, provider

from sealgate.config import Provider, Secret
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.relay.catalog import make_account
from sealgate.testing import ScriptedUpstream
from sealgate.testing.openai_wire import GREETING

RESOURCE = "https://acme.openai.azure.example"


def url(base_url: str = RESOURCE, model: str = "gpt-5", **fields: Any) -> str:
    account = make_account("az", Provider(kind="azure", base_url=base_url, **fields))
    return account.kind.host.url(account, model, stream=False)


@pytest.mark.parametrize("base_url", [
    RESOURCE, RESOURCE + "/", RESOURCE + "/openai", RESOURCE + "/openai/", RESOURCE + "/openai/v1",
    RESOURCE + "/openai/v1/",
])  # fmt: skip
def test_the_resource_may_be_written_with_or_without_its_path(base_url: str) -> None:
    assert url(base_url) == f"{RESOURCE}/openai/v1/chat/completions"
    assert url(base_url, api_version="2024-10-21") == (
        f"{RESOURCE}/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21"
    )


def test_the_older_api_has_the_deployment_in_its_path() -> None:
    """The route's own model name unless one deployment is set for all."""
    older = {"api_version": "2024-10-21"}
    assert "/deployments/mine/chat" in url(deployment="mine", **older)
    assert "/deployments/gpt-5/chat" in url(**older)


def test_names_cannot_reach_out_of_their_place_in_the_path() -> None:
    found = url(model="../../x?y=1#z", api_version="v 1&a=b")
    assert found == f"{RESOURCE}/openai/deployments/..%2F..%2Fx%3Fy%3D1%23z/chat/completions?api-version=v%201%26a%3Db"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_of_dots_alone_would_be_a_step_up_and_is_no_deployment(name: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        url(model=name, api_version="v1")
    assert caught.value.failure is Failure.MODEL_GONE


def test_the_key_goes_in_a_header_of_its_own() -> None:
    account = make_account("az", Provider(kind="azure", base_url=RESOURCE, api_key=(Secret("k"),)))
    assert account.kind.host.credential("k") == {"api-key": "k"}
    assert account.fixed_headers[0][True]["api-key"] == "k"
    assert "authorization" not in account.fixed_headers[0][True]


def test_a_resource_is_needed() -> None:
    with pytest.raises(ConfigError, match="needs a base_url"):
        make_account("az", Provider(kind="azure"))


@pytest.mark.anyio
@pytest.mark.parametrize(("fields", "path"), [
    ({}, "/openai/v1/chat/completions"),
    ({"api_version": "2024-10-21"}, "/openai/deployments/test-model/chat/completions?api-version=2024-10-21"),
    ({"api_version": "v1", "deployment": "a b"}, "/openai/deployments/a%20b/chat/completions?api-version=v1"),
])  # fmt: skip
async def test_a_request_arrives_where_azure_expects_it(serve: Serve, fields: dict[str, Any], path: str) -> None:
    async with ScriptedUpstream() as upstream:
        rows = {"az": provider(upstream.origin, kind="azure", **fields)}
        async with serve(rows) as gateway:
            reply = await gateway.chat()
        [received] = upstream.requests
    assert (reply.text, received.path) == (GREETING, path)
    assert received.json["model"] == "test-model"
