"""The OpenAPI 3.1 document, made from the table of endpoints, the types and the error codes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from sealgate import __version__
from sealgate.api.routes import Route
from sealgate.api.shapes import ErrorEnvelope
from sealgate.errors import CODES

SECURITY = {
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer sk-…`. The word Bearer may be left out.",
    },
    "XApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key, as some SDKs send it.",
    },
}
_REF = "#/components/schemas/{name}"


def document(table: Iterable[Route]) -> dict[str, Any]:
    """The whole document as plain objects."""
    routes = tuple(table)
    types = [kind for route in routes for kind in (route.body, route.answer, route.events) if kind] + [ErrorEnvelope]
    schemas, components = msgspec.json.schema_components(list(dict.fromkeys(types)), ref_template=_REF)
    of_type = dict(zip(dict.fromkeys(types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            operation = _operation(route, path, of_type)
            paths.setdefault(path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sealgate",
            "version": __version__,
            "description": "A gateway for language models that speaks OpenAI's API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY},
    }


def _operation(route: Route, path: str, of_type: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _operation_id(route, path),
        "summary": route.summary,
        "responses": {"200": _success(route, of_type), "default": _failure(of_type)},
    }
    parameters = [*_path_parameters(path), *_parameters(route)]
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": of_type[route.body]}}}
    if route.access != "public":
        # An empty alternative says that the credential may be missing.
        found["security"] = [{name: []} for name in SECURITY] + ([{}] if route.access == "optional" else [])
    return found


def _operation_id(route: Route, path: str) -> str:
    words = [word.strip("{}") for word in path.split("/") if word]
    return re.sub(r"[^a-zA-Z0-9]+", "_", "_".join([route.method.lower(), *words]))


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": description}
        for place, given in (("query", route.query), ("header", route.header))
        for name, description in given
    ]


def _success(route: Route, of_type: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": of_type[route.answer]}
    if route.events is not None:
        content["text/event-stream"] = {"schema": of_type[route.events]}
    return {"description": "Success", **({"content": content} if content else {})}


def _failure(of_type: dict[Any, Any]) -> dict[str, Any]:
    codes = ", ".join(f"{code.name} ({code.status})" for code in CODES.values())
    return {
        "description": f"An error. `error.code` is one of: {codes}.",
        "content": {"application/json": {"schema": of_type[ErrorEnvelope]}},
    }
