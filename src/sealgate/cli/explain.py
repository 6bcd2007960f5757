"""``sealgate explain``: which routes a request would be sent to, in which order, and why."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from sealgate import config
from sealgate.auth.caller import ANONYMOUS
from sealgate.cli.refuse import refuse
from sealgate.config import Settings
from sealgate.errors import ConfigError, Problem, StorageError
from sealgate.relay import catalog, explain, plan
from sealgate.relay.ask import Ask
from sealgate.relay.health import Health
from sealgate.relay.pace import Paces
from sealgate.relay.request import read_chat
from sealgate.sessions import store
from sealgate.storage import open_storage
from sealgate.storage.trial import missing_file

WIDE = 240
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def command(
    model: Annotated[str, typer.Argument(help="A model's name, as a request gives it.")],
    request: Annotated[
        str | None, typer.Option(metavar="FILE", help="A chat request's JSON body (-: standard input).")
    ] = None,
    config_file: Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Print the plan of a request: routes in order with reasons, and why not the others.

    A request's session is looked up where the server keeps it. Health, measured speed and limits are those of a running
    server and are not known here;
    POST /v1/chat/completions?dry_run=true asks the server itself.
    """
    from sealgate.app import with_discovered

    seen = plan.Seen(Health(), Paces())
    try:
        settings = config.load(config_file)
        found = catalog.build(asyncio.run(with_discovered(settings)))
        ask = read_chat(msgspec.json.encode({**_body(request), "model": model}))
        pin = None if ask.session_id is None else asyncio.run(_pin(settings, found, ask, ask.session_id))
        made = plan.make(found, ask, ANONYMOUS, seen, pin)
    except (ConfigError, StorageError) as error:
        refuse(str(error))
    except Problem as problem:
        refuse(f"{problem.code.name}: {problem.message}")
    asked = found.resolve(ask.model, ask.named.region, ask.named.provider)
    document = explain.describe(made, seen, asked, stream=ask.prompt.stream)
    if as_json:
        typer.echo(msgspec.json.encode(document))
    else:
        _print(document)


async def _pin(settings: Settings, found: catalog.Catalog, ask: Ask, session_id: str) -> str | None:
    """The route at which the request's session is. Whose session it is does not matter to an operator."""
    missing = missing_file(settings.database_url)
    session = None
    if missing is None:
        storage = open_storage(settings.database_url)
        try:
            session = await storage.read(partial(store.by_id, session_id=session_id.replace("\0", "")))
        finally:
            await storage.aclose()
    if session is None:
        raise Problem("session_not_found")
    asked = found.resolve(ask.model, ask.named.region, ask.named.provider).key
    if session.model != asked:
        raise Problem("session_model_mismatch", f"The session is for the model {session.model!r}, not for {asked!r}.")
    if not session.is_active(time.time_ns() // 1000):
        raise Problem("session_expired")
    return session.route


def _body(file: str | None) -> dict[str, Any]:
    if file is None:
        return HELLO
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        refuse(f"{file} cannot be read: {error.strerror}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse(f"{file} is not a JSON object: {error}")


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"{document['requested_route']}\n")
    table = Table("", "route", "upstream model", "tries", "reason", box=None)
    for number, target in enumerate(document["targets"], 1):
        tries = str(target["tries"])
        table.add_row(str(number), target["route"], target["upstream_model"], tries, target["reason"])
    for skipped in document["skipped"]:
        table.add_row("-", skipped["route"], "", "", skipped["reason"])
    # In a pipe nobody wants names cut to the width of a terminal that is not there.
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
