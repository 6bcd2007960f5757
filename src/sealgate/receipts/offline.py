"""``verify receipt`` as a program: reads the files, asks for the keys where it is told to, prints the outcome.

Standard library only besides the check itself, because ``sealgate-verify`` is made of it too.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from . import logged, report
from .verify import Documents, Expected, Verdict, verify

LARGEST = 64 * 1024 * 1024
"""Bytes of a file that are read; more than any answer has."""
SECONDS = 10
OK, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes: everything that was checked passed; something failed; it could not be checked at all."""


class Inquiry(NamedTuple):
    """What the command line asked for; files are named, ``-`` is standard input."""

    receipt: str
    jwks: str | None = None
    jwks_url: str | None = None
    request: str | None = None
    response: str | None = None
    nonce: str | None = None
    issuer: str | None = None
    proof: str | None = None
    policy: str | None = None


class UnusableError(Exception):
    """What was named cannot be read; the text says why."""


def run(inquiry: Inquiry, out: TextIO, errors: TextIO) -> int:
    """Check and print; the exit code."""
    try:
        verdict = check(inquiry)
    except UnusableError as error:
        errors.write(f"{error}\n")
        return UNUSABLE
    for line in report.lines(verdict):
        out.write(f"{line}\n")
    return OK if verdict.ok else FAILED


def check(inquiry: Inquiry) -> Verdict:
    """Raises `UnusableError`."""
    token, named = read_receipt(_read(inquiry.receipt, "receipt"))
    documents = Documents(
        *(None if name is None else _read(name, what) for name, what in
          ((inquiry.request, "request"), (inquiry.response, "response")))
    )  # fmt: skip
    expected = Expected(inquiry.issuer, named, inquiry.nonce, time.time())
    proof = _proof(inquiry)
    verdict = verify(token, _keys(inquiry), expected, documents)
    return verdict if proof is None else logged.checked(verdict, *proof)


def _proof(inquiry: Inquiry) -> tuple[str, logged.Policy] | None:
    """The proof that the receipt is in the log, and whose signatures count under it."""
    if inquiry.proof is None:
        return None
    if inquiry.policy is None:
        raise UnusableError(
            "No key of a log to check the proof with. Give a policy that you trust: --policy FILE, such as the "
            "gateway's /.well-known/sealgate-log.json as you have kept it."
        )
    try:
        trusted = logged.policy(json.loads(_read(inquiry.policy, "policy")))
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"{inquiry.policy} cannot be used: {error}.") from None
    return _read(inquiry.proof, "proof").decode("utf-8", "replace"), trusted


def read_receipt(content: bytes) -> tuple[str, str | None]:
    """The compact receipt, and the id it was fetched by where it came as the API's answer. Raises `UnusableError`."""
    text = content.decode("ascii", "replace").strip()
    if not text.startswith("{"):
        return text, None
    try:
        answer = json.loads(content)
        return str(answer["receipt"]), str(answer["id"])
    except (ValueError, KeyError, RecursionError):
        raise UnusableError(
            'The receipt is neither a compact JWS nor {"id", "receipt", …} as the API gives it.'
        ) from None


def _keys(inquiry: Inquiry) -> Any:
    if inquiry.jwks is not None:
        content, where = _read(inquiry.jwks, "key set"), inquiry.jwks
    elif inquiry.jwks_url is not None:
        content, where = _fetch(inquiry.jwks_url), inquiry.jwks_url
    else:
        raise UnusableError(
            "No keys to check with. Give a key set that you trust: --jwks FILE, or --jwks-url URL of the gateway's "
            "/.well-known/jwks.json."
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UnusableError(f"{where} is no JSON document.") from None


def _read(name: str, what: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(LARGEST)
        with Path(name).open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise UnusableError(f"The {what} {name} cannot be read: {error.strerror}.") from None


def _fetch(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise UnusableError("--jwks-url is an https or http address.")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - the scheme was looked at
            content: bytes = answer.read(LARGEST)
            return content
    except (OSError, ValueError) as error:
        raise UnusableError(f"{url} cannot be fetched: {error}.") from None
