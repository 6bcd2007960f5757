"""Constraints in every spelling, as whole answers: valid, or 400 ``unsupported_schema`` with the field's name."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from lark import Lark

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "email": {"type": "string", "format": "email"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
LARK = 'start: "x" NUMBER\n%import common.NUMBER\n%ignore " "'
GBNF = 'root ::= "yes" | "no"'


def is_person(text: str) -> bool:
    return jsonschema.Draft202012Validator(PERSON).is_valid(json.loads(text))


def is_lark(text: str) -> bool:
    return Lark(LARK).parse(text) is not None


def matches(pattern: str) -> Any:
    return lambda text: re.fullmatch(pattern, text) is not None


TAG = {"structures": [{"begin": "<f>", "schema": PERSON, "end": "</f>"}], "triggers": ["<f"]}
SPELLINGS: dict[str, tuple[dict[str, Any], Any]] = {
    "json_schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}},
        is_person,
    ),
    "json_schema strict": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": PERSON}}},
        is_person,
    ),
    "json_object": ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
    "json_object with a schema": ({"response_format": {"type": "json_object", "schema": PERSON}}, is_person),
    "guided_json": ({"guided_json": PERSON}, is_person),
    "guided_json as text": ({"guided_json": json.dumps(PERSON)}, is_person),
    "guided_regex": ({"guided_regex": r"[A-Z]{3}-\d{4}"}, matches(r"[A-Z]{3}-\d{4}")),
    "guided_choice": ({"guided_choice": ["red", "green"]}, {"red", "green"}.__contains__),
    "guided_grammar GBNF": ({"guided_grammar": GBNF}, {"yes", "no"}.__contains__),
    "guided_grammar Lark": ({"guided_grammar": LARK}, is_lark),
    "structural_tag": ({"structural_tag": json.dumps(TAG)}, lambda text: is_person(text.partition("<f>")[2][:-4])),
    "response_format structural_tag": (
        {"response_format": {"type": "structural_tag", **TAG}},
        lambda text: is_person(text.partition("<f>")[2][:-4]),
    ),
    "structured_outputs json": ({"structured_outputs": {"json": PERSON, "disable_any_whitespace": True}}, is_person),
    "structured_outputs regex": ({"structured_outputs": {"regex": "a{3}"}}, "aaa".__eq__),
    "structured_outputs choice": ({"structured_outputs": {"choice": ["z"]}}, "z".__eq__),
    "structured_outputs grammar": ({"structured_outputs": {"grammar": GBNF}}, {"yes", "no"}.__contains__),
    "structured_outputs json_object": (
        {"structured_outputs": {"json_object": True}},
        lambda text: isinstance(json.loads(text), dict),
    ),
    "structured_outputs structural_tag": (
        {"structured_outputs": {"structural_tag": json.dumps(TAG)}},
        lambda text: is_person(text.partition("<f>")[2][:-4]),
    ),
    "regex": ({"regex": "b{2}"}, "bb".__eq__),
    "ebnf": ({"ebnf": GBNF}, {"yes", "no"}.__contains__),
    "text is no constraint": (
        {"response_format": {"type": "text"}, "guided_regex": "a"},
        "a".__eq__,
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", SPELLINGS)
async def test_an_answer_fulfils_its_constraint(chat: Any, name: str) -> None:
    """For several seeds, and the same text streamed."""
    fields, holds = SPELLINGS[name]
    for seed in range(6):
        answer = await chat("Ada Marsh is 36.", seed=seed, **fields)
        assert answer.status == 200, answer.json
        assert holds(answer.content)
        assert answer.json["choices"][0]["finish_reason"] == "stop"
        streamed = await chat("Ada Marsh is 36.", seed=seed, stream=True, **fields)
        assert "".join(streamed.deltas("content")) == answer.content


LOOK: dict[str, Any] = {"type": "string", "pattern": "(?=a)"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an impossible schema": ({"guided_json": {"type": "integer", "minimum": 2, "maximum": 1}}, "guided_json"),
    "a schema that is not JSON": ({"guided_json": "{"}, "guided_json"),
    "a schema that is no schema": ({"guided_json": 5}, "guided_json"),
    "look-around in a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": LOOK}}},
        "response_format",
    ),
    "look-around": ({"guided_regex": "(?!a)b"}, "guided_regex"),
    "a pattern that is a number": ({"guided_regex": 5}, "guided_regex"),
    "no choices": ({"guided_choice": []}, "guided_choice"),
    "choices that are numbers": ({"guided_choice": [1]}, "guided_choice"),
    "an unknown notation": ({"guided_grammar": "a = b ;"}, "guided_grammar"),
    "a grammar nested too deep": ({"guided_grammar": "root ::= " + "(" * 9000 + '"a"' + ")" * 9000}, "guided_grammar"),
    "a structural tag that is not JSON": ({"structural_tag": "{"}, "structural_tag"),
    "within structured_outputs": ({"structured_outputs": {"regex": "(?=a)"}}, "structured_outputs.regex"),
    "a whitespace pattern that is none": ({"guided_json": PERSON, "guided_whitespace_pattern": "x"}, "guided_json"),
    "a schema nested too deep": ({"guided_json": json.loads('{"not":' * 400 + "{}" + "}" * 400)}, "guided_json"),
    "Lark where EBNF is asked for": ({"ebnf": LARK}, "ebnf"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_honoured_is_400_with_the_fields_name(chat: Any, name: str) -> None:
    """OpenAI's error body with ``unsupported_schema``, whether streaming or not."""
    fields, param = REFUSED[name]
    for stream in (False, True):
        answer = await chat(stream=stream, **fields)
        assert answer.status == 400
        assert (answer.error["code"], answer.error["param"]) == ("unsupported_schema", param)
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [
        {"guided_regex": "a", "guided_choice": ["a"]},
        {"response_format": {"type": "json_object"}, "regex": "a"},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"structured_outputs": {}},
        {"structured_outputs": []},
        {"response_format": {"type": "yaml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": []},
    ],
)
async def test_a_constraint_given_wrongly_or_twice_is_400(chat: Any, fields: dict[str, Any]) -> None:
    """At most one, in a known form."""
    answer = await chat(**fields)
    assert answer.status == 400
    assert answer.error["param"].partition(".")[0] in fields


