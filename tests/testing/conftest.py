"""What the kit's own tests share: an upstream on the test's loop, and a raw client connected to it."""

from collections.abc import AsyncIterator

import pytest

from sealgate.testing import RawClient, ScriptedUpstream


@pytest.fixture
async def upstream(anyio_backend: object) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[RawClient]:
    async with RawClient(upstream.host, upstream.port) as client:
        yield client
