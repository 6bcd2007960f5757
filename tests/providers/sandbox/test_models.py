"""What model names mean, and that the table of them is true."""

from __future__ import annotations

import pytest

from sealgate.providers.sandbox.models import MODELS, Behaviour, Pace, behaviour


def test_names_in_the_table_behave_as_they_are_called() -> None:
    """Each plain name is its own kind, but ``slow``, which is ``echo`` at another pace."""
    for name in MODELS:
        if "<" not in name and name != "slow":
            assert behaviour(name) == Behaviour(name)
    assert behaviour("slow") == Behaviour("echo", pace=Pace(0.5, 0.05))
    assert behaviour("slow-5") == Behaviour("echo", pace=Pace(0.5, 0.2))


@pytest.mark.parametrize("status", [300, 400, 429, 529, 599])
def test_fail_takes_a_status(status: int) -> None:
    """From 300 to 599."""
    assert behaviour(f"fail-{status}") == Behaviour("fail", status)


@pytest.mark.parametrize(
    "name", ["gpt-6", "fail-200", "fail-600", "fail-", "fail-safe", "slow-0", "slow-x", "CUT", "<", ""]
)
def test_any_other_name_is_the_default(name: str) -> None:
    """Users give the sandbox the names of real models."""
    assert behaviour(name) == Behaviour("echo")


def test_every_model_is_described_in_one_line() -> None:
    """The documentation's table is made of these."""
    assert all("\n" not in text and "|" not in text and text.endswith(".") for text in MODELS.values())