@pytest.mark.anyio
async def test_a_whitespace_pattern_shapes_the_json(chat: Any) -> None:
    """In either spelling."""
    for fields in (
        {"guided_json": PERSON, "guided_whitespace_pattern": " "},
        {"structured_outputs": {"json": PERSON, "whitespace_pattern": " "}},
    ):
        content = (await chat(**fields)).content
        assert content.startswith('{ "name" : ')
        assert is_person(content)


@pytest.mark.anyio
async def test_a_limit_or_a_stop_may_cut_a_constrained_answer(chat: Any) -> None:
    """Validity is promised for answers that end by themselves; ``length`` says that this one did not."""
    cut = await chat(guided_json=PERSON, max_tokens=3)
    assert cut.json["choices"][0]["finish_reason"] == "length"
    assert cut.json["usage"]["completion_tokens"] == 3
    stopped = await chat(guided_regex="abcdef", stop="d")
    assert stopped.content == "abc"


@pytest.mark.anyio
async def test_several_choices_are_all_valid_and_not_all_alike(chat: Any) -> None:
    """``n`` with a schema."""
    answer = await chat(guided_json=PERSON, n=8)
    texts = [choice["message"]["content"] for choice in answer.json["choices"]]
    assert all(map(is_person, texts))
    assert len(set(texts)) > 4


@pytest.mark.anyio
async def test_a_very_expensive_schema_ends_in_a_refusal(chat: Any) -> None:
    """Work is counted over all choices of a request."""
    hard = {
        "type": "array",
        "minItems": 900,
        "items": {"type": "string", "pattern": "^(a|b|ab)*c{3,9}$", "minLength": 90},
    }
    answer = await chat(guided_json=hard, n=64)
    assert answer.status == 400
    assert answer.error["code"] == "unsupported_schema"
    assert "too much work" in answer.error["message"]
