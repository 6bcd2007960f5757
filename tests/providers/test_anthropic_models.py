"""What is known of Claude models by their names."""

from __future__ import annotations

import pytest

from sealgate.providers.anthropic_models import Model, abilities, facts


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("claude-2.1", "claude-3-opus-20240229", "anthropic.claude-3-haiku-20240307-v1:0"),
         Model(thinking="never", usual_tokens=4096)),
        (("claude-3-5-sonnet-20241022", "claude-3-5-haiku-latest", "claude-3-5-sonnet-v2@20241022"),
         Model(thinking="never", usual_tokens=8192)),
        (("claude-3-7-sonnet-20250219", "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-sonnet-4-20250514",
          "claude-opus-4-0"),
         Model(thinking="budget", usual_tokens=32_000)),
        (("claude-opus-4-1-20250805", "claude-opus-4-1@20250805"),
         Model(thinking="budget", usual_tokens=32_000, sampling_together=False)),
        (("claude-sonnet-4-5-20250929", "claude-haiku-4.5", "anthropic/claude-haiku-4.5",
          "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-opus-4-5@20251101"),
         Model(thinking="budget", usual_tokens=32_000, sampling_together=False, formats=True)),
        (("claude-opus-4-6", "claude-sonnet-4-6"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "max"), usual_tokens=32_000,
               sampling_together=False, formats=True)),
        (("claude-opus-4-7", "claude-4.7-opus", "claude-opus-4-8"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "xhigh", "max"), usual_tokens=32_000,
               sampling=False, sampling_together=False, formats=True)),
        (("claude-sonnet-5", "claude-opus-5", "claude-haiku-5-5"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "xhigh", "max"), usual_tokens=32_000,
               sampling=False, sampling_together=False, formats=True, thinks_unasked=True)),
        (("claude-opus-5-5", "Claude-Fable-5-1", "claude-mythos-5-1"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "xhigh", "max"), usual_tokens=32_000,
               sampling=False, sampling_together=False, formats=True, thinks_unasked=True, still=None, forces=False)),
        (("claude-fable-5", "claude-mythos-preview"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "xhigh", "max"), usual_tokens=32_000,
               sampling=False, sampling_together=False, formats=True, thinks_unasked=True, still=None)),
        (("claude-sonnet-5-5", "claude-5.5-sonnet"),
         Model(thinking="adaptive", efforts=("low", "medium", "high", "xhigh", "max"), usual_tokens=32_000,
               sampling=False, sampling_together=False, formats=True, thinks_unasked=True, still="between_tools",
               forces=False)),
        (("kimi-k2", "deepseek-chat", "test-model"), Model()),
    ],
)  # fmt: skip
def test_a_name_says_what_its_model_takes(names: tuple[str, ...], wanted: Model) -> None:
    for name in names:
        assert facts(name) == wanted, name


def test_a_claude_of_an_unknown_name_is_taken_for_a_new_one() -> None:
    assert facts("claude-next") == facts("claude-opus-5")


@pytest.mark.parametrize(
    ("name", "lacks"),
    [("claude-2.1", {"tools", "images", "files"}), ("claude-3-haiku-20240307", {"files"}),
     ("claude-3-5-sonnet-20241022", set()), ("claude-next", set()), ("kimi-k2", set()), ("claude-opus-5", set()),
     ("claude-sonnet-5-5", {"tool_required", "tool_choice"})],
)  # fmt: skip
def test_the_oldest_models_lack_what_came_after_them_and_the_newest_are_not_forced(name: str, lacks: set[str]) -> None:
    usual = frozenset({"stop", "max_tokens", "tools", "images", "files"}) | ({"tool_required", "tool_choice"} & lacks)
    assert usual - abilities(name, usual) == lacks
