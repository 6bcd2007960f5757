"""``python -m sealgate`` and the console script."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"] and hasattr(signal, "SIGHUP"):
        # To a server it means "read the configuration again", from its first moment: nothing has been read yet.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Importing makes many objects and no garbage; looking for some in between costs a part of the start.
    gc.disable()
    from sealgate.cli import app

    app()


if __name__ == "__main__":
    main()
