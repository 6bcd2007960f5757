"""A ``tensorzero.toml``, table by table: what it becomes, and what is said of what has no place."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from sealgate.cli.moving.convert import Moved, of_document


def moved(text: str) -> tuple[Moved, dict[str, Any]]:
    found = of_document(tomllib.loads(text, parse_float=Decimal), "TensorZero", "tensorzero.toml", lambda _: None)
    return found, tomllib.loads(found.text)


def model(settings: str) -> str:
    return f'[models.m]\nrouting = ["p"]\n[models.m.providers.p]\n{settings}\n'


@pytest.mark.parametrize(
    ("settings", "provider", "upstream"),
    [
        ('type="openai"\nmodel_name="g"', {"kind": "openai", "api_key": "env::OPENAI_API_KEY"}, "g"),
        ('type="openai"\nmodel_name="g"\napi_base="http://h/v1/"\napi_key_location="none"',
         {"kind": "compatible", "base_url": "http://h/v1", "api_key": "none"}, "g"),
        ('type="vllm"\nmodel_name="g"\napi_base="http://h/v1"',
         {"kind": "vllm", "base_url": "http://h/v1", "api_key": "none"}, "g"),
        ('type="tgi"\napi_base="http://h/v1"', {"kind": "tgi", "base_url": "http://h/v1", "api_key": "none"}, "tgi"),
        ('type="azure"\ndeployment_id="d"\nendpoint="env::E"',
         {"kind": "azure", "base_url": "https://set-base-url.invalid", "api_key": "env::AZURE_API_KEY"}, "d"),
        ('type="aws_bedrock"\nmodel_id="n"\nregion="us-east-1"',
         {"kind": "bedrock", "aws_region": "us-east-1", "api_key": "none"}, "n"),
        ('type="aws_sagemaker"\nmodel_name="n"\nregion="sdk"\nendpoint_name="e"\nhosted_provider="tgi"',
         {"kind": "sagemaker", "aws_region": "SET-ME", "endpoint": "e", "carries": "tgi", "api_key": "none"}, "n"),
        ('type="gcp_vertex_anthropic"\nmodel_id="c"\nproject_id="p"\nlocation="eu"',
         {"kind": "vertex", "project": "p", "location": "eu", "api_model": "anthropic", "api_key": "none"}, "c"),
        ('type="xai"\nmodel_name="g"\napi_key_location="path::/keys/x"',
         {"kind": "xai", "api_key": "path::/keys/x"}, "g"),
        ('type="xai"\nmodel_name="g"\napi_key_location={default="env::A", fallback="env::B"}',
         {"kind": "xai", "api_key": "env::A"}, "g"),
        ('type="xai"\nmodel_name="g"\napi_key_location="plain-canary"', {"kind": "xai", "api_key": "env::P_API_KEY"},
         "g"),
    ],
)  # fmt: skip
def test_a_provider_of_a_model_is_a_route(settings: str, provider: dict[str, Any], upstream: str) -> None:
    found, written = moved(model(settings))
    assert list(written["providers"].values()) == [provider]
    assert written["models"]["m"]["routes"] == [{"provider": "p", "model": upstream}]
    assert "canary" not in found.text + str(found)


def test_a_default_of_the_type_is_where_the_key_is() -> None:
    found, written = moved(
        model('type="xai"\nmodel_name="g"') + '[provider_types.xai.defaults]\napi_key_location="env::Z"'
    )
    assert written["providers"]["p"]["api_key"] == "env::Z"
    assert "provider_types.xai.defaults.api_key_location" in found.carried


def test_a_model_without_a_route_that_can_be_is_left() -> None:
    found, written = moved(model('type="dummy"\nmodel_name="g"'))
    assert written == {}
    assert found.left["models.m.routing[0]"] == "the provider is not carried"


def test_a_function_is_a_model_of_its_variants() -> None:
    found, written = moved(
        model('type="xai"\nmodel_name="g"')
        + """
        [functions.f]
        type = "chat"
        [functions.f.variants]
        a = { type = "chat_completion", model = "m" }
        b = { type = "chat_completion", model = "groq::l", temperature = 0.5 }
        c = { type = "chat_completion", model = "m" }
        d = { type = "chat_completion", model = "absent" }
        [functions.f.experimentation]
        type = "static_weights"
        candidate_variants = { a = 0.25, b = 0.75, d = 1 }
        fallback_variants = ["c"]
        [functions.m]
        type = "chat"
        """
    )
    routes = written["models"]["f"]["routes"]
    assert [(route["model"], route["weight"]) for route in routes] == [("g", 0.25), ("l", 0.75), ("g", 0)]
    assert len({route["provider"] for route in routes}) == 3
    assert written["models"]["f"]["policy"] == "weighted"
    assert "functions.f.experimentation.fallback_variants[0]" in found.carried
    assert "functions.f.experimentation.candidate_variants.a" in found.carried
    assert "functions.f.experimentation.candidate_variants.d" in found.left
    assert found.left["functions.f.variants.d.model"] == "it names no model that was carried"
    assert "its callers get that model" in found.left["functions.m.type"]


def test_without_weights_all_variants_are_alike() -> None:
    _, written = moved(
        '[functions.f]\ntype="json"\nvariants={a={type="chat_completion", model="xai::g"}, '
        'b={type="chat_completion", model="groq::g"}}'
    )
    assert [route["weight"] for route in written["models"]["f"]["routes"]] == [1, 1]


@pytest.mark.parametrize(
    ("bind", "server"),
    [("[::1]:80", {"host": "::1", "port": 80}), ("0.0.0.0:3000", {"host": "0.0.0.0", "port": 3000}), ("x", None)],
)
def test_the_address_and_the_time_of_the_gateway(bind: str, server: dict[str, Any] | None) -> None:
    found, written = moved(
        model('type="xai"\nmodel_name="g"')
        + f'[gateway]\nbind_address="{bind}"\nglobal_outbound_http_timeout_ms=1500\nauth.enabled=true'
    )
    assert written.get("server") == server
    assert ("gateway.bind_address" in found.left) == (server is None)
    assert written["timeouts"] == {"total": 1.5}
    assert "gateway.auth.enabled" in found.carried
