"""Which constraint a request puts on its answer, in any of the spellings in use, and what writes answers for it.

``response_format`` (OpenAI, vLLM, SGLang), ``guided_json`` and its sisters and ``structural_tag`` (vLLM before 0.12),
``structured_outputs`` (vLLM since), ``regex`` and ``ebnf`` (SGLang). At most one constraint may be given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.grammar.source import gbnf_writer, grammar_writer, lark_writer
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import RefusedError, UnsupportedError
from sealgate.providers.sandbox.schema.json_text import json_writer
from sealgate.providers.sandbox.structural import structural_writer

T = TypeVar("T")
Json = dict[str, Any]
Write = Callable[[Chance, Hints], str]

_OBJECT: Json = {
    "type": "object",
    "properties": {"source": {"const": "Sealgate's offline sandbox"}, "text": {"type": "string"}},
    "required": ["source", "text"],
}
"""What ``json_object`` gets, where no schema says more."""


class Guide:
    """One constraint. ``write`` makes a text that fulfils it, or raises `RefusedError` naming the field it came in."""

    def __init__(self, param: str, make: Callable[[], Write]) -> None:
        self.param = param
        self._write = self._guarded(make)

    def write(self, chance: Chance, hints: Hints) -> str:
        return self._guarded(lambda: self._write(chance, hints))

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except RecursionError:
            problem = "it is nested too deep"
        except UnsupportedError as error:
            problem = str(error)
        raise RefusedError(
            f"The constraint in '{self.param}' cannot be honoured: {problem}.",
            param=self.param,
            code="unsupported_schema",
        )


def read_guide(body: Json) -> Guide | None:
    """The request's constraint, None where there is none. Raises `RefusedError`."""
    if _FIELDS.isdisjoint(body):
        return None
    found = [(name, name, body[name]) for name in _MAKERS if name in _FIELDS and body.get(name) is not None]
    newer = body.get("structured_outputs")
    if newer is not None:
        found += [(f"structured_outputs.{word}", name, value) for word, name, value in _structured(newer)]
    form = body.get("response_format")
    if form is not None:
        found += [("response_format", name, value) for name, value in _response_format(form)]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(param for param, _, _ in found)
        raise RefusedError(f"At most one constraint may be given, but there are several: {names}.", param=found[1][0])
    param, name, value = found[0]
    blanks = body.get("guided_whitespace_pattern")
    if name == "guided_json":
        blanks = newer.get("whitespace_pattern", blanks) if isinstance(newer, dict) else blanks
        return Guide(param, lambda: _json(value, blanks))
    return Guide(param, lambda: _MAKERS[name](value))


def _structured(value: Any) -> list[tuple[str, str, Any]]:
    """vLLM's ``structured_outputs`` in the older names."""
    if not isinstance(value, dict):
        raise RefusedError("'structured_outputs' must be an object.", param="structured_outputs", code="invalid_type")
    found = [(word, name, value[word]) for word, name in _NEWER.items() if value.get(word) not in (None, False)]
    if len(found) != 1:
        raise RefusedError(
            f"'structured_outputs' needs exactly one of {', '.join(_NEWER)}.", param="structured_outputs"
        )
    return found


def _response_format(form: Any) -> list[tuple[str, Any]]:
    param = "response_format"
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return []
    if kind == "json_object":
        return [("json_object", form.get("schema"))]
    if kind == "structural_tag":
        return [("structural_tag", form)]
    if kind == "json_schema":
        holder = form.get("json_schema")
        if not isinstance(holder, dict):
            raise RefusedError("'json_schema' must be an object.", param=f"{param}.json_schema", code="invalid_type")
        return [("guided_json", holder.get("schema", True))]
    raise RefusedError("'response_format' has a type that the sandbox does not know.", param=f"{param}.type")


def custom_writer(form: Any, param: str) -> Guide | None:
    """What a custom tool's ``format`` allows: None for free text. Raises `RefusedError`."""
    kind = form.get("type", "text") if isinstance(form, dict) else "text" if form is None else None
    if kind == "text":
        return None
    grammar = form.get("grammar") if isinstance(form, dict) and kind == "grammar" else None
    source = grammar.get("definition") if isinstance(grammar, dict) else None
    syntax = grammar.get("syntax") if isinstance(grammar, dict) else None
    if not isinstance(source, str) or syntax not in ("lark", "regex"):
        raise RefusedError("A custom tool's format is 'text', or a grammar in 'lark' or 'regex'.", param=param)
    if syntax == "regex":
        return Guide(param, lambda: _regex(source))
    return Guide(param, lambda: _plain(lark_writer(source)))


def _json(schema: Any, blanks: Any) -> Write:
    if isinstance(schema, str):
        try:
            schema = msgspec.json.decode(schema)
        except (msgspec.DecodeError, RecursionError):
            raise UnsupportedError("the schema is not valid JSON") from None
    if blanks is not None and not isinstance(blanks, str):
        raise UnsupportedError("the whitespace pattern must be a string")
    return json_writer(schema, whitespace=blanks)


def _json_object(schema: Any) -> Write:
    if isinstance(schema, dict):
        return json_writer(schema, also=({"type": "object"},))
    return json_writer(_OBJECT)


def _regex(source: Any) -> Write:
    pattern = compiled(_text(source, "regular expression"))
    return lambda chance, hints: pattern.write(chance)  # noqa: ARG005


def _choice(options: Any) -> Write:
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        raise UnsupportedError("the choices must be a list of strings with at least one")
    return lambda chance, hints: chance.pick(options)  # noqa: ARG005


def _grammar(source: Any) -> Write:
    return _plain(grammar_writer(_text(source, "grammar")))


def _ebnf(source: Any) -> Write:
    return _plain(gbnf_writer(_text(source, "grammar")))


def _plain(write: Callable[[Chance], str]) -> Write:
    return lambda chance, hints: write(chance)  # noqa: ARG005


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UnsupportedError(f"the {what} must be a string")
    return value


_MAKERS: dict[str, Callable[[Any], Write]] = {
    "guided_json": lambda schema: _json(schema, None),
    "guided_regex": _regex,
    "guided_choice": _choice,
    "guided_grammar": _grammar,
    "structural_tag": structural_writer,
    "regex": _regex,
    "ebnf": _ebnf,
    "json_object": _json_object,
}
_FIELDS = frozenset(_MAKERS) - {"json_object"} | {"structured_outputs", "response_format"}
_NEWER = {
    "json": "guided_json",
    "regex": "guided_regex",
    "choice": "guided_choice",
    "grammar": "guided_grammar",
    "json_object": "json_object",
    "structural_tag": "structural_tag",
}
