"""``sealgate witness``: signs what other people's logs say of themselves, as long as they only grow."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated

import typer

from sealgate.api import server
from sealgate.api.edge import server_config
from sealgate.api.edge_rules import EdgeLimits
from sealgate.api.witness import WitnessApplication
from sealgate.cli.refuse import refuse
from sealgate.errors import ConfigError
from sealgate.formats import note
from sealgate.formats.note import Key, NoteError
from sealgate.receipts.witness import Witness, load_key


def witness(
    state: Annotated[Path, typer.Option("--state", metavar="FILE", help="Where it keeps what it signed.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Its private key; made where there is none.")],
    log: Annotated[list[str], typer.Option("--log", metavar="VKEY", help="A log to sign for; may be repeated.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where.")] = "127.0.0.1:7380",
    name: Annotated[str | None, typer.Option("--name", help="Its name, where the key is made.")] = None,
) -> None:
    """Run a witness of transparency logs (c2sp.org/tlog-witness) until SIGTERM or SIGINT.

    It prints its public key, which the log's operator writes under [[receipts.log.witnesses]].
    """
    try:
        host, port = _address(listen)
        found = load_key(key, name)
        application = WitnessApplication(Witness(found, _logs(log), state))
        typer.echo(str(found.public))

        def listening(addresses: list[tuple[str, int]]) -> None:
            typer.echo(f"Listening on {addresses[0][0]}:{addresses[0][1]}.", err=True)

        server.run(
            server_config(application, host, port, EdgeLimits()),
            drain_seconds=5,
            hooks=server.Hooks(on_listening=listening),
        )
    except ConfigError as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{listen} is in use." if error.errno == errno.EADDRINUSE else error.strerror or str(error))


def _logs(given: list[str]) -> list[Key]:
    try:
        found = [note.key(each) for each in given]
    except NoteError as error:
        raise ConfigError(str(error)) from None
    if any(each.kind != note.LOG for each in found):
        raise ConfigError("--log: it is the key of a witness, not of a log")
    return found


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--listen is HOST:PORT, and this is {listen}")
    return host.strip("[]"), int(port)
