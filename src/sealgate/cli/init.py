"""``sealgate init``: writes a configuration file with every setting explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealgate.cli.refuse import refuse
from sealgate.config import DEFAULT_FILE
from sealgate.config_template import render


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(DEFAULT_FILE),
) -> None:
    """Write a commented configuration file; an existing file is never overwritten."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(render())
    except FileExistsError:
        refuse(f"{file} exists already and is left as it is")
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")
    typer.echo(f"Wrote {file}. Everything in it is optional; start with: sealgate serve --config {file}")
