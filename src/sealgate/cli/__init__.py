"""The command line: ``sealgate serve | init | models | explain | doctor | keys | usage | audit | verify``, and more."""

from __future__ import annotations

import typer

from sealgate import __version__
from sealgate.cli import audit, doctor, explain, import_config, init, keys, models, serve, signing_keys, usage, verify
from sealgate.cli import witness as witness_command

app = typer.Typer(
    help="A self-hosted gateway for language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("init")(init.init)
app.command("import")(import_config.command)
app.command("models")(models.models)
app.command("explain")(explain.command)
app.command("doctor")(doctor.command)
app.command("usage")(usage.command)
app.command("audit")(audit.command)
app.command("witness")(witness_command.witness)
app.add_typer(keys.app)
app.add_typer(signing_keys.app)
app.add_typer(verify.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sealgate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """A self-hosted gateway for language models."""
