"""Parameters that a provider takes in another form, and what the caller is told of that."""

from __future__ import annotations

from typing import NamedTuple

from sealgate.providers.base import Json, Kind

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")


class Adjustment(NamedTuple):
    """One parameter that does not reach the upstream as the caller sent it."""

    param: str
    action: str
    detail: str


def adjust(kind: Kind, fields: Json) -> tuple[Json, list[Adjustment]]:
    """The caller's fields in the form this kind takes, and each change. ``fields`` is not changed."""
    changes: list[Adjustment] = []
    if kind.max_tokens:
        fields = _limit(kind.max_tokens, fields, changes)
    if kind.schema_in_json_object:
        fields = _schema(fields, changes)
    return fields, changes


def _limit(name: str, fields: Json, changes: list[Adjustment]) -> Json:
    for other in TOKEN_LIMITS:
        if other != name and other in fields:
            changes.append(Adjustment(other, "renamed", f"sent as {name}"))
            return {**{key: value for key, value in fields.items() if key != other}, name: fields[other]}
    return fields


def _schema(fields: Json, changes: list[Adjustment]) -> Json:
    """llama.cpp's ``{"type": "json_object", "schema": …}``, which its Python server takes as the only form."""
    wanted = fields.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return fields
    changes.append(Adjustment("response_format", "renamed", "sent as json_object with the schema"))
    return {**fields, "response_format": {"type": "json_object", "schema": wanted["json_schema"].get("schema", {})}}
