"""From a chat's bytes to an `Ask`: the typed part that decides, and the carried dict that goes upstream.

One parse decides for everything: what is forwarded is the re-encoded object, never the raw bytes, so nothing
downstream can read the body in another way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from sealgate.errors import Problem
from sealgate.formats import ids
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.providers.capabilities import media_of
from sealgate.relay import form, pointer
from sealgate.relay.ask import Ask
from sealgate.relay.shapes import (
    CONSTRAINTS,
    GATEWAY_FIELDS,
    MAX_SAFE_INTEGER,
    WALLED_FIELDS,
    WITHOUT_EFFECT,
    ChatRequest,
)

MAX_DEPTH = 64
MAX_ITEMS = 100_000
EPISODE_SLACK_MS = 7_200_000
"""An episode id may be this far ahead of our clock: hosts disagree, and a clock that ran ahead is set back."""

FIELD_CODES = {
    "model": "invalid_model",
    "messages": "invalid_messages",
    "failover": "invalid_failover",
    "episode_id": "invalid_episode_id",
    "tensorzero::episode_id": "invalid_episode_id",
}
"""Codes of fields whose errors have one of their own."""

T = TypeVar("T", bound=msgspec.Struct)

_decode = msgspec.json.Decoder().decode
_FIELDS = {field.encode_name: field.type for field in msgspec.structs.fields(ChatRequest)}
_OWN = GATEWAY_FIELDS | (WALLED_FIELDS - _FIELDS.keys())
_RARE = dict.fromkeys(WALLED_FIELDS - _FIELDS.keys(), "callers may not set this") | dict.fromkeys(
    WITHOUT_EFFECT, "accepted for compatibility, has no effect"
)
_SELDOM = _RARE.keys() | CONSTRAINTS
"""Fields that have rules of their own, and that hardly anybody sends."""
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])"
)
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")
DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)


def read_chat(body: bytes, default_model: str | None = None, trace: Mapping[str, str] | None = None) -> Ask:
    """Parse and check a chat request. Raises `Problem`; nothing here does I/O."""
    fields = decode_object(body)
    typed = typed_as(ChatRequest, fields)
    model = model_named(typed.model, default_model)
    _rules(typed)
    adjustments = [] if _SELDOM.isdisjoint(fields) else _of_seldom(fields)
    media = media_of(fields["messages"])
    media_param, media_size = _media(fields["messages"]) if media else (None, 0)
    episode_id = episode(typed.tensorzero_episode_id or typed.episode_id)
    carried = _carried(fields)
    if not typed.tools:
        carried.pop("tools", None)
        carried.pop("tool_choice", None)
    _tidy_messages(carried)
    older, newer = typed.max_tokens, typed.max_completion_tokens
    if older is not None and newer is not None:
        carried["max_completion_tokens"] = newer = min(older, newer)
        del carried["max_tokens"]
    options = typed.stream_options
    return Ask(
        named=typed,
        model=model,
        type="chat",
        prompt=Prompt(
            carried,
            bool(typed.stream),
            {} if typed.extra_body is None else _extra_body(typed.extra_body, carried),
            {} if typed.extra_headers is None else _extra_headers(typed.extra_headers),
            trace or {},
        ),
        episode_id=episode_id,
        session_id=typed.session_id,
        include_usage=bool(options and options.include_usage),
        media=media,
        media_param=media_param,
        adjustments=adjustments,
        size=len(body) - media_size,
        choices=typed.n or 1,
        max_tokens=newer or older,
        fields=fields,
    )


def _of_seldom(fields: Json) -> list[Adjustment]:
    """What is dropped of them. Raises `Problem` for two constraints."""
    given = [name for name in CONSTRAINTS if fields.get(name) is not None]
    if len(given) > 1:
        raise Problem("invalid_parameter", f"Only one of {' and '.join(given)} may be set.", param=given[1])
    dropped = sorted(name for name in fields.keys() & _RARE if fields[name] is not None)
    return [Adjustment(name, "dropped", _RARE[name]) for name in dropped]


def _carried(fields: Json) -> Json:
    """What goes on, in a dict of its own."""
    if None in fields.values():
        return {name: value for name, value in fields.items() if value is not None and name not in _OWN}
    carried = fields.copy()
    for name in _OWN.intersection(fields):
        del carried[name]
    return carried


def decode_object(body: bytes) -> Json:
    """A JSON object within all bounds, or a `Problem` that says what is wrong and where (rows C1 to C8)."""
    try:
        value = _decode(body)
    except RecursionError:
        raise Problem("json_too_deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(body, error) from None
    if not isinstance(value, dict):
        raise Problem("invalid_body")
    # Brackets and commas in the bytes bound depth and count from above, so most bodies need no walk.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH or (len(body) > MAX_ITEMS and body.count(b",") > MAX_ITEMS):
        _measure(value)
    return value


def _measure(value: Json) -> None:
    level: list[Any] = [value]
    depth = items = 0
    while level:
        depth += 1
        items += sum(map(len, level))
        if depth > MAX_DEPTH:
            raise Problem("json_too_deep")
        if items > MAX_ITEMS:
            raise Problem("too_many_items", f"The body has more than {MAX_ITEMS} items.")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]


def _unreadable(body: bytes, error: Exception) -> Problem:
    """Why a body is not JSON, as exactly as a caller can use it."""
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        return Problem("invalid_encoding")
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(body):
        return Problem("invalid_encoding", "The body is not valid UTF-8.")
    text = str(error)
    if "out of range" in text:
        return Problem("invalid_number")
    offset = int(found[1]) if (found := re.search(r"\(byte (\d+)\)", text)) else None
    if offset is not None and body[offset:].startswith((b"NaN", b"Infinity")):
        return Problem("invalid_number", "NaN and Infinity are not JSON numbers.")
    if ("surrogate" in text or "truncated" in text or "escape" in text) and _LONE_SURROGATE.search(body):
        return Problem("invalid_encoding", "The body has half of a surrogate pair in an escape.")
    return Problem("invalid_json", f"The body is not valid JSON: {text.removeprefix('JSON is malformed: ')}.")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def typed_as(kind: type[T], fields: Json) -> T:
    """The body as ``kind``. Raises `Problem` with every place that is wrong."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        raise _first_problem(fields, kind) from None


