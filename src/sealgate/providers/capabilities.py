"""What a request may need of a route, by name, and what a route has of it.

*Contract parameters* change what an answer means: a route that lacks one is not asked. *Hints* only steer: where a
provider does not know one, it is left out and the caller is told. `sealgate.providers.table` says who has what.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sealgate.errors import Problem

if TYPE_CHECKING:
    from sealgate.providers.base import Account

Json = dict[str, Any]
NOTHING: frozenset[str] = frozenset()


class Capability(NamedTuple):
    """One thing a route has or has not; ``param`` is the request's field that asks for it."""

    name: str
    param: str
    meaning: str


CAPABILITIES: Mapping[str, Capability] = {
    row[0]: Capability(*row)
    for row in (
        ("tools", "tools", "Functions can be offered, and the model may call them."),
        ("custom_tools", "tools", "Tools of type `custom`, with free or grammar-bound input."),
        ("tool_required", "tool_choice", "`tool_choice` may demand that some tool is called (`required`)."),
        ("tool_choice", "tool_choice", "`tool_choice` may name the tool that must be called."),
        ("tools_with_format", "tools", "Tools and a prescribed form of the answer go together."),
        ("json_object", "response_format", "The answer can be made to be a JSON object."),
        ("json_schema", "response_format", "The answer can be made to satisfy a JSON Schema."),
        ("guided_json", "guided_json", "As `json_schema`, asked for by vLLM's older name."),
        ("guided_regex", "guided_regex", "The answer can be made to match a regular expression."),
        ("guided_choice", "guided_choice", "The answer can be made to be one of several texts."),
        ("guided_grammar", "guided_grammar", "The answer can be made to follow a grammar."),
        ("structural_tag", "structural_tag", "Parts of the answer between tags can be made to satisfy schemas."),
        ("structured_outputs", "structured_outputs", "vLLM's newer object for all of these."),
        ("n", "n", "Several choices for one request (`n` above 1)."),
        ("stop", "stop", "The answer ends before given texts."),
        ("logprobs", "logprobs", "Log probabilities come with the tokens."),
        ("max_tokens", "max_tokens", "The answer's length can be limited."),
        ("images", "messages", "Images in messages."),
        ("files", "messages", "Files in messages."),
        ("audio", "messages", "Sound in messages."),
    )
}
ALL = frozenset(CAPABILITIES)
PARAMETERS: Mapping[str, str] = {name: row.param for name, row in CAPABILITIES.items()}
"""Capability to the request's field that asks for it."""

HINTS = frozenset(
    {
        "seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "verbosity", "metadata", "store",
        "prediction", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "safety_identifier", "top_k", "min_p", "repetition_penalty", "ignore_eos", "chat_template",
        "chat_template_kwargs", "mm_processor_kwargs", "guided_decoding_backend", "guided_whitespace_pattern",
    }
)  # fmt: skip
"""Parameters that a provider may not know, and whose loss does not change what the answer means."""

SAMPLING = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})
"""Parameters that nearly all providers know; a model that refuses one is asked without."""

GUIDED = frozenset({"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structural_tag"})
CONTRACT = frozenset(
    {"tools", "tool_choice", "response_format", "structured_outputs", "n", "stop", "logprobs"}
    | {"max_tokens", "max_completion_tokens"} | GUIDED
)  # fmt: skip
"""The contract parameters, but for what messages hold."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_LIMITED = frozenset({"max_tokens"})
_AS_NAMED = GUIDED | {"structured_outputs", "stop"}
_MEDIA = {"image_url": "images", "file": "files", "input_audio": "audio"}
_FORMATS = GUIDED | {"structured_outputs", "json_object", "json_schema"}


def needed(fields: Json, media: frozenset[str] | None = None) -> frozenset[str]:
    """The capabilities that a request's contract parameters need.

    ``fields`` is the caller's body without the gateway's own fields and without nulls. ``media`` is what `media_of`
    says of the messages, where that is known already. Raises `Problem` for a constraint that cannot be read, and for
    two of them.
    """
    found = media_of(fields["messages"]) if media is None else media
    asked = CONTRACT.intersection(fields)
    if not asked:
        return found
    if not found and asked <= _LIMITS:
        return _LIMITED
    names = {*found, *(_AS_NAMED & asked)}
    if not _LIMITS.isdisjoint(asked):
        names.add("max_tokens")
    if fields.get("n", 1) > 1:
        names.add("n")
    if fields.get("logprobs"):
        names.add("logprobs")
    if (form := fields.get("response_format")) is not None and form["type"] != "text":
        names.add(form["type"])
    if tools := fields.get("tools"):
        names |= _of_tools(tools, fields.get("tool_choice"))
        if not _FORMATS.isdisjoint(names) and fields.get("tool_choice") != "none":
            names.add("tools_with_format")
    if not GUIDED.isdisjoint(names):
        _check_constraint(fields, names)
    return frozenset(names)


def media_of(messages: Iterable[Json]) -> frozenset[str]:
    """``images``, ``files`` and ``audio``, as far as the messages hold them."""
    found = NOTHING
    for message in messages:
        content = message.get("content")
        if type(content) is list:
            found |= {_MEDIA[part["type"]] for part in content if part["type"] in _MEDIA}
    return found


def _of_tools(tools: Iterable[Json], choice: Any) -> set[str]:
    names = {"custom_tools" if tool.get("type") == "custom" else "tools" for tool in tools}
    if type(choice) is dict:
        allowed = choice.get("allowed_tools")
        choice = "named" if allowed is None else allowed.get("mode")
    if choice == "required":
        names.add("tool_required")
    elif choice == "named":
        names.add("tool_choice")
    return names


def _check_constraint(fields: Json, names: set[str]) -> None:
    if "json_schema" in names:
        other = min(GUIDED & names)
        raise Problem("invalid_parameter", f"Only one of response_format and {other} may be set.", param=other)
    for name in ("guided_json", "structural_tag"):
        if name in names and schema_in(fields[name]) is None:
            raise Problem("invalid_parameter", f"{name} is not a JSON object, nor one as text.", param=name)


def schema_in(value: Any) -> Json | None:
    """The JSON Schema in ``guided_json``: an object, or one as text, either of them maybe as ``{name, schema}``."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    if not isinstance(value, dict):
        return None
    inner = value.get("schema")
    if isinstance(inner, dict) and value.keys() <= {"name", "schema", "strict", "description"}:
        return inner
    return value


def missing(capabilities: frozenset[str], needs: frozenset[str]) -> frozenset[str]:
    """What a route lacks for a request; it can be asked if that is nothing."""
    return needs - capabilities


def effective(account: Account, configured: Iterable[str] | None = None, model: str = "") -> frozenset[str]:
    """What a route can do: as its model is configured, else as its provider's kind; with all that follows from it.

    ``model`` is the provider's own name of it.

    Raises `ValueError` for a name that is none.
    """
    if configured is None:
        return account.kind.with_emulated(account.kind.native(model))
    native = frozenset(configured)
    for name in sorted(native - ALL):
        close = difflib.get_close_matches(name, CAPABILITIES, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(CAPABILITIES)}"
        raise ValueError(f"there is no capability '{name}'{hint}")
    return account.kind.with_emulated(native)
