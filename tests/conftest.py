"""What every test stands on: one asyncio backend, and nothing else by default.

A whole gateway is the fixture ``serve``: see `tests.gateway`.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings
from tests.postgres import postgres
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from tests.gateway import Serve, Template

__all__ = ["anyio_backend", "postgres", "redis_server"]

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("sealgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sealgate")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those begin first that may take longest, at each worker as many, so that nobody waits for one in the end.

    What a test may take is what its own mark says. Workers begin with equal shares of the items as they stand here
    (``--dist worksteal``); the others stay in random order.
    """

    def seconds(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return float(mark.args[0]) if mark else 0.0

    unsteady = [item.nodeid for item in items if " at 0x" in item.nodeid]
    assert not unsteady, f"two workers must find the same names, and an address is another one in each: {unsteady[:3]}"
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = sorted((item for item in items if seconds(item)), key=lambda item: (-seconds(item), item.nodeid))
    rest = [item for item in items if not seconds(item)]
    share = -(-len(items) // workers)
    items.clear()
    for worker in range(workers):
        first = slow[worker::workers]
        taken = max(0, share - len(first)) if worker + 1 < workers else len(rest)
        items += [*first, *rest[:taken]]
        del rest[:taken]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: the garbage collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _logs_as_nobody_configured_them() -> None:
    """A gateway configures the logs of the whole process: what one test keeps quiet another one listens for."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_engines() -> Iterator[None]:
    """See `tests.engines`."""
    from tests.engines import share

    with pytest.MonkeyPatch.context() as patch:
        share(patch)
        yield


@pytest.fixture(scope="session")
def gateway_template(shared_engines: None, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The database that every gateway of the session begins with."""
    from tests.gateway import make_template  # the tests of a small room need not wait for the whole house

    return asyncio.run(make_template(tmp_path_factory.mktemp("template")))


@pytest.fixture
def serve(gateway_template: Template, tmp_path: Path) -> Serve:
    """Starts gateways: ``async with serve({"acme": upstream}) as gateway``."""
    from tests.gateway import Serve

    return Serve(gateway_template, tmp_path)
