"""The command line: ``sealgate serve | init | models | explain | doctor | keys | usage | audit | verify``, and more."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from sealgate import __version__

COMMANDS = {
    "serve": "serve:serve",
    "init": "init:init",
    "import": "import_config:command",
    "models": "models:models",
    "explain": "explain:command",
    "doctor": "doctor:command",
    "usage": "usage:command",
    "audit": "audit:command",
    "witness": "witness:witness",
    "keys": "keys:app",
    "signing-keys": "signing_keys:app",
    "verify": "verify:app",
}
"""Where each is, in this package. Only the one that runs is imported: the server does not wait for all the others."""


class Commands(TyperGroup):
    """All of them, by name."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=Commands,
    help="A self-hosted gateway for language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sealgate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """A self-hosted gateway for language models."""
