"""The sandbox's tokenizer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealgate.providers.sandbox import tokens


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    """No character is lost or changed, whatever the text."""
    found = tokens.split(text)
    assert "".join(found) == text
    assert all(found)
    assert tokens.count(text) == len(found)


def test_tokens_are_short_pieces_with_the_space_before() -> None:
    """Letters by 8, digits by 3, signs by 4, spaces with what follows."""
    assert tokens.split("Hello, extraordinarily 12345!!!!! x") == [
        "Hello", ",", " extraord", "inarily", " 123", "45", "!!!!", "!", " x",
    ]  # fmt: skip
    assert tokens.split("  a\n\n") == ["  ", "a", "\n\n"]
    assert tokens.split("grüße 你好") == ["gr", "üß", "e", " 你好"]
    assert tokens.split("") == []


@given(st.text(), st.integers(0, 30))
def test_a_cut_text_keeps_its_first_tokens(text: str, at: int) -> None:
    """Cutting a text changes at most its last token, so that a stream may be cut where a stop begins."""
    whole, cut = tokens.split(text), tokens.split(text[:at])
    assert cut[:-1] == whole[: max(0, len(cut) - 1)]
