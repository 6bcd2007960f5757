"""Structural tags: the parts stand where they should and follow what they should."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.structural import structural_writer

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def tag(name: str, **more: Any) -> dict[str, Any]:
    content = {"type": "json_schema", "json_schema": CITY}
    return {"type": "tag", "begin": f"<function={name}>", "content": content, "end": "</function>", **more}


def const(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


def texts(form: Any, seeds: int = 30) -> list[str]:
    write = structural_writer({"type": "structural_tag", "format": form})
    return [write(Chance(seed), Hints()) for seed in range(seeds)]


TRIGGERED = {"type": "triggered_tags", "triggers": ["<function="], "tags": [tag("a"), tag("b")]}
CALL = r"<function=([ab])>(\{.*?\})</function>"

EXACT: dict[str, tuple[Any, set[str]]] = {
    "const_string": (const("x"), {"x"}),
    "regex": ({"type": "regex", "pattern": "[ab]"}, {"a", "b"}),
    "grammar": ({"type": "grammar", "grammar": 'root ::= "u" | "v"'}, {"u", "v"}),
    "sequence": ({"type": "sequence", "elements": [const("x"), const("y")]}, {"xy"}),
    "or": ({"type": "or", "elements": [const("x"), const("y")]}, {"x", "y"}),
    "optional": ({"type": "optional", "content": const("x")}, {"", "x"}),
    "plus": ({"type": "plus", "content": const("x")}, {"x", "xx", "xxx"}),
    "star": ({"type": "star", "content": const("x")}, {"", "x", "xx"}),
    "repeat": ({"type": "repeat", "min": 2, "max": 3, "content": const("x")}, {"xx", "xxx"}),
    "repeat without end": ({"type": "repeat", "min": 1, "max": -1, "content": const("x")}, {"x", "xx", "xxx"}),
    "tag with several ends": ({"type": "tag", "begin": "<", "content": const("x"), "end": [">", "]"]}, {"<x>"}),
    "no text allowed": ({"type": "any_text", "max_chars": 0}, {""}),
    "text without most letters": ({"type": "any_text", "excludes": list("aeiou -:")}, {""}),
}


@pytest.mark.parametrize("name", EXACT)
def test_small_formats_give_exactly_their_texts(name: str) -> None:
    """All of them, and no other."""
    form, expected = EXACT[name]
    assert set(texts(form)) == expected


def test_triggered_tags_stand_in_free_text() -> None:
    """Text without a trigger, then a tag whose content follows its schema."""
    for text in texts(TRIGGERED):
        before, _, rest = text.partition("<function=")
        assert len(before) > 5
        found = re.fullmatch(CALL, "<function=" + rest)
        assert found is not None
        assert list(json.loads(found[2])) == ["city"]


def test_at_least_one_tag_means_no_text_before_it() -> None:
    """As XGrammar has it."""
    assert all(re.fullmatch(CALL, text) for text in texts({**TRIGGERED, "at_least_one": True}))


def test_tags_with_a_separator_have_nothing_else_between() -> None:
    """One tag or two; one only with ``stop_after_first``."""
    form = {"type": "tags_with_separator", "separator": ",", "tags": [tag("a")]}
    counts = {text.count("<function=a>") for text in texts(form)}
    assert counts == {1, 2}
    assert all(re.fullmatch(f"{CALL}(,{CALL})?", text) for text in texts(form))
    assert {text.count("<function=a>") for text in texts({**form, "stop_after_first": True})} == {1}


def test_free_text_in_a_tag_keeps_clear_of_its_end() -> None:
    """The end mark comes up once."""
    form = {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "e"}
    assert all(text.count("e") == 1 and text.endswith("e") for text in (text[7:] for text in texts(form)))


def test_the_older_form_is_read() -> None:
    """``structures`` and ``triggers``, as an object or as JSON text."""
    older = {
        "type": "structural_tag",
        "structures": [{"begin": "<function=a>", "schema": CITY, "end": "</function>"}],
        "triggers": ["<function="],
    }
    for form in (older, json.dumps(older)):
        text = structural_writer(form)(Chance(1), Hints())
        assert re.search(CALL + "$", text)


REFUSED: dict[str, Any] = {
    "no object": 5,
    "neither form": {"type": "structural_tag"},
    "no structures": {"structures": []},
    "structures that are none": {"structures": [5], "triggers": ["<"]},
    "a trigger that no tag begins with": {
        "structures": [{"begin": "[", "schema": {}, "end": "]"}],
        "triggers": ["<"],
    },
    "no triggers": {"structures": [{"begin": "<", "schema": {}, "end": ">"}]},
    "no format": {"format": None},
    "an unknown format": {"format": {"type": "token", "token": "<s>"}},
    "a format that is a list": {"format": {"type": []}},
    "another style": {"format": {"type": "json_schema", "json_schema": {}, "style": "qwen_xml"}},
    "an impossible schema": {"format": {"type": "json_schema", "json_schema": False}},
    "a const without value": {"format": {"type": "const_string"}},
    "elements that are none": {"format": {"type": "sequence", "elements": 5}},
    "tags that are numbers": {"format": {"type": "triggered_tags", "triggers": ["<"], "tags": [5]}},
    "a wrong range": {"format": {"type": "repeat", "min": 3, "max": 2, "content": const("x")}},
    "an absurd range": {"format": {"type": "repeat", "min": 10**9, "max": -1, "content": const("x")}},
    "an end that is a number": {"format": {"type": "tag", "begin": "<", "content": const("x"), "end": 5}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_malformed_or_beyond_us_is_refused(name: str) -> None:
    """`UnsupportedError`, nothing else."""
    with pytest.raises(UnsupportedError):
        structural_writer(REFUSED[name])(Chance(0), Hints())
