"""``sealgate models``: what the gateway would offer with this configuration."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from sealgate import config
from sealgate.cli.refuse import refuse
from sealgate.errors import ConfigError
from sealgate.relay import catalog


def models(
    config_file: Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """List the models, their routes and their other names."""
    from sealgate.app import with_discovered

    try:
        found = catalog.build(asyncio.run(with_discovered(config.load(config_file))))
    except ConfigError as error:
        refuse(str(error))
    if as_json:
        rows = [{"model": m.key, "type": m.type, "routes": [r.id for r in m.routes], "aliases": m.aliases}
                for m in found.models.values()]  # fmt: skip
        typer.echo(msgspec.json.encode(rows))
        return
    table = Table("model", "type", "routes", "aliases", box=None)
    for model in found.models.values():
        routes = "\n".join(route.id for route in model.routes)
        table.add_row(model.key, model.type, routes, ", ".join(model.aliases))
    Console().print(table)
    direct = sorted({account.name for account in found.accounts.values()})
    typer.echo(f"\nAny model of a provider: {', '.join(f'{name}::MODEL' for name in direct)}")
