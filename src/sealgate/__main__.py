"""``python -m sealgate`` and the console script."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    # Importing makes many objects and no garbage; looking for some in between costs a part of the start.
    gc.disable()
    from sealgate.cli import app

    app()


if __name__ == "__main__":
    main()
