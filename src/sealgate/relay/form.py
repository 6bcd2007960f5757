"""What is wrong with the form of a JSON body: every place of it, not only the first.

Bodies are checked by converting them to a type, which is fast and stops at the first mistake. Only a body that was
refused is looked at a second time, here, and then in all its places.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from sealgate.errors import Detail

MAX_PLACES = 100
"""More than anybody reads; a body of a hundred thousand wrong items must not make an answer as long."""

Loc = tuple[str | int, ...]

_PLACE = re.compile(r"(.*?)(?: - at `(?:key` in `)?\$(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")


def places(value: Any, kind: Any) -> list[Detail]:
    """Every place where ``value`` (as JSON is decoded) is not what the type ``kind`` says, at most `MAX_PLACES`.

    Empty exactly where ``msgspec.convert(value, kind)`` succeeds.
    """
    return list(islice(_places(value, kind, ()), MAX_PLACES))


def dotted(loc: Loc) -> str:
    """A place as it is written in messages: ``messages[3].content``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).lstrip(".")


def _places(value: Any, kind: Any, at: Loc) -> Iterator[Detail]:
    """The mistakes inside, each by itself; if there are none, what is wrong with the whole."""
    chosen = _meant(value, kind)
    within: Iterator[Detail] = iter(())
    if isinstance(value, dict) and _is_struct(chosen):
        within = _in_object(value, chosen, at)
    elif isinstance(value, list) and get_origin(chosen) is list and not _too_long(value, kind):
        item = get_args(chosen)[0]
        within = (found for index, each in enumerate(value) for found in _places(each, item, (*at, index)))
    first = next(within, None)
    if first is not None:
        yield first
        yield from within
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield told(error, at)
        if chosen is None and isinstance(value, dict):
            yield from _in_any(value, kind, at)


def _in_object(value: dict[str, Any], kind: Any, at: Loc) -> Iterator[Detail]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, field in fields.items():
        if name not in value and field.required:
            yield Detail((*at, name), "this field is required", "missing")
    for name, inner in value.items():
        if name in fields:
            yield from _places(inner, fields[name].type, (*at, name))
        elif kind.__struct_config__.forbid_unknown_fields and name != kind.__struct_config__.tag_field:
            yield Detail((*at, name), "there is no such field", "extra_forbidden")


def _in_any(value: dict[str, Any], kind: Any, at: Loc) -> Iterator[Detail]:
    """Of an object whose kind cannot be told (a message of an unknown role), what would be wrong with any kind."""
    structs = [member for member in _members(_bare(kind)) if _is_struct(member)]
    fields = [field for each in structs for field in msgspec.structs.fields(each)]
    for name, inner in value.items():
        found = [places(inner, field.type) for field in fields if field.encode_name == name]
        if found and all(found):
            yield from (Detail((*at, name, *each.loc), each.msg, each.kind) for each in found[0])


def _meant(value: Any, kind: Any) -> Any:
    """Of a union, the member that ``value`` was plainly meant to be; None where that is open."""
    kind = _bare(kind)
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    members = _members(kind)
    if isinstance(value, list):
        members = [member for member in members if get_origin(member) is list]
    else:
        members = [member for member in members if _is_struct(member) and _has_tag(value, member)]
    return members[0] if len(members) == 1 else None


def _members(kind: Any) -> list[Any]:
    """Unions inside unions, as named unions in other unions are."""
    if get_origin(kind) in (Union, types.UnionType):
        return [inner for member in get_args(kind) for inner in _members(_bare(member))]
    return [kind]


def _has_tag(value: Any, kind: Any) -> bool:
    config = kind.__struct_config__
    return config.tag is None or (isinstance(value, dict) and value.get(config.tag_field) == config.tag)


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _too_long(value: list[Any], kind: Any) -> bool:
    """Whether a list is longer than it may be, by an annotation anywhere on its type: then its items do not matter."""
    found = [meta.max_length for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    inner = get_args(kind) if get_origin(kind) in (Annotated, Union, types.UnionType) else ()
    return any(most is not None and len(value) > most for most in found) or any(
        _too_long(value, member) for member in inner if get_origin(member) in (Annotated, Union, types.UnionType)
    )


def told(error: msgspec.ValidationError, at: Loc) -> Detail:
    """What msgspec says of a value, in plain words and with its place."""
    text, place = _PLACE.fullmatch(str(error)).groups()  # type: ignore[union-attr]
    steps = tuple(int(i) if i.isdigit() else name for name, i in _STEP.findall(place or "") if i != "...")
    loc = (*at, *steps)
    if found := _MISSING.fullmatch(text):
        return Detail((*loc, found[1]), "this field is required", "missing")
    if found := _UNKNOWN.fullmatch(text):
        return Detail((*loc, found[1]), "there is no such field", "extra_forbidden")
    words = text.replace("`", "").replace("array", "list")
    kind = "type_error" if "got" in text else "too_long" if "length <=" in text else "value_error"
    return Detail(loc, words[0].lower() + words[1:], kind)
