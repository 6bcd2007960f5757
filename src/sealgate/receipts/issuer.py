"""From a request at the door to its signed receipt: one draft each, filled while the request runs, signed once.

The draft's id is fixed before the answer's head goes out. What is costly (digests, the signature) is done in the thread
that writes the ledger, next to the commit: the receipt is a column of the request's row.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from sealgate.errors import Problem, StorageError
from sealgate.formats import ids
from sealgate.receipts import receipt
from sealgate.receipts.attester import Attester
from sealgate.receipts.keys import SigningKeys
from sealgate.receipts.receipt import (
    SALT_BYTES,
    About,
    Digests,
    Kind,
    LogTerms,
    Outcome,
    Software,
    Told,
    Unsigned,
    Wire,
)
from sealgate.receipts.store import NOT_LOGGED


class Row(Protocol):
    """A request's row of the ledger, as far as it is the receipt's."""

    receipt_id: str | None
    receipt: str | None
    log_index: int | None


R = TypeVar("R", bound=Row)
Made: TypeAlias = "R | Callable[[], Made[R]]"
"""A row, or a step that makes it or the next step."""
Said: TypeAlias = Callable[[], Sequence[dict[str, Any]]]

_POOL = 256
_salts: deque[bytes] = deque()
"""Salts that wait for their receipts: fetching noise for one costs more than all the rest."""


def _salt() -> bytes:
    try:
        return _salts.pop()
    except IndexError:
        noise = os.urandom(SALT_BYTES * _POOL)
        _salts.extend(noise[start : start + SALT_BYTES] for start in range(0, len(noise), SALT_BYTES))
        return _salts.pop()


class Order(msgspec.Struct, gc=False):
    """What a receipt is to be made for: a request as it came, and what its headers want of the receipt."""

    kind: Kind
    endpoint: str
    model: str
    body: bytes | memoryview
    fields: Any
    """The body, parsed; must not be changed any more. None: it is not JSON."""
    nonce: str | None = None
    wanted: bool | None = None
    """False: there shall be none."""
    said: Said | None = None
    """Gives what was answered, where the endpoint has a form of its own for that."""


class Draft(Protocol):
    """The receipt of one request while it runs."""

    @property
    def id(self) -> str | None:
        """The receipt's id, or None where there will be no receipt."""

    @property
    def jws(self) -> str | None:
        """The signed receipt, once it is committed."""

    def begun(self) -> str | None:
        """What a receipt needs if this process dies meanwhile, for `finish_unknown`; None without a receipt."""

    def forwarded(self, body: bytes) -> None:
        """This body was sent to the provider that answers now."""

    def written(self, data: bytes) -> None:
        """These bytes of the answer's body were handed to the transport."""

    def sealed(self, row: R, told: Callable[[], Told]) -> Made[R]:
        """The request's row with its receipt, made in the thread that writes it. What is written later is not in it."""


class _Begun(NamedTuple):
    """A draft as it is kept in the database while its request runs."""

    about: About
    request_wire: str
    request_jcs: str | None


class NoDraft:
    """For requests without a receipt."""

    id = None
    jws = None

    def begun(self) -> None:
        return None

    def forwarded(self, body: bytes) -> None:
        """Nobody asks."""

    def written(self, data: bytes) -> None:
        """Nobody asks."""

    def sealed(self, row: R, told: Callable[[], Told]) -> R:  # noqa: ARG002
        return row


NO_DRAFT = NoDraft()


