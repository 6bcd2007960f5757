"""``python -m sealgate.testing --port N``: a provider to point a gateway or an application at, without any key.

It answers every model well, except those whose names call for a fault (``fail-503``, ``cut``, ``silent``, ...;
``--list`` prints them all). Its base URL is the first line it prints.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable

from sealgate.testing.catalogue import CATALOGUE, by_model_name
from sealgate.testing.upstream import ScriptedUpstream


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m sealgate.testing", description="A scripted provider on OpenAI's wire, for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, takes a free one")
    parser.add_argument("--list", action="store_true", help="print the model names that call for a fault, and end")
    options = parser.parse_args(arguments)
    if options.list:
        sys.stdout.write("\n".join(["fail-400 ... fail-599", *CATALOGUE, ""]))
        return 0
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(options.port))
    except OSError as error:
        sys.stderr.write(f"cannot listen on port {options.port}: {error.strerror}\n")
        return 1
    return 0


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    models = ["test-model", "fail-429", "fail-500", "fail-503", *CATALOGUE]
    async with ScriptedUpstream(port=port, handler=by_model_name, models=models) as upstream:
        sys.stdout.write(f"{upstream.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed, for the speed; it is not needed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


if __name__ == "__main__":
    sys.exit(main())
