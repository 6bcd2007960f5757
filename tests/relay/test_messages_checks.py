"""What Anthropic refuses of a request whose form is right."""

from __future__ import annotations

import pytest

from sealgate.relay.messages_checks import is_base64


@pytest.mark.parametrize(("text", "wanted"), [
    ("", True), ("QQ==", True), ("QUJD", True), ("QU\nJD", True), ("QQ", True), ("Q", False), ("QUJDR", False),
    ("QU-_", False), ("Gruß", False), ("Q=Q=", False), ("data:image/png;base64,QUJD", False),
])  # fmt: skip
def test_what_can_be_base64_is_told_from_what_cannot(text: str, wanted: bool) -> None:
    assert is_base64(text) is wanted
