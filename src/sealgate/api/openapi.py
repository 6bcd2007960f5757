"""The OpenAPI 3.1 document, made from the table of endpoints, the types and the error codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sealgate import __version__
from sealgate.api.routes import Route
from sealgate.api.shapes import ErrorEnvelope
from sealgate.auth.tokens import Login
from sealgate.errors import CODES

SECURITY: dict[str, dict[str, Any]] = {
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
    "JWT": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of an OpenID Connect issuer that this gateway trusts.",
    },
    "OAuth2": {
        "type": "oauth2",
        "description": "The same, got by a login at the issuer. Empty where no issuer has said where that is.",
        "flows": {},
    },
}
SCOPES = {"openid": "Who it is.", "email": "The e-mail address.", "profile": "The name."}
_WITH_SCOPES = ("oauth2", "openIdConnect")
_REF = "#/components/schemas/{name}"


def document(table: Iterable[Route], logins: Sequence[Login] = ()) -> dict[str, Any]:
    """The whole document as plain objects."""
    security = schemes(logins)
    routes = tuple(table)
    types = [kind for route in routes for kind in (route.body, *_answers(route), route.events) if kind] + [
        ErrorEnvelope
    ]
    schemas, components = msgspec.json.schema_components(list(dict.fromkeys(types)), ref_template=_REF)
    of_type = dict(zip(dict.fromkeys(types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            operation = _operation(route, path, of_type, security)
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
        "components": {"schemas": components, "securitySchemes": security},
    }


def schemes(logins: Sequence[Login]) -> dict[str, dict[str, Any]]:
    """Every way to say who one is: API keys, tokens, and for each issuer where its tokens come from."""
    found = dict(SECURITY)
    if told := [login for login in logins if login.authorization_url and login.token_url]:
        urls = {"authorizationUrl": told[0].authorization_url, "tokenUrl": told[0].token_url}
        found["OAuth2"] = {**SECURITY["OAuth2"], "flows": {"authorizationCode": {**urls, "scopes": SCOPES}}}
    for login in logins:
        # Names of components are more restricted than those of tables (OpenAPI 3.1, section 4.8.7.1).
        name = "OpenID-" + re.sub(r"[^A-Za-z0-9._-]", "_", login.name)
        found[name] = {"type": "openIdConnect", "openIdConnectUrl": login.discovery_url}
    return found


def _needs(route: Route, security: dict[str, dict[str, Any]]) -> list[dict[str, list[str]]]:
    """The alternatives of one endpoint. No token is an administrator's, and with an empty one, none is needed."""
    needs = []
    for name, scheme in security.items():
        if route.access != "admin" or name in ("ApiKey", "XApiKey"):
            needs.append({name: list(SCOPES) if scheme["type"] in _WITH_SCOPES else []})
    return [*needs, {}] if route.access == "optional" else needs


def _operation(route: Route, path: str, of_type: dict[Any, Any], security: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _operation_id(route, path),
        "summary": route.summary,
        "responses": {"200": _success(route, of_type), "default": _failure(of_type)},
    }
    parameters = [*_path_parameters(path), *_parameters(route)]
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": _body(route, of_type[route.body])}
    if route.access != "public":
        found["security"] = _needs(route, security)
    return found


def _body(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    if not route.file:
        return {"application/json": {"schema": schema}}
    file = {"type": "string", "format": "binary", "description": route.file}
    form = {"type": "object", "properties": {"file": file}, "required": ["file"]}
    return {"multipart/form-data": {"schema": {"allOf": [schema, form]}}}


def _operation_id(route: Route, path: str) -> str:
    words = [word.strip("{}") for word in path.split("/") if word]
    return re.sub(r"[^a-zA-Z0-9]+", "_", "_".join([route.method.lower(), *words]))


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _parameters(route: Route) -> list[dict[str, Any]]:
    return [
        _parameter(place, *each)
        for place, given in (("query", route.query), ("header", route.header))
        for each in given
    ]


def _parameter(place: str, name: str, description: str, kind: Any = str) -> dict[str, Any]:
    schema = msgspec.json.schema(kind)
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description}


def _answers(route: Route) -> tuple[Any, ...]:
    """The types of its whole answers."""
    return route.answer if isinstance(route.answer, tuple) else () if route.answer is None else (route.answer,)


def _success(route: Route, of_type: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    schemas = [of_type[kind] for kind in _answers(route)]
    if schemas:
        content["application/json"] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    if route.events is not None:
        content["text/event-stream"] = {"schema": of_type[route.events]}
    return {"description": "Success", **({"content": content} if content else {})}


def _failure(of_type: dict[Any, Any]) -> dict[str, Any]:
    codes = ", ".join(f"{code.name} ({code.status})" for code in CODES.values())
    return {
        "description": f"An error. `error.code` is one of: {codes}.",
        "content": {"application/json": {"schema": of_type[ErrorEnvelope]}},
    }
