"""What failed attempts come to, and what may be shown of a provider's sentence."""

import pytest

from sealgate.relay.verdict import MAX_TEXT, sanitise


@pytest.mark.parametrize(("text", "shown"), [
    ("The field 'x' is unknown.", "The field 'x' is unknown."),
    ("Key sk-proj-abc123DEF456 is bad", "Key [redacted] is bad"),
    ("sent Bearer abc.def", "sent [redacted]"),
    ("see https://internal.acme.example/x?y=1 now", "see [redacted] now"),
    ("in /srv/models/gemma/config.json, line 3", "in [redacted], line 3"),
    ("org " + "a1B2" * 12, "org [redacted]"),
    ("a\nb\tc\x00d\u202ee", "a b c d e"),
    ("temperature/top_p must be 0/1", "temperature/top_p must be 0/1"),
    ("x y " * 200, ("x y " * 200)[: MAX_TEXT - 1] + "…"),
])  # fmt: skip
def test_a_providers_sentence_is_shown_without_keys_places_and_control_characters(text: str, shown: str) -> None:
    assert sanitise(text) == shown


def test_the_accounts_own_key_is_not_shown_whatever_it_looks_like() -> None:
    assert sanitise("You sent hunter2 and hunter22.", ["hunter2", "other"]) == "You sent [redacted] and [redacted]2."
