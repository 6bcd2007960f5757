"""The audit trail: written with the act or not at all, read in order, never changed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from sealgate.errors import StorageError
from sealgate.storage import Storage, audit, bump, revision
from sealgate.storage.audit import ACTIONS, SYSTEM, Actor, Record

ADA = Actor("user", "ada", "192.0.2.7", "req-1")


async def write(storage: Storage, action: str = "key.created", actor: Actor = SYSTEM, **fields: Any) -> None:
    await storage.write(lambda connection: audit.record(connection, actor, action, **{"at": 1, **fields}))


async def rows(storage: Storage, **wanted: Any) -> list[Record]:
    return await storage.read(lambda connection: audit.listed(connection, **wanted))


@pytest.mark.anyio
async def test_a_row_tells_all_it_was_given(storage: Storage) -> None:
    await write(storage, "key.revoked", ADA, at=5, customer="c", about="k", detail={"name": "x", "none": None})

    [found] = await rows(storage)
    assert found == Record(
        id=found.id, at=5, actor_kind="user", actor_id="ada", customer_id="c", action="key.revoked", object="k",
        address="192.0.2.7", request_id="req-1", detail={"name": "x"},
    )  # fmt: skip


@pytest.mark.anyio
async def test_an_act_that_fails_leaves_no_row_and_a_row_that_fails_no_act(storage: Storage) -> None:
    def failing(connection: Connection) -> None:
        bump(connection, "x")
        audit.record(connection, SYSTEM, "key.created", at=1)
        raise StorageError("the act failed")

    def undeclared(connection: Connection) -> None:
        bump(connection, "x")
        audit.record(connection, SYSTEM, "key.sold", at=1)

    for act, error in ((failing, StorageError), (undeclared, ValueError)):
        with pytest.raises(error):
            await storage.write(act)
    assert await rows(storage) == []
    assert await storage.read(lambda connection: revision(connection, "x")) == 0


@pytest.mark.anyio
async def test_the_last_rows_are_listed_oldest_first_and_narrowed(storage: Storage) -> None:
    for at, action, customer in (
        (3_000_000, "key.created", "a"), (1_000_000, "customer.created", "a"), (2_000_000, "key.revoked", "b"),
    ):  # fmt: skip
        await write(storage, action, at=at, customer=customer)

    async def times(**wanted: Any) -> list[int]:
        return [each.at for each in await rows(storage, **wanted)]

    assert await times() == [1_000_000, 2_000_000, 3_000_000]
    assert await times(limit=2) == [2_000_000, 3_000_000]
    assert await times(since=2_000_000) == [2_000_000, 3_000_000]
    assert await times(customer="a") == [1_000_000, 3_000_000]
    assert await times(action="key") == [2_000_000, 3_000_000]
    assert await times(action="key.revoked") == [2_000_000]
    assert await times(action="k%") == []


@pytest.mark.anyio
async def test_acts_of_one_moment_are_listed_in_the_order_in_which_they_were_done(storage: Storage) -> None:
    actions = ["customer.created", "key.created", "key.default_set", "key.revoked"] * 5

    def act(connection: Connection) -> None:
        for action in actions:
            audit.record(connection, SYSTEM, action, at=7)

    await storage.write(act)
    assert [each.action for each in await rows(storage)] == actions


def test_no_line_of_the_program_changes_or_deletes_a_row() -> None:
    """Neither by SQLAlchemy nor in SQL of its own."""
    source = Path(audit.__file__).parents[1]
    for file in source.rglob("*.py"):
        text = file.read_text()
        if "audit" not in text.lower():
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                owner = node.func.value if isinstance(node.func, ast.Attribute) else next(iter(node.args), None)
                assert name not in ("update", "delete") or getattr(owner, "id", "") != "audit", file
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = node.value.lower()
                assert "update audit" not in said, file
                assert "delete from audit" not in said, file


def test_each_act_begins_with_the_kind_of_its_object() -> None:
    assert {action.partition(".")[0] for action in ACTIONS} >= {"customer", "key", "configuration"}
    assert all(text.endswith(".") for text in ACTIONS.values())