class SignedDraft:
    """For all others."""

    __slots__ = ("_about", "_forwarded", "_keys", "_order", "_received", "_rewritten", "_written", "id", "jws")

    def __init__(self, about: About, keys: SigningKeys, order: Order) -> None:
        self.id: str | None = about.id
        self.jws: str | None = None
        self._about = about
        self._keys = keys
        self._order = order
        self._received: tuple[str, str | None] | None = None
        self._forwarded: Wire | None = None
        self._rewritten = False
        self._written = Wire(about.salt, "response.wire")

    def begun(self) -> str:
        return msgspec.json.encode(_Begun(self._about, *self._of_request())).decode()

    def _of_request(self) -> tuple[str, str | None]:
        """Digests of the request, bytes and document; worked out once."""
        if self._received is None:
            salt, order = self._about.salt, self._order
            document = None if order.fields is None else receipt.canonical_or_none(order.fields)
            jcs = None if document is None else receipt.digest(salt, "request.jcs", document)
            self._received = receipt.digest(salt, "request.wire", order.body), jcs
        return self._received

    def forwarded(self, body: bytes) -> None:
        self._forwarded = Wire(self._about.salt, "forwarded.wire")
        self._forwarded.add(body)
        self._rewritten = body != self._order.body

    def written(self, data: bytes) -> None:
        self._written.add(data)

    def sealed(self, row: R, told: Callable[[], Told]) -> Callable[[], Made[R]]:
        written, self._written = self._written, Wire(b"", "")  # what comes now is nobody's

        def stated() -> Made[R]:
            if self.jws is not None:
                return row  # a commit that failed is tried again with the same receipt
            seen = told()
            if written.size:
                seen.status = 200
            payload = receipt.payload(self._about, seen, self._digests(seen, written), int(time.time()))
            return partial(self._signed, row, self._keys.signer().takes(payload))

        return stated

    def _signed(self, row: R, unsigned: Unsigned) -> R:
        self.jws = row.receipt = unsigned.sign()
        row.receipt_id = self._about.id
        row.log_index = None if self._about.log else NOT_LOGGED
        return row

    def _digests(self, told: Told, written: Wire) -> Digests:
        said = None if told.choices is None else self._order.said or told.choices
        found = None if said is None else said()
        content = found if found is None or isinstance(found, bytes) else receipt.canonical_or_none(found)
        request_wire, request_jcs = self._of_request()
        forwarded = None if told.routed_model is None else self._forwarded
        return Digests(
            request_wire,
            request_jcs,
            forwarded=None if forwarded is None else forwarded.digest(),
            rewritten=self._rewritten,
            response_wire=written.digest(),
            response_bytes=written.size,
            response_content=None if content is None else receipt.digest(self._about.salt, "response.content", content),
        )


class Receipts(Protocol):
    """Makes drafts; on or off."""

    def draft(self, request_id: str, order: Order) -> Draft:
        """The receipt of a request; ``request_id`` is the id of the ledger's row."""


class NoReceipts:
    """Receipts are switched off."""

    def draft(self, request_id: str, order: Order) -> Draft:  # noqa: ARG002
        return NO_DRAFT


class SealedReceipts:
    """Requests are refused, because the log is sealed and the operator wants none without it."""

    def draft(self, request_id: str, order: Order) -> Draft:  # noqa: ARG002
        """Raises `Problem` ``log_sealed``."""
        raise Problem("log_sealed")


class Issuer:
    """Receipts are issued: in the name of ``issuer``, the gateway's address, about ``software``."""

    def __init__(
        self,
        keys: SigningKeys,
        issuer: str,
        software: Software,
        log: LogTerms | None = None,
        attester: Attester | None = None,
    ) -> None:
        self.issuer = issuer
        self.software = software
        """Replaced by a reload; a receipt says what its request began with."""
        self.log = log
        self._keys = keys
        self._attester = attester

    def draft(self, request_id: str, order: Order) -> Draft:
        if order.wanted is False:
            return NO_DRAFT
        attested = None if self._attester is None else self._attester.claim
        about = About(
            ids.dashed(request_id),
            order.kind,
            self.issuer,
            order.nonce,
            _salt(),
            order.endpoint,
            order.model,
            self.software,
            self.log,
            attested,
        )
        return SignedDraft(about, self._keys, order)


def finish_unknown(keys: SigningKeys, row: dict[str, Any]) -> None:
    """Give a request its receipt whose process died: how it ended, nobody knows (row H1).

    ``row`` is its row of the ledger, with `Draft.begun` in the receipt's place. Without a key at hand there is none.
    """
    begun, row["receipt"] = row["receipt"], None
    if begun is None:
        return
    about, request_wire, request_jcs = msgspec.json.decode(begun, type=_Begun)
    told = Told(
        outcome=Outcome.UNKNOWN,
        status=None,
        requested_route=row["requested_route"],
        attempts=(),
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        usage_source="estimated",
    )
    payload = receipt.payload(about, told, Digests(request_wire, request_jcs), int(time.time()))
    try:
        row["receipt"] = keys.signer().sign(payload)
    except StorageError:
        return
    row["receipt_id"] = about.id
    row["log_index"] = None if about.log else NOT_LOGGED
