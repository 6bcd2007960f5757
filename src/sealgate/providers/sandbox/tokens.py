"""The sandbox's own tokenizer: simple, documented, and the same everywhere tokens are counted or cut.

A token is the first of these that fits: up to 8 of the letters A to Z, up to 3 digits, or up to 4 other signs
(letters of other scripts among them), each with the one space before it; else up to 16 white-space characters.
Tokens joined give the text back, byte for byte.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r" ?[A-Za-z]{1,8}| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]{1,4}|\s{1,16}")

split = _TOKEN.findall
"""``split(text) -> list[str]``: the tokens of a text, in order."""


def count(text: str) -> int:
    """How many tokens ``split`` makes of a text."""
    return len(split(text))
