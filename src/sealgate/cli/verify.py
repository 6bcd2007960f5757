"""``sealgate verify receipt``: checks a receipt without a server; the exit code says what came of it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sealgate.receipts import offline
from sealgate.receipts.offline import Inquiry

app = typer.Typer(name="verify", help="Check what a gateway has signed, offline.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Check what a gateway has signed, offline."""


@app.command()
def receipt(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The receipt, bare or as GET /v1/receipts/{id} gives it; - for stdin.")
    ],
    jwks: Annotated[
        str | None, typer.Option("--jwks", metavar="FILE", help="The key set to check with, as you have kept it.")
    ] = None,
    jwks_url: Annotated[
        str | None, typer.Option("--jwks-url", metavar="URL", help="Where to fetch it, if you trust the way there.")
    ] = None,
    request: Annotated[
        str | None, typer.Option("--request", metavar="FILE", help="The body you sent: its bytes, or the same JSON.")
    ] = None,
    response: Annotated[
        str | None,
        typer.Option("--response", metavar="FILE", help="The body you got: JSON, or the events as they came."),
    ] = None,
    nonce: Annotated[str | None, typer.Option("--nonce", help="The X-Tresor-Nonce you sent.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="URL", help="Who should have issued it.")] = None,
    proof: Annotated[
        str | None, typer.Option("--proof", metavar="FILE", help="From GET /v1/receipts/{id}/proof; needs --policy.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE", help="The log and the witnesses to believe, as you have kept them."),
    ] = None,
) -> None:
    """Check a receipt: its form, key and signature, and whether it speaks of this request and this response.

    Exit code 0: all that was checked passed; 1: something failed; 2: it could not be checked.
    """
    inquiry = Inquiry(file, jwks, jwks_url, request, response, nonce, issuer, proof, policy)
    raise typer.Exit(offline.run(inquiry, sys.stdout, sys.stderr))
