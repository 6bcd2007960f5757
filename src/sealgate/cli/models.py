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
from sealgate.relay.catalog import Catalog


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
        typer.echo(msgspec.json.encode(_rows(found)))
        return
    table = Table("model", "type", "routes", "aliases", box=None)
    for row in _rows(found):
        table.add_row(row["model"], row["type"], "\n".join(row["routes"]), ", ".join(row["aliases"]))
    Console().print(table)
    direct = sorted({account.name for account in found.accounts.values()})
    typer.echo(f"\nAny model of a provider: {', '.join(f'{name}::MODEL' for name in direct)}")


def _rows(found: Catalog) -> list[dict[str, object]]:
    return [
        {
            "model": model.key,
            "type": model.type,
            "routes": [route.id for route in model.routes],
            "aliases": list(model.aliases),
        }
        for model in found.models.values()
    ]
