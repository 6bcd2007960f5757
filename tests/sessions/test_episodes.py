"""What an episode holds, from the ledger, on both engines."""

from __future__ import annotations

import pytest

from sealgate.formats.ids import dashed
from sealgate.limits.ledger import Entry, row
from sealgate.sessions import episodes
from sealgate.sessions.episodes import Page
from sealgate.storage import Storage
from sealgate.storage.tables import ledger


async def page(storage: Storage, customer: str, episode: str, limit: int = 10, offset: int = 0) -> Page:
    return await storage.read(lambda connection: episodes.page(connection, customer, episode, limit, offset))


@pytest.mark.anyio
async def test_an_episode_is_paged_oldest_first_and_is_one_customers(storage: Storage) -> None:
    for number in range(5):
        for customer in ("acme", "umbrella"):
            one = Entry(
                id=f"{number}{customer}", request_id="r", customer_id=customer, endpoint="chat.completions",
                created_at=number, episode_id="e", model="m", prompt_tokens=number,
            )  # fmt: skip
            await storage.append(ledger, row(one))
    first, second = await page(storage, "acme", "e", 3), await page(storage, "acme", "e", 3, 3)
    assert [each.id for each in (*first.inferences, *second.inferences)] == [f"{n}acme" for n in range(5)]
    assert (first.total, second.total) == (5, 5)
    assert (await page(storage, "acme", "f"), await page(storage, "zenith", "e")) == (Page([], 0), Page([], 0))


@pytest.mark.anyio
async def test_the_request_that_began_an_episode_is_found_by_its_own_id(storage: Storage) -> None:
    began, goes_on, other = f"{1:032x}", f"{2:032x}", f"{3:032x}"
    for number, name in enumerate((began, goes_on, other)):
        one = Entry(
            id=name, request_id="r", customer_id="acme", endpoint="chat.completions", created_at=number, model="m",
            episode_id=None if name == began else dashed(began),
        )  # fmt: skip
        await storage.append(ledger, row(one))
    found = await page(storage, "acme", dashed(began))
    assert ([each.id for each in found.inferences], found.total) == ([began, goes_on, other], 3)
    assert await page(storage, "acme", dashed(goes_on)) == Page([], 0)
    assert await page(storage, "umbrella", dashed(began)) == Page([], 0)
