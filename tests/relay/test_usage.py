"""Token counts: read from what an upstream said, or estimated and marked so (rows F12 and F13)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.relay.usage import LARGEST, Usage, estimate, read

PLAIN = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (PLAIN, Usage(7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 3}, Usage(7, 3)),
        ({"prompt_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({**PLAIN, "total_tokens": 99}, Usage(7, 3)),
        ({**PLAIN, "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 1}}, Usage(7, 3, cached=5)),
        ({**PLAIN, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(7, 3, reasoning=2)),
        ({**PLAIN, "prompt_tokens_details": {"cached_tokens": 50}}, Usage(7, 3, cached=7)),
        ({**PLAIN, "completion_tokens_details": {"reasoning_tokens": 50}}, Usage(7, 3, reasoning=3)),
        ({**PLAIN, "prompt_tokens_details": None, "completion_tokens_details": "?"}, Usage(7, 3)),
        ({**PLAIN, "prompt_tokens_details": {"cached_tokens": "5"}}, Usage(7, 3)),
    ],
)
def test_what_an_upstream_reports_is_read(reported: Any, expected: Usage) -> None:
    assert read(reported) == expected


@pytest.mark.parametrize(
    "reported",
    [
        None, "x", [], {}, 5, {"completion_tokens": 3},
        {**PLAIN, "prompt_tokens": -1}, {**PLAIN, "prompt_tokens": True},
        {**PLAIN, "completion_tokens": LARGEST + 1}, {**PLAIN, "completion_tokens": "3"},
        {**PLAIN, "completion_tokens": None}, {**PLAIN, "prompt_tokens": 7.0},
    ],
)  # fmt: skip
def test_row_f13_what_is_absurd_counts_as_not_reported(reported: Any) -> None:
    assert read(reported) is None


def test_usage_is_shown_in_openais_shape_with_the_details_that_say_something() -> None:
    assert Usage(7, 3).render() == PLAIN
    assert Usage(7, 3, cached=5, reasoning=2).render() == {
        **PLAIN,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_row_f12_an_estimate_is_marked_and_never_says_nothing_for_something(request: int, answer: int) -> None:
    found = estimate(request, answer)
    assert found.source == "estimated"
    assert found.prompt >= 1
    assert (found.completion == 0) is (answer == 0)
    assert read(found.render()) == Usage(found.prompt, found.completion)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"]), inner
        ),
        max_leaves=8,
    )
)  # fmt: skip
def test_whatever_stands_where_usage_should_nothing_crashes(reported: Any) -> None:
    found = read(reported)
    assert found is None or (0 <= found.cached <= found.prompt <= LARGEST and 0 <= found.reasoning <= found.completion)
