"""Retries in proportion: a provider in trouble gets a few more requests than there are, never a multiple of them."""

from __future__ import annotations

from collections import Counter

SHARE = 0.2
"""Of an account's running requests."""
ALWAYS = 3
"""Retries at a time that need no proportion."""


class RetryBudget:
    """One for the process: running attempts by account, and how many of them are retries."""

    def __init__(self) -> None:
        self.active: Counter[str] = Counter()
        """Upstream calls under way, by account."""
        self._retrying: Counter[str] = Counter()

    def take(self, account: str) -> bool:
        """Whether one more retry may be charged to this account; then `give_back` is due."""
        if self._retrying[account] >= max(ALWAYS, SHARE * self.active[account]):
            return False
        self._retrying[account] += 1
        return True

    def give_back(self, account: str) -> None:
        self._retrying[account] -= 1