def _first_problem(fields: Json, kind: Any) -> Problem:
    """Every place that is wrong, told by the first one. Only failed requests pay for this second look."""
    details = form.places(fields, kind)
    first = details[0]
    name, param = str(first.loc[0]), form.dotted(first.loc)
    code = FIELD_CODES.get(name, "invalid_parameter")
    if first.kind == "too_long" and name in ("messages", "tools"):
        code = "too_many_items"
    elif _is_huge(fields, first.loc):
        code = "invalid_number"
    return Problem(code, f"{param}: {first.msg}.", param=param, details=details)


def _is_huge(fields: Json, loc: tuple[str | int, ...]) -> bool:
    value: Any = fields
    for step in loc:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER


def model_named(given: str | None, default: str | None) -> str:
    """The model that is asked for. Raises `Problem` where there is none, or no such name."""
    model = given or default
    if not model:
        raise Problem("invalid_model", param="model")
    if not model.isprintable() or model != model.strip():
        raise Problem("invalid_model", "The model name has control characters or outer spaces.", param="model")
    return model


def _rules(typed: ChatRequest) -> None:
    """What spans several fields."""
    if typed.top_logprobs is not None and not typed.logprobs:
        raise Problem("invalid_parameter", "top_logprobs needs logprobs to be true.", param="top_logprobs")
    if typed.stream_options is not None and not typed.stream:
        raise Problem("invalid_parameter", "stream_options needs stream to be true.", param="stream_options")
    if typed.tool_choice not in (None, "none", "auto") and not typed.tools:
        raise Problem("invalid_parameter", "tool_choice needs tools.", param="tool_choice")


