"""Stop texts of white space, watched for in the answer."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.providers.anthropic_stops import Watch, stops


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, ([], [])), ({"stop": "x"}, (["x"], [])), ({"stop": "\n"}, ([], ["\n"])),
     ({"stop": ["\n", "a b", " \t"]}, (["a b"], ["\n", " \t"]))],
)  # fmt: skip
def test_stops_are_the_providers_or_ours(given: dict[str, Any], wanted: Any) -> None:
    assert stops(given) == wanted


def test_what_may_be_the_beginning_of_a_stop_is_held_back() -> None:
    watch = Watch(["\n\n\n"])
    assert [watch.take(text) for text in ("a\n", "\n", "b\n\n")] == ["a", "", "\n\nb"]
    assert (watch.rest(), watch.rest(), watch.hit) == ("\n\n", "", "")
    assert (watch.take("\n\n\n\nc"), watch.hit) == ("", "\n\n\n")


def test_the_first_of_several_stops_counts() -> None:
    watch = Watch(["\n\n", " "])
    assert (watch.take("a b\n\n"), watch.hit) == ("a", " ")
