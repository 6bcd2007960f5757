"""Anthropic's Messages API: requests, answers, errors."""

from __future__ import annotations

import json
from typing import Any

from sealgate.providers.anthropic import MESSAGES
from sealgate.providers.base import Account, Prompt
from sealgate.providers.table import KINDS

ACCOUNT = Account("acme", "acme", "global", KINDS["anthropic"], "https://api.anthropic.com/v1", ("k",))


def written(model: str = "claude-sonnet-4-5", **fields: Any) -> dict[str, Any]:
    prompt = Prompt({"messages": [{"role": "user", "content": "Hi"}], **fields}, False, {}, {}, {})
    body: dict[str, Any] = json.loads(MESSAGES.write(ACCOUNT, prompt, model, None).body)
    return body


def test_a_plain_request_has_what_the_api_requires() -> None:
    text = [{"type": "text", "text": "Hi"}]
    assert written() == {
        "model": "claude-sonnet-4-5", "max_tokens": 32_000, "messages": [{"role": "user", "content": text}],
    }  # fmt: skip


def test_the_version_is_in_every_head() -> None:
    prompt = Prompt({}, False, {}, {}, {})
    assert ACCOUNT.headers(prompt)["anthropic-version"] == "2023-06-01"
    assert ACCOUNT.headers(prompt)["x-api-key"] == "k"
