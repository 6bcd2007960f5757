"""The OpenAPI document is sound, and real answers are what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.gateway import CHAT, PEPPER, Reply, Running, Serve, Threaded, model, provider

from sealgate.config import Auth, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.errors import CODES
from sealgate.relay.shapes import ChatRequest
from sealgate.testing import Issuer, ScriptedUpstream, answer, error, tool
from sealgate.testing.thread import ThreadedUpstream

Json = dict[str, Any]


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


@pytest.fixture
async def document(running: Running, anyio_backend: str) -> Json:
    reply = await running.get("/openapi.json", {})
    assert reply.headers["content-type"] == "application/json"
    return reply.json


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(document: Json, schema: Json) -> Draft202012Validator:
    """For one schema, with the document's components at hand."""
    return Draft202012Validator({**schema, "components": document["components"]})


def answer_schema(document: Json, path: str, method: str = "get", media: str = "application/json") -> Json:
    schema: Json = document["paths"][path][method]["responses"]["200"]["content"][media]["schema"]
    return schema


def fits(document: Json, schema: Json, value: Any) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in validator(document, schema).iter_errors(value)]
    assert not errors, errors


@pytest.mark.anyio
async def test_the_document_is_sound(document: Json) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document["info"]) >= {"title", "version"}
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    used = {reference.rpartition("/")[2] for reference in references(document)}
    assert used == schemas.keys(), "a type nobody refers to"
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_]+", each) for each in ids)


@pytest.mark.anyio
async def test_each_operation_says_what_it_needs_and_gives(document: Json) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"].endswith(".")
        assert set(operation["responses"]) == {"200", "default"}
        assert all(response["description"] for response in operation["responses"].values())
        named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path
        for parameter in operation.get("parameters", []):
            assert parameter["in"] in ("path", "query", "header")
            assert (parameter["in"] == "path") == parameter["required"]
        for requirement in operation.get("security", []):
            assert requirement.keys() <= document["components"]["securitySchemes"].keys()
        if method == "get":
            assert "requestBody" not in operation


@pytest.mark.anyio
async def test_every_endpoint_is_in_it_and_nothing_else(document: Json, running: Running) -> None:
    table = running.gateway.front._routes.table
    built = {(path, route.method.lower()) for route in table for path in route.paths}
    told = {(path, method) for path, method, _ in operations(document)}
    assert built - told == {("/openapi.json", "get"), ("/docs", "get")}
    assert told <= built
    for path in (CHAT, "/api" + CHAT):
        assert {} not in document["paths"][path]["post"]["security"]
    assert {} in document["paths"]["/v1/models"]["get"]["security"]
    assert "security" not in document["paths"]["/health"]["get"]


@pytest.mark.anyio
async def test_keys_tokens_and_logins_are_the_ways_to_say_who_one_is(document: Json) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "ApiKey": "http", "XApiKey": "apiKey", "JWT": "http", "OAuth2": "oauth2",
    }  # fmt: skip
    assert (schemes["JWT"]["scheme"], schemes["JWT"]["bearerFormat"]) == ("bearer", "JWT")
    ways = [{"ApiKey": []}, {"XApiKey": []}, {"JWT": []}, {"OAuth2": ["openid", "email", "profile"]}]
    for path in (CHAT, "/api" + CHAT, "/api/v1/auth/me"):
        [operation] = document["paths"][path].values()
        assert operation["security"] == ways


@pytest.mark.anyio
async def test_it_says_where_the_issuers_tokens_come_from(serve: Serve) -> None:
    async with Issuer() as one, Issuer() as two:
        one.broken = error(503)
        rules = {"audience": ("sealgate",), "algorithms": ("ES256",)}
        issuers = {"the first": Rules(issuer=one.url, **rules), "two": Rules(issuer=two.url, **rules)}
        async with serve({}, auth=Auth(pepper=Secret(PEPPER), issuers=issuers)) as running:
            await running.get("/v1/models", {"authorization": two.token()})
            schemes = (await running.get("/openapi.json", {})).json["components"]["securitySchemes"]
            assert schemes["OpenID-the_first"]["openIdConnectUrl"] == f"{one.url}/.well-known/openid-configuration"
            assert schemes["OpenID-two"]["type"] == "openIdConnect"
            [flow] = schemes["OAuth2"]["flows"].items()
            assert flow == (
                "authorizationCode",
                {
                    "authorizationUrl": f"{two.url}/authorize",
                    "tokenUrl": f"{two.url}/token",
                    "scopes": {"openid": "Who it is.", "email": "The e-mail address.", "profile": "The name."},
                },
            )


@pytest.mark.anyio
async def test_every_code_and_every_field_is_told(document: Json) -> None:
    failure = document["paths"][CHAT]["post"]["responses"]["default"]["description"]
    assert all(f"{code.name} ({code.status})" in failure for code in CODES.values())
    fields = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert fields.keys() == set(ChatRequest.__struct_encode_fields__)
    assert all("description" in field for field in fields.values())


