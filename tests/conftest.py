"""What every test stands on: one asyncio backend, and nothing else by default."""

import pytest
from tests.postgres import postgres

__all__ = ["anyio_backend", "postgres"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
