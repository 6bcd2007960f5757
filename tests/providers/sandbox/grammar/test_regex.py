"""Regular expressions: what is written matches in Python's own engine, and matching never runs away."""

from __future__ import annotations

import contextlib
import re
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import Pattern
from sealgate.providers.sandbox.refused import UnsupportedError

WRITABLE = [
    r"\d{3}-\d{4}", r"(foo|bar)+baz?", r"^[A-Z][a-z]{2,8}$", r"(?i)hello\s+WORLD", r"(a|b)\1", r"[^abc]{3}", r".*",
    r"(\w+)@(\w+)\.com", r"\bfoo\b", r"a\b b", r"(a+)+$", r"^$", r"x{0}", r"(?P<q>['\"]).*?(?P=q)", r"[^\x00-\x7f]+",
    r"(?m)^a$\n^b$", r"\Aab\Z", r"a|", r"(?s).{5,10}", r"[一-龥]{2}", r"\S+\s\S+", r"(a)?\1", r"(?x) a b # c", r"[[]a",
    r"é+", r"(19|20)\d\d-(0[1-9]|1[0-2])", r"\w{500}", r"(a|b|ab)*c", r"[\d\-.]+", r"\W\D\S", r"(?i:ab)c", r"a{2,}?b",
    r"(?:a|(?:b|(?:c|d)+)*){3}", r"[a-c&&d]", r"\x41\u00e9\n", r"[\s]", r"(?a)\w\d", r"(?i)[^a-z]", r"(?-i:a)(?i:B)",
    r"\B-\B", r"(x)(y)\2\1", r"[]\[^-]+", r"a*?b*?c", r"(?s:.)\.", r"$", r"\t\v\f\r ",
]  # fmt: skip


@pytest.mark.parametrize("source", WRITABLE)
def test_what_is_written_matches(source: str) -> None:
    """Python's ``re.fullmatch`` agrees, for several seeds."""
    pattern = Pattern(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = re.compile(source)
    for seed in range(12):
        text = pattern.write(Chance(seed))
        assert judge.fullmatch(text) is not None
        text.encode()


REFUSED = [
    r"(?=a)b", r"(?!a)b", r"(?<=a)b", r"(?<!a)b", r"a*+a", r"(?>a)b", r"(a)?(?(1)b|c)", r"(", r"[z-a]", r"\1", r"\p{L}",
    r"(?:(a)|b)\1c(?=x)", r"((a{100}){100}){100}", r"(?:){4000000000}", r"a^b", r"a$b", r"\bb\B",
    r"[^\s\S]", r"(a\b)\1b", "(" * 3000 + ")" * 3000, "a" * 30_000, r"(?L)a",
]  # fmt: skip


@pytest.mark.parametrize("source", REFUSED)
def test_what_cannot_be_written_is_refused(source: str) -> None:
    """Look-around and its like, contradictions, absurd lengths and broken patterns."""
    with pytest.raises(UnsupportedError):
        Pattern(source).write(Chance(0))


@pytest.mark.parametrize(("low", "high"), [(0, 3), (7, 7), (40, 45), (900, 1000)])
def test_a_length_is_kept_where_the_pattern_has_it(low: int, high: int) -> None:
    """Exact, short and long lengths."""
    for source in (r"[a-z]+", r"(ab?)+", r"x+(-\d+)*", r"^(a|bcd)*$"):
        assert low <= len(Pattern(source).write(Chance(1), low, high)) <= high


def test_a_length_the_pattern_has_not_is_refused() -> None:
    """Too short or too long for any match."""
    for low, high in ((0, 2), (5, 9)):
        with pytest.raises(UnsupportedError):
            Pattern("a{3,4}").write(Chance(0), low, high)


def test_an_optional_group_that_is_referred_to_is_matched() -> None:
    """``(a)?\\1`` can only match where the group did."""
    assert {Pattern(r"(a)?\1").write(Chance(seed)) for seed in range(20)} == {"aa"}


_parts = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "(a|b)", "(?:ab)?", "a*", "(?:b+)", "a{2}", "b{1,2}?", "^", "$", "\\b", "\\w", "|"]
)
_sources = st.lists(_parts, min_size=1, max_size=6).map("".join)


@settings(max_examples=150, deadline=None)
@given(_sources, st.text("ab\n ", max_size=7))
def test_matching_agrees_with_python(source: str, text: str) -> None:
    """Full matches, searches, and where the preferred match ends, on random patterns and texts."""
    pattern, judge = Pattern(source), re.compile(source)
    assert pattern.fullmatch(text, Budget()) is (judge.fullmatch(text) is not None)
    assert pattern.search(text, Budget()) is (judge.search(text) is not None)
    for at in range(len(text) + 1):
        match = judge.match(text, at)
        assert pattern.match(text, at, Budget()) == (match.end() if match else None)


@settings(max_examples=150, deadline=None)
@given(_sources, st.integers(0, 5))
def test_random_patterns_are_written_or_refused(source: str, seed: int) -> None:
    """A text that matches, or `UnsupportedError`."""
    try:
        text = Pattern(source).write(Chance(seed))
    except UnsupportedError:
        return
    assert re.fullmatch(source, text)


@pytest.mark.parametrize("source", [r"^(a+)+$", r"^(a|a)*$", r"^(a*)*b", r"(.*a){12}", r"^((a?){30}){30}$"])
def test_hostile_patterns_end(source: str) -> None:
    """Patterns on which backtracking engines hang are decided or refused in bounded work."""
    before = time.process_time()
    with contextlib.suppress(UnsupportedError):
        assert Pattern(source).search("a" * 200 + "!", Budget()) in (True, False)
    assert time.process_time() - before < 3