@pytest.mark.anyio
async def test_real_whole_answers_are_what_it_says(
    running: Running, upstream: ThreadedUpstream, document: Json
) -> None:
    schema = answer_schema(document, CHAT, "post")
    details = {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
    for said in (
        answer(), answer(tool_calls=[tool("f", {})]), answer(refusal="no"), answer("x", reasoning="y"), answer(n=2),
        answer(logprobs=True), answer(finish_reason="length"), answer(finish_reason="content_filter"),
        answer(usage={"prompt_tokens": 9, "completion_tokens": 9, **details}), answer(usage=None),
        answer(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "c", "input": "free"}}]),
    ):  # fmt: skip
        upstream.enqueue(said)
        reply = await running.chat(service_tier="flex")
        assert reply.status == 200
        fits(document, schema, reply.json)
    reply = await running.chat("Hello", model="sandbox/think")
    fits(document, schema, reply.json)


@pytest.mark.anyio
async def test_real_streams_are_what_it_says(running: Running, upstream: ThreadedUpstream, document: Json) -> None:
    schema = answer_schema(document, CHAT, "post", "text/event-stream")
    for said in (
        answer(), answer(tool_calls=[tool("f", {"a": 1})]), answer(refusal="no"), answer("x", reasoning="y"),
        answer(logprobs=True), answer(usage=None), answer(n=2),
        answer(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "c", "input": "free form"}}]),
    ):  # fmt: skip
        for options in ({}, {"stream_options": {"include_usage": True}}):
            upstream.enqueue(said)
            reply = await running.chat(stream=True, **options)
            assert reply.done
            for each in reply.documents:
                fits(document, schema, each)


@pytest.mark.anyio
async def test_real_errors_are_what_it_says(running: Running, upstream: ThreadedUpstream, document: Json) -> None:
    async def replies() -> list[Reply]:
        upstream.enqueue(error(503), error(400))
        return [
            await running.chat(), await running.chat(), await running.post(CHAT, b"{"),
            await running.post("/api" + CHAT, running.ask(n=0)), await running.get("/nowhere"),
            await running.get("/v1/models/x"), await running.get("/v1/models", {"authorization": "x"}),
        ]  # fmt: skip

    schema = document["paths"][CHAT]["post"]["responses"]["default"]["content"]["application/json"]["schema"]
    found = await replies()
    assert [each.status for each in found] == [503, 400, 400, 422, 404, 404, 401]
    for reply in found:
        fits(document, schema, reply.json)


@pytest.mark.anyio
async def test_the_other_endpoints_answer_as_it_says(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream:
        providers = {"acme": provider(upstream)}
        async with serve(
            providers, {"m": model("acme", aliases=("n",)), "e": model("acme", type="embedding")}
        ) as running:
            document = (await running.get("/openapi.json", {})).json
            for asked, path in (
                ("/v1/models", "/v1/models"),
                ("/v1/models?detail=true", "/v1/models"),
                ("/api/v1/models", "/api/v1/models"),
                ("/v1/models/m", "/v1/models/{model}"),
                ("/v1/models/global/acme/m?detail=true", "/v1/models/{model}"),
                ("/health", "/health"),
                ("/status", "/status"),
                ("/health/ready", "/health/ready"),
            ):
                reply = await running.get(asked)
                assert reply.status == 200
                fits(document, answer_schema(document, path), reply.json)
            running.gateway.drain()
            fits(document, answer_schema(document, "/health/ready"), (await running.get("/health/ready")).json)


@pytest.mark.anyio
async def test_what_it_allows_as_a_request_is_allowed(running: Running, document: Json) -> None:
    """And what it forbids is refused: the types that check a body are those that are shown."""
    schema = document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    known = validator(document, schema)
    for fields in (
        {}, {"temperature": 2}, {"stop": "x"}, {"stop": ["a", "b"]}, {"n": 1}, {"seed": None}, {"tools": []},
        {"response_format": {"type": "json_object"}}, {"own": 1}, {"logprobs": True, "top_logprobs": 3},
    ):  # fmt: skip
        assert known.is_valid(running.ask(**fields)), fields
        assert (await running.chat(**fields)).status == 200, fields
    for fields in (
        {"temperature": 2.1}, {"temperature": "1"}, {"stop": ["a"] * 5}, {"n": 0}, {"stream": "true"},
        {"response_format": {"type": "yaml"}}, {"messages": []}, {"messages": [{"role": "user"}]}, {"max_tokens": 1.5},
    ):  # fmt: skip
        assert not known.is_valid({**running.ask(), **fields}), fields
        assert (await running.post(CHAT, {**running.ask(), **fields})).status == 400, fields
