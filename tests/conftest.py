"""What every test stands on: one asyncio backend, and nothing else by default.

A whole gateway is the fixture ``serve``: see `tests.gateway`.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m long`` needs no file where neither the tests nor the modules beside them know the mark."""
    if config.option.markexpr != "long" or not collection_path.match("test_*.py"):
        return None
    return not knows_long(collection_path) or None


def knows_long(path: Path) -> bool:
    beside = (file for file in path.parent.glob("*.py") if not file.match("test_*.py"))
    return any("mark.long" in file.read_text() for file in (path, *beside))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    """Let each worker begin to collect with another folder.

    On a machine that has not run the tests before, every file must be compiled: so no two workers compile the same one.
    """
    report = yield
    if collector.path == Path(__file__).parent and "PYTEST_XDIST_WORKER" in os.environ:
        worker, workers = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        first = len(report.result) * worker // workers
        report.result = report.result[first:] + report.result[:first]
    return report


class Collected:
    """What was collected, before anything is left out or shuffled."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        long = {item.path for item in items if item.get_closest_marker("long")}
        assert all(map(knows_long, long)), "`-m long` would not find all of them: the mark comes from another folder"
        # Whatever folder a worker began with, all workers have the tests in one order.
        items.sort(key=lambda item: item.nodeid.partition("::")[0])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collected())


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
    """A gateway configures the logs of the whole process: what one test keeps quiet another one listens for.

    So what a gateway of a whole module or session says is not as that gateway was configured: to see what it logs, and
    what not, a test starts its own.
    """
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_engines() -> Iterator[None]:
    """See `tests.engines`."""
    from tests.engines import share

    with pytest.MonkeyPatch.context() as patch:
        share(patch)
        yield


@pytest.fixture(scope="session")
def sqlite_template(shared_engines: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no row: to copy it costs a tenth of what it costs to make one."""
    from sealgate.storage import open_storage

    file = tmp_path_factory.mktemp("template") / "empty.db"
    open_storage(f"sqlite:///{file}").close()
    return file


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
