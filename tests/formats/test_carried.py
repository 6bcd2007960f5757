"""Reasoning of other providers in the signatures of thinking blocks."""

from __future__ import annotations

import pytest

from sealgate.formats.carried import MARK, opened, sealed


def test_what_was_sealed_is_opened_again() -> None:
    details = [{"type": "reasoning.encrypted", "data": "é", "index": 0}]
    assert opened(sealed(details)) == details


def test_anothers_signature_is_none_of_ours() -> None:
    assert opened("EqQBCgIYAhIM") is None
    assert opened("") is None


@pytest.mark.parametrize("broken", ["", "%%%", "e30=", "WzFd", "W1"])
def test_a_broken_one_holds_nothing(broken: str) -> None:
    assert opened(MARK + broken) == []
