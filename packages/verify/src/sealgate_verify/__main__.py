"""The command ``sealgate-verify``: what ``sealgate verify receipt`` is, for people without a server."""

from __future__ import annotations

import argparse
import sys

from .receipts import offline


def main() -> None:
    """Check the receipt that the command line names, and exit with what came of it."""
    reader = argparse.ArgumentParser(
        prog="sealgate-verify",
        description="Check a receipt: its form, key and signature, and whether it speaks of this request and response.",
        epilog="Exit code 0: all that was checked passed; 1: something failed; 2: it could not be checked.",
    )
    reader.add_argument(
        "receipt", metavar="FILE", help="the receipt, bare or as GET /v1/receipts/{id} gives it; - for stdin"
    )
    reader.add_argument("--jwks", metavar="FILE", help="the key set to check with, as you have kept it")
    reader.add_argument("--jwks-url", metavar="URL", help="where to fetch it, if you trust the way there")
    reader.add_argument("--request", metavar="FILE", help="the body you sent: its bytes, or the same JSON")
    reader.add_argument("--response", metavar="FILE", help="the body you got: JSON, or the events as they came")
    reader.add_argument("--nonce", metavar="TEXT", help="the X-Tresor-Nonce you sent")
    reader.add_argument("--issuer", metavar="URL", help="who should have issued it")
    reader.add_argument("--proof", metavar="FILE", help="from GET /v1/receipts/{id}/proof; needs --policy")
    reader.add_argument("--policy", metavar="FILE", help="the log and the witnesses to believe, as you have kept them")
    sys.exit(offline.run(offline.Inquiry(**vars(reader.parse_args())), sys.stdout, sys.stderr))


if __name__ == "__main__":
    main()
