"""``python -m sealgate`` and the console script."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        _obey_early_signals()
    # Importing makes many objects and no garbage; looking for some in between costs a part of the start.
    gc.disable()
    _import_structlog_alone()
    from sealgate.cli import app

    app()


def _import_structlog_alone() -> None:
    """Import structlog without rich, which it would take along to colour tracebacks. None are logged."""
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


def _obey_early_signals() -> None:
    """What signals mean to a server from its first moment, long before there is a loop to hear them.

    Without this SIGHUP would end it, and SIGTERM would be lost where it is the first process of a container.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # "read the configuration again": it has not been read yet
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


if __name__ == "__main__":
    main()
