"""Sessions are tried on both engines, as the storage is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.storage.conftest import database, storage, url

__all__ = ["database", "storage", "url"]


@dataclass
class Clock:
    """Unix seconds that pass when a test says so."""

    now: float = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
