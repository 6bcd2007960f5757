"""What a caller is when nothing is known about it."""

import msgspec
import pytest

from sealgate.auth.caller import ANONYMOUS, KeySettings


def test_the_anonymous_caller_is_the_default_customer_without_rights_of_an_administrator() -> None:
    assert (ANONYMOUS.customer_id, ANONYMOUS.key_id) == ("default", None)
    assert not ANONYMOUS.is_admin
    assert ANONYMOUS.models is None


def test_a_caller_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(AttributeError):
        ANONYMOUS.is_admin = True  # type: ignore[misc]


def test_settings_of_a_newer_version_are_ignored() -> None:
    stored = b'{"strict": true, "colour": "green"}'

    assert msgspec.json.decode(stored, type=KeySettings) == KeySettings(strict=True, usage_on_finish_chunk=None)
