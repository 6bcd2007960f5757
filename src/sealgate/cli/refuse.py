"""How a command ends that cannot do its work: one sentence, exit code 1, no traceback."""

from __future__ import annotations

from typing import NoReturn

import typer


def refuse(sentence: str) -> NoReturn:
    """Say why on standard error and exit."""
    typer.secho(f"sealgate: {sentence}", err=True, fg=typer.colors.RED)
    raise typer.Exit(1)