def episode(given: str | None) -> str | None:
    """The caller's episode id in canonical form. Raises `Problem`."""
    if given is None:
        return None
    made = ids.uuid7_milliseconds(given)
    if made is None or made > time.time_ns() // 1_000_000 + EPISODE_SLACK_MS:
        raise Problem("invalid_episode_id", param="episode_id")
    return ids.dashed(given.replace("-", "").lower())


def _media(messages: list[Json]) -> tuple[str | None, int]:
    """Check each data URL's form; return where the first https URL stands, and how long all data URLs are."""
    by_url, size = None, 0
    for index, message in enumerate(messages):
        content = message.get("content")
        if type(content) is not list:
            continue
        for place, part in enumerate(content):
            at = f"messages[{index}].content[{place}].{part['type']}"
            if part["type"] == "image_url":
                url = part["image_url"]["url"]
                if _is_data_url(url, f"{at}.url"):
                    size += len(url)
                else:
                    by_url = by_url or f"{at}.url"
            elif part["type"] == "file":
                _check_file(part["file"], at)
                size += len(part["file"].get("file_data") or "")
            elif part["type"] == "input_audio":
                size += len(part["input_audio"]["data"])
    return by_url, size


def _is_data_url(url: str, at: str) -> bool:
    if url[:5].lower() == "data:":
        if not DATA_URL.match(url[:512]):
            raise Problem("invalid_media", "A data URL must read data:<type>/<subtype>;base64,<data>.", param=at)
        return True
    if not is_plain_https(url):
        raise Problem("media_url_not_allowed", "Media must be a data URL or a plain https URL.", param=at)
    return False


def is_plain_https(url: str) -> bool:
    """Whether media may be named by it."""
    try:
        parts = urlsplit(url)
        return url.isprintable() and parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:  # what urlsplit says of a bracket without its twin
        return False


def _check_file(file: Json, at: str) -> None:
    if file.get("file_data") is None and file.get("file_id") is None:
        raise Problem("invalid_media", "A file part needs file_data or file_id.", param=at)
    data = file.get("file_data")
    if data is not None and not DATA_URL.match(data[:512]):
        raise Problem("invalid_media", "file_data must be a base64 data URL.", param=f"{at}.file_data")


def _tidy_messages(carried: Json) -> None:
    """Drop what means absent inside messages: nulls but for ``content``, and empty lists of tool calls."""
    given = carried["messages"]
    for index, message in enumerate(given):
        if None in message.values() or message.get("tool_calls") == []:
            if carried["messages"] is given:
                carried["messages"] = given.copy()
            carried["messages"][index] = {
                name: value
                for name, value in message.items()
                if name == "content" or (value is not None and not (name == "tool_calls" and value == []))
            }


def _extra_body(given: Json | list[Json], carried: Json) -> Json:
    """The fields that ``tensorzero::extra_body`` sets, whole: a pointer into a field brings that field along."""
    if isinstance(given, list):
        given = pointer.apply(given, carried)
    walled = sorted(WALLED_FIELDS & given.keys())
    if walled:
        raise Problem("invalid_extra_body", f"extra_body may not set {walled[0]}.", param="tensorzero::extra_body")
    return given


def _extra_headers(given: Json | list[Json]) -> dict[str, str]:
    pairs = given.items() if isinstance(given, dict) else [(item.get("name"), item.get("value")) for item in given]
    found: dict[str, str] = {}
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str) or not _HEADER_NAME.fullmatch(name.lower()):
            raise Problem("invalid_parameter", "A header needs a name and a value.", param="tensorzero::extra_headers")
        if not (value.isascii() and value.isprintable()):
            raise Problem("invalid_parameter", f"The header {name} is not ASCII.", param="tensorzero::extra_headers")
        found[name.lower()] = value
    return found
