"""OpenAI's request as Gemini's: contents and parts, function declarations, ``generationConfig``.

Source: ``google-genai`` (``types.py`` and the converters in ``models.py``) and the pages of ai.google.dev/gemini-api on
function calling, thinking, structured output and thought signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sealgate.providers.base import Adjustment, Change, Json, Prompt
from sealgate.providers.gemini_contents import Conversation

_encode = msgspec.json.Encoder().encode

PLAIN = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "n": "candidateCount",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
}
"""Fields that only have another name in ``generationConfig``."""
PENALTIES = ("presence_penalty", "frequency_penalty")
MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
LEVELS = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH",
    "max": "XHIGH",
}  # fmt: skip
"""``reasoning_effort`` to the ``thinkingLevel`` of Gemini 3 and later, which always think a little."""
BUDGETS = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576,
}  # fmt: skip
"""``reasoning_effort`` to the ``thinkingBudget`` of Gemini 2.5, in tokens, as Google's own OpenAI surface has it."""
LEAST_OF_PRO = 128
"""Gemini 2.5 Pro cannot stop thinking."""

UNDERSTOOD = frozenset(
    {
        "$id",
        "$schema",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "properties",
    }
    | {"prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "additionalProperties", "required"}
    | {"propertyOrdering", "default", "examples"}
)
"""Keywords of ``responseJsonSchema`` that are enforced or enforce nothing; ``oneOf`` is read as ``anyOf``."""
FORMATS = frozenset({"date-time", "date", "time"})
MAPS = ("properties", "$defs")
LISTS = ("anyOf", "prefixItems")

TERMS = {name: f"`generationConfig.{to}`" for name, to in PLAIN.items()} | {
    "messages": "`contents`, `systemInstruction`", "stop": "`generationConfig.stopSequences`",
    "top_logprobs": "`generationConfig.logprobs`", "tools": "`tools`", "tool_choice": "`toolConfig`",
    "response_format": "`generationConfig.responseMimeType`, `generationConfig.responseJsonSchema`",
}  # fmt: skip
"""Where parameters stand in the body."""
DEPENDS = {
    **dict.fromkeys(PENALTIES, "`generationConfig`; refused by Gemini 3 and later"),
    "reasoning_effort": "`generationConfig.thinkingConfig`, a level or a number of tokens, as the model knows it",
}
"""What the model decides."""

WALLED = frozenset({"contents", "systemInstruction", "model", "serviceTier"})
WALLED_CONFIG = frozenset({"candidateCount", "maxOutputTokens"})
"""What ``extra_body`` may not set, by its names here: it would break walls, prices and the receipt."""
_CACHED = ("systemInstruction", "tools", "toolConfig")
"""What must not stand beside ``cachedContent``, which holds it."""

_MERGED = {"tools": list, "generationConfig": dict, "toolConfig": dict}
"""What is merged with ours rather than put in its place."""
_PIECEMEAL = "streamFunctionCallArguments"
"""Vertex would send arguments by JSON paths."""

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


def body_of(fields: Json, prompt: Prompt, model: str) -> tuple[bytes, list[Adjustment]]:
    """The request's body, and what in it is not as the caller sent it. ``fields`` have been adjusted to the kind."""
    version = version_of(model)
    said: list[Adjustment] = []
    conversation = Conversation(said, modern=version >= (3, 0))
    body: Json = conversation.read(fields["messages"])
    if tools := fields.get("tools"):
        body["tools"] = [{"functionDeclarations": [_declaration(tool["function"], said) for tool in tools]}]
        if (choice := fields.get("tool_choice")) is not None:
            body["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    if config := _config(fields, version, model, said):
        body["generationConfig"] = config
    if prompt.extra_body:
        _merge(body, prompt.extra_body, said)
    return _encode(body), list(dict.fromkeys(said))


def version_of(model: str) -> tuple[int, int]:
    """The generation by a model's name; names that do not tell (``gemini-flash-latest``) mean the newest."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _config(fields: Json, version: tuple[int, int], model: str, said: list[Adjustment]) -> Json:
    config = {to: fields[name] for name, to in PLAIN.items() if name in fields}
    if version >= (3, 0) and version != (99, 0):
        for name in PENALTIES:
            if config.pop(PLAIN[name], None) is not None:
                said.append(Adjustment(name, "dropped", "this model refuses it"))
    if (stop := fields.get("stop")) is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if fields.get("top_logprobs"):
        config["logprobs"] = fields["top_logprobs"]
    if (form := fields.get("response_format")) is not None:
        config |= _form(form)
    if (effort := fields.get("reasoning_effort")) is not None:
        thinking = _thinking(effort, version, model, said)
        if thinking is not None:
            config["thinkingConfig"] = thinking
    return config


def _form(form: Json) -> Json:
    match form["type"]:
        case "json_object":
            return {"responseMimeType": "application/json"}
        case "json_schema":
            wanted = form["json_schema"]
            found: Json = {"responseMimeType": "application/json"}
            if (schema := wanted.get("schema")) is not None:
                told = wanted.get("description")
                found["responseJsonSchema"] = {"description": told, **schema} if told else schema
            return found
        case "enum":
            return {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": form["enum"]}}
        case _:
            return {}


def understood(schema: Any) -> bool:
    """Whether a schema says only what the provider holds an answer to."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    form = schema.get("format", "date")
    if not schema.keys() <= UNDERSTOOD or not isinstance(form, str) or form not in FORMATS:
        return False
    inner = [each for name in MAPS if isinstance(found := schema.get(name), dict) for each in found.values()]
    inner += [each for name in LISTS if isinstance(found := schema.get(name), list) for each in found]
    inner += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    return all(understood(each) for each in inner)


def _thinking(effort: str, version: tuple[int, int], model: str, said: list[Adjustment]) -> Json | None:
    """How much to think, in the model's own terms; the thoughts come with the answer where there are to be any."""
    name = "reasoning_effort"
    if effort not in LEVELS:
        said.append(Adjustment(name, "dropped", "there is no such level"))
        return None
    if version < (2, 5):
        said.append(Adjustment(name, "dropped", "this model does not think"))
        return None
    pro = "-pro" in model
    if version < (3, 0):
        budget = max(BUDGETS[effort], LEAST_OF_PRO if pro else 0)
        said.append(Adjustment(name, "renamed", f"{effort} sent as thinkingBudget {budget}"))
        return {"thinkingBudget": budget, "includeThoughts": effort != "none"}
    level = "LOW" if pro and LEVELS[effort] == "MINIMAL" else LEVELS[effort]
    if level.lower() != effort:
        said.append(Adjustment(name, "renamed", f"{effort} sent as thinkingLevel {level}"))
    return {"thinkingLevel": level, "includeThoughts": effort != "none"}


def _declaration(function: Json, said: list[Adjustment]) -> Json:
    found: Json = {"name": function["name"]}
    if (description := function.get("description")) is not None:
        found["description"] = description
    if (parameters := function.get("parameters")) is not None:
        # JSON Schema as it is; `parameters` would take a dialect of its own.
        found["parametersJsonSchema"] = parameters
    if function.get("strict"):
        said.append(Adjustment("tools[].function.strict", "dropped", "the provider takes no such field"))
    return found


def _calling(choice: Any) -> Json:
    if isinstance(choice, str):
        return {"mode": MODES[choice]}
    if (allowed := choice.get("allowed_tools")) is not None:
        mode = "ANY" if allowed["mode"] == "required" else "VALIDATED"
        return {"mode": mode, "allowedFunctionNames": [_name(tool) for tool in allowed["tools"]]}
    return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}


def _name(tool: Json) -> Any:
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else None


def _merge(body: Json, extra: Json, said: list[Adjustment]) -> None:
    """Add what the caller sets in Gemini's own terms.

    Tools are added, the members of ``generationConfig`` and ``toolConfig`` replace ours one by one, everything else as
    a whole.
    """
    for given, value in extra.items():
        name = _camel(given)
        wanted = _MERGED.get(name)
        if name in WALLED:
            said.append(_walled(given))
        elif wanted is None:
            body[name] = value
        elif not isinstance(value, wanted):
            said.append(Adjustment(f"tensorzero::extra_body.{given}", "dropped", "it has another form"))
        elif name == "tools":
            body[name] = [*body.get(name, ()), *value]
        else:
            members = {_camel(member): inner for member, inner in value.items()}
            walled = WALLED_CONFIG & members.keys() if name == "generationConfig" else ()
            said += [_walled(f"{given}.{member}") for member in sorted(walled)]
            allowed = {key: inner for key, inner in members.items() if key not in walled}
            body[name] = body.get(name, {}) | allowed
    _keep_whole(body, said)
    if "cachedContent" in body:
        for name in _CACHED:
            if body.pop(name, None) is not None:
                said.append(Adjustment(name, "dropped", "cachedContent holds it"))


def _keep_whole(body: Json, said: list[Adjustment]) -> None:
    """Calls are read whole, so that their pieces must not be asked for."""
    calling = body.get("toolConfig", {}).get("functionCallingConfig")
    if isinstance(calling, dict) and _PIECEMEAL in calling:
        said.append(Adjustment(f"toolConfig.functionCallingConfig.{_PIECEMEAL}", "dropped", "calls come whole"))
        others = {name: value for name, value in calling.items() if name != _PIECEMEAL}
        body["toolConfig"] = {**body["toolConfig"], "functionCallingConfig": others}


def _walled(name: str) -> Adjustment:
    return Adjustment(f"tensorzero::extra_body.{name}", "dropped", "callers may not set this")


def _camel(name: str) -> str:
    """Google takes both spellings, but not both at once."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _as_enum(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
    body["response_format"] = {"type": "enum", "enum": body.pop(name)}
    said: Sequence[Adjustment] = (Adjustment(name, "emulated", "sent as response_format text/x.enum"),)
    if "response_format" in given:
        said = (*said, Adjustment("response_format", "dropped", f"{name} says more"))
    return said


ENUM = Change(
    "emulated",
    "`response_format` text/x.enum with `generationConfig.responseSchema`",
    _as_enum,
    gives="guided_choice",
    needs="json_schema",
)
"""``guided_choice`` as Gemini's own form of answer."""
