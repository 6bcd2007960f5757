"""Episodes: labels that group inferences. What one holds is read from the ledger, which has no content to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, union_all

from sealgate.storage.tables import ledger


class Inference(msgspec.Struct, kw_only=True):
    """One request of an episode, under the names of its ledger row."""

    id: str
    request_id: str
    endpoint: str
    created_at: int
    model: str
    routed_model: str | None
    outcome: str
    prompt_tokens: int | None
    completion_tokens: int | None
    session_id: str | None
    receipt_id: str | None


class Page(NamedTuple):
    """Some inferences of an episode, oldest first, and how many it has in all."""

    inferences: Sequence[Inference]
    total: int


_COLUMNS = [ledger.c[name] for name in Inference.__struct_fields__]


def page(connection: Connection, customer_id: str, episode_id: str, limit: int, offset: int) -> Page:
    """The customer's inferences in that episode. An episode of another customer has none, as one there is not.

    The request that began it has its id, and is in no episode besides.
    """
    mine = select(*_COLUMNS).where(ledger.c.customer_id == customer_id)
    began = mine.where(ledger.c.id == episode_id.replace("-", ""), ledger.c.episode_id.is_(None))
    # Each half has an index; for an OR of the two SQLite would look at all of the customer's.
    held = union_all(mine.where(ledger.c.episode_id == episode_id), began).subquery()
    total = connection.execute(select(func.count()).select_from(held)).scalar_one()
    found = select(held).order_by(held.c.id).limit(limit).offset(offset)
    return Page([Inference(**row) for row in connection.execute(found).mappings()], int(total))
