"""What a user's message offers for made-up values."""

from __future__ import annotations

from sealgate.providers.sandbox.hints import Hints, read_hints


def test_names_after_small_words_are_found_in_order_and_once() -> None:
    """Capitalised words after "in", "for", "and" and their like."""
    text = "Compare the weather in San Francisco and in New York, and the time in the Azores for Ada in New York"
    assert read_hints(text).names == ("San Francisco", "New York", "Azores", "Ada")
    assert read_hints("Hello World, how are you in here?").names == ()


def test_turning_puts_another_name_first() -> None:
    """The second of two tool calls gets the second name; without names nothing turns."""
    hints = Hints("x", ("A", "B", "C"))
    assert [hints.turned(by).names[0] for by in range(4)] == ["A", "B", "C", "A"]
    assert Hints("x").turned(3) == Hints("x")


def test_the_text_is_a_gist() -> None:
    """A long message is cut."""
    assert len(read_hints("word " * 100).text) <= 82
