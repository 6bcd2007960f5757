"""What every test stands on: one asyncio backend, and nothing else by default."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
