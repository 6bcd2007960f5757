"""Token counts: read from what an upstream said, or estimated and marked so (rows F12 and F13)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.relay.usage import LARGEST, Usage, estimate, read, with_begun

PLAIN = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (PLAIN, Usage(7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 3}, Usage(7, 3)),
        ({"prompt_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({**PLAIN, "total_tokens": 9}, Usage(7, 3)),
        ({**PLAIN, "total_tokens": "99"}, Usage(7, 3)),
        (
            {**PLAIN, "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 1}},
            Usage(7, 3, cached=5, audio_in=1),
        ),
        ({**PLAIN, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(7, 3, reasoning=2)),
        ({**PLAIN, "prompt_tokens_details": {"cached_tokens": 50}}, Usage(7, 3, cached=7)),
        ({**PLAIN, "completion_tokens_details": {"reasoning_tokens": 50}}, Usage(7, 3, reasoning=3)),
        ({**PLAIN, "prompt_tokens_details": None, "completion_tokens_details": "?"}, Usage(7, 3)),
        ({**PLAIN, "prompt_tokens_details": {"cached_tokens": "5"}}, Usage(7, 3)),
    ],
)
def test_what_an_upstream_reports_is_read(reported: Any, expected: Usage) -> None:
    assert read(reported) == expected


CACHE = {"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        pytest.param({**PLAIN, "prompt_cache_hit_tokens": 4}, Usage(7, 3, 4), id="deepseek"),
        pytest.param({**PLAIN, "cached_tokens": 4}, Usage(7, 3, 4), id="together"),
        pytest.param({**PLAIN, "num_cached_tokens": 4, "prompt_tokens_details": None}, Usage(7, 3, 4), id="mistral"),
        pytest.param({**PLAIN, **CACHE}, Usage(7, 3, 4, cache_write=2), id="a proxy of anthropic's models"),
        pytest.param(
            {**PLAIN, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 9}},
            Usage(7, 3, 4, cache_write=3),
            id="written, but never more than there is",
        ),
        pytest.param(
            {**PLAIN, "total_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 20}},
            Usage(7, 23, reasoning=20),
            id="xai: reasoning beside the completion",
        ),
        pytest.param({**PLAIN, "total_tokens": 30}, Usage(7, 23, reasoning=20), id="gemini: only the sum has it"),
        pytest.param(
            {**PLAIN, "total_tokens": 385, "prompt_audio_seconds": 5, "prompt_tokens_details": {"audio_tokens": 375}},
            Usage(382, 3, audio_in=375),
            id="mistral: sound beside the prompt",
        ),
        pytest.param(
            {**PLAIN, "completion_tokens_details": {"audio_tokens": 2, "reasoning_tokens": 0}},
            Usage(7, 3, audio_out=2),
            id="sound in the answer",
        ),
    ],
)  # fmt: skip
def test_what_lies_beside_or_goes_by_another_name_is_brought_inside(reported: Any, expected: Usage) -> None:
    found = read(reported)
    assert found == expected
    assert found.uncached + found.cached + found.cache_write == found.prompt
    assert found.text_out + found.reasoning + found.audio_out == found.completion


NUMBERS = st.integers(0, 50)


@given(st.fixed_dictionaries({"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS}, optional={
    "total_tokens": NUMBERS, "cached_tokens": NUMBERS, "prompt_audio_seconds": NUMBERS,
    "prompt_tokens_details": st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens"]), NUMBERS),
    "completion_tokens_details": st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens"]), NUMBERS),
}))  # fmt: skip
def test_no_part_is_larger_than_its_whole(reported: Any) -> None:
    found = read(reported)
    assert found is not None
    assert min(found.uncached, found.text_out, found.cached, found.cache_write, found.reasoning, found.audio_out) >= 0
    assert found.audio_in <= found.prompt
    assert found.prompt + found.completion >= reported.get("total_tokens", 0)
    shown = found.render()
    assert shown["total_tokens"] == shown["prompt_tokens"] + shown["completion_tokens"]


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
    assert Usage(7, 3, cached=5, reasoning=1, cache_write=1, audio_in=1, audio_out=1).render() == {
        **PLAIN,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 1, "audio_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 1},
    }
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


def test_an_answer_that_broke_has_the_prompt_that_its_start_counted_and_stays_an_estimate() -> None:
    begun = Usage(700, 1, cached=600, cache_write=50)
    found = with_begun(estimate(40, 80), begun)
    assert (found.prompt, found.completion, found.cached, found.cache_write) == (700, 20, 600, 50)
    assert found.source == "estimated"
    assert with_begun(estimate(40, 0), begun).completion == 1
    assert with_begun(estimate(40, 80), None) == estimate(40, 80)
