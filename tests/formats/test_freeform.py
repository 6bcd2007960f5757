"""Free-form input inside a function's arguments: read whole or in pieces, it is the same text."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats.freeform import FreeForm, wrapped


def read(*pieces: str) -> str:
    found = FreeForm()
    return "".join([*map(found.feed, pieces), found.end()])


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(at)]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_what_is_wrapped_comes_out_again_however_it_is_cut(text: str, places: list[int], ascii_only: bool) -> None:
    for arguments in (wrapped(text), json.dumps({"input": text}, ensure_ascii=ascii_only, indent=1)):
        assert read(*cut(arguments, places)) == text


@given(st.text('{}"\\input:u0aD8 é', max_size=40), st.lists(st.integers(0, 100), max_size=5))
def test_anything_reads_the_same_in_pieces_and_whole(text: str, places: list[int]) -> None:
    found = read(*cut(text, places))
    assert found == read(text)
    found.encode()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", ""),
        ("{}", ""),
        ('{"input":""}', ""),
        ('{"input": 5}', '{"input": 5}'),
        ('{"patch": "x"}', '{"patch": "x"}'),
        ('{"a": 1, "input": "x"}', "x"),
        ("not JSON", "not JSON"),
        ('{"input": "cut', "cut"),
        ('{"input": "a\\u00', "a"),
        ('{"input": "\\ud83d\\ude00\\n"}', "😀\n"),
        ('{"input": "\\ud83dx\\udc00"}', "�x�"),
        ('{"input": "a"} and more', "a"),
        ('{"inp', '{"inp'),
        (' {"input"' + " " * 300 + ': "x"}', "x"),
    ],
)
def test_what_models_write_there(arguments: str, text: str) -> None:
    assert read(arguments) == text
    assert read(*arguments) == text


def test_pieces_come_as_soon_as_they_can_be_told() -> None:
    found = FreeForm()
    assert [found.feed(piece) for piece in ('{"inp', 'ut": "He', "llo\\", 'n"}')] == ["", "He", "llo", "\n"]
