"""What the operator can set of the transparency log; `sealgate.config_tables` holds all the rest."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from sealgate.formats import addresses

_ORIGIN = re.compile(r"[^\s+]{1,128}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Witness(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody else who signs what the log says of itself, having seen that it only grew."""

    url: Annotated[str, Meta(description="Where it takes checkpoints; `/add-checkpoint` is put behind this.")]
    key: Annotated[str, Meta(description="Its public key as a vkey, NAME+ID+KEY; signatures of others do not count.")]

    def __post_init__(self) -> None:
        from sealgate.formats import note  # loads what a gateway without witnesses does not need

        addresses.secure_url(self.url)
        if note.key(self.key).kind != note.WITNESS:
            raise ValueError("key: it is the key of a log, not of a witness")


class ReceiptLog(Struct, frozen=True, forbid_unknown_fields=True):
    """The transparency log that receipts are entered in. A change takes effect at the next start."""

    enabled: Annotated[bool, Meta(description="Enter each receipt in the log; false: receipts name no log.")] = True
    origin: Annotated[
        str | None,
        Meta(description="The log's name, such as gw.example/receipts/2026. Unset: made of the gateway's address at "
                         "the first start, and kept. Another name begins another log."),
    ] = None  # fmt: skip
    prefix: Annotated[str, Meta(description="Path under which its checkpoint and tiles are served.")] = "/log"
    public: Annotated[
        bool, Meta(description="Whether everyone may read it, who then sees how many receipts there are; else by key.")
    ] = False
    strict: Annotated[
        bool, Meta(description="Refuse requests while the log is sealed; else they are answered, unlogged.")
    ] = False
    witnesses: Annotated[tuple[Witness, ...], Meta(description="Those who are asked to sign its checkpoints.")] = ()
    quorum: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How many of them make a checkpoint witnessed; unset: all of them."),
    ] = None

    def __post_init__(self) -> None:
        if self.origin is not None and not _ORIGIN.fullmatch(self.origin):
            raise ValueError("origin: a name is 1 to 128 characters without spaces and plus signs")
        if not _PREFIX.fullmatch(self.prefix) or self.prefix.startswith(("/v1", "/api")):
            raise ValueError("prefix: a path such as /log, outside of /v1 and /api")
        if len({witness.key for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("witnesses: two have the same key")
        if self.quorum is not None and self.quorum > len(self.witnesses):
            raise ValueError("quorum: there are not that many witnesses")

    @property
    def needed(self) -> int:
        """How many witnesses make a quorum; 0: there are none to ask."""
        return len(self.witnesses) if self.quorum is None else self.quorum
