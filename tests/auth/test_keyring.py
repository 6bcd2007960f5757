"""The keys of one issuer over days, on a clock that jumps (rows B11 and B13)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sealgate.auth.keyring import FRESH, INTERVAL, LAST_GOOD, Keyring, read_metadata
from sealgate.config_tables import Issuer
from sealgate.errors import Problem
from sealgate.outward.documents import Document, DocumentError
from sealgate.testing import run
from sealgate.testing.issuer import make_key

ISS = "https://id.corp.example"
KEYS = {name: make_key("ES256", name).as_dict(private=False) for name in ("one", "two", "three")}
OTHER_ONE = make_key("ES256", "one").as_dict(private=False)


class World:
    """An issuer without a network: what it publishes, how long it takes, and when it was asked for what."""

    def __init__(self) -> None:
        self.keys: list[Any] = [KEYS["one"]]
        self.max_age: int | None = None
        self.metadata: dict[str, Any] = {"issuer": ISS, "jwks_uri": ISS + "/keys"}
        self.down = False
        self.takes = 0.0
        self.asked: list[float] = []
        self.discovered: list[float] = []
        self.at_once = self.most_at_once = 0

    async def fetch(self, url: str) -> Document:
        (self.asked if url == ISS + "/keys" else self.discovered).append(now())
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        if self.down:
            raise DocumentError(f"{url} cannot be read: unreachable")
        said = {"keys": self.keys} if url == ISS + "/keys" else self.metadata
        return Document(json.dumps(said).encode(), self.max_age)


def now() -> float:
    return asyncio.get_running_loop().time()


def scene(play: Callable[[World, Keyring], Awaitable[None]], **rules: Any) -> None:
    """Play it on a clock that jumps, with a ring that was not started."""

    async def main() -> None:
        world = World()
        known = Issuer(issuer=ISS, audience=("sealgate",), algorithms=("ES256",), **rules)
        ring = Keyring("corp", known, world.fetch, monotonic=now)
        try:
            await play(world, ring)
        finally:
            await ring.aclose()

    run(main(), grace=0.0, limit=1e6)  # there is no socket to listen to


async def kids(ring: Keyring, *names: str) -> list[int]:
    return [len(await ring.find(name)) for name in names]


async def unavailable(ring: Keyring, kid: str | None) -> int | None:
    with pytest.raises(Problem) as caught:
        await ring.find(kid)
    assert caught.value.code.name == "auth_unavailable"
    return caught.value.retry_after


def test_keys_are_discovered_once_and_fetched_once() -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one", "one", "two") == [1, 1, 0]
        assert (len(world.discovered), len(world.asked)) == (1, 1)

    scene(play)


def test_with_an_address_of_its_own_nothing_is_discovered() -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one") == [1]
        assert (world.discovered, ring.metadata) == ([], None)

    scene(play, jwks_url=ISS + "/keys")


def test_everybody_waits_for_one_fetch() -> None:
    async def play(world: World, ring: Keyring) -> None:
        world.takes = 2.0
        found = await asyncio.gather(*(ring.find(kid) for kid in ["one"] * 50 + ["unknown"] * 50))
        assert [len(keys) for keys in found] == [1] * 50 + [0] * 50
        assert (len(world.asked), world.most_at_once) == (1, 1)

    scene(play)


def test_who_stops_waiting_does_not_stop_the_fetch() -> None:
    async def play(world: World, ring: Keyring) -> None:
        world.takes = 2.0
        first, second = asyncio.create_task(ring.find("one")), asyncio.create_task(ring.find("one"))
        await asyncio.sleep(1)
        first.cancel()
        assert len(await second) == 1
        assert len(world.asked) == 1

    scene(play)


def test_row_b11_a_flood_of_unknown_kids_for_ten_minutes_costs_a_fetch_each_half_minute() -> None:
    async def play(world: World, ring: Keyring) -> None:
        ring.start()
        started = now()
        number = 0
        while now() - started < 600:
            assert await ring.find(f"unknown-{(number := number + 1)}") == ()
            await asyncio.sleep(0.5)
        gaps = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
        assert min(gaps) >= INTERVAL
        assert len(world.asked) == 20
        assert ring.fetches == {"ok": 20}

    scene(play)


def test_a_new_key_is_known_after_half_a_minute_and_the_old_one_stays() -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one") == [1]
        world.keys.append(KEYS["two"])
        await asyncio.sleep(INTERVAL - 1)
        assert await kids(ring, "two") == [0]
        await asyncio.sleep(1)
        assert await kids(ring, "two", "one") == [1, 1]
        assert ring.generation == 0

    scene(play)


def test_a_key_that_is_gone_or_changed_begins_a_new_generation() -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one") == [1]
        world.keys = [OTHER_ONE, KEYS["two"]]
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "two") == [1]
        assert ring.generation == 1
        world.keys = [KEYS["two"], KEYS["three"]]
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "three", "one") == [1, 0]
        assert ring.generation == 2

    scene(play)


@pytest.mark.parametrize(("max_age", "kept"), [(None, 300), (0, 300), (299, 300), (1000, 1000), (10**9, 86_400)])
def test_keys_are_fetched_again_before_they_are_too_old(max_age: int | None, kept: float) -> None:
    """Without anybody asking; between five minutes and a day, as the issuer says."""
    assert FRESH == (300, 86_400)

    async def play(world: World, ring: Keyring) -> None:
        world.max_age = max_age
        ring.start()
        await asyncio.sleep(kept * 2.5)
        gaps = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
        assert gaps == pytest.approx([kept * 0.75] * 3)
        assert len(world.discovered) == 1

    scene(play)


def test_row_b13_the_last_good_keys_go_on_for_a_day() -> None:
    async def play(world: World, ring: Keyring) -> None:
        ring.start()
        assert await kids(ring, "one") == [1]
        world.down = True
        await asyncio.sleep(LAST_GOOD - 60)
        assert await kids(ring, "one") == [1]
        assert 1 <= (await unavailable(ring, "two") or 0) <= INTERVAL
        await asyncio.sleep(61)
        assert 1 <= (await unavailable(ring, "one") or 0) <= INTERVAL
        await unavailable(ring, None)
        gaps = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
        assert min(gaps) >= INTERVAL
        world.down = False
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "one", "two") == [1, 0]

    scene(play)


def test_row_b13_an_issuer_that_was_never_there_is_asked_again_each_half_minute() -> None:
    async def play(world: World, ring: Keyring) -> None:
        world.down = True
        ring.start()
        for _ in range(3):
            assert await unavailable(ring, "one") == INTERVAL
            await asyncio.sleep(INTERVAL)
        world.down = False
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "one") == [1]

    scene(play)


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "c2VjcmV0"}], ["nothing"], [KEYS["one"] | {"use": "enc"}]])
def test_a_set_without_a_key_that_can_be_used_leaves_the_last_good_one(keys: list[Any]) -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one") == [1]
        world.keys = keys
        await asyncio.sleep(INTERVAL)
        await unavailable(ring, "two")
        assert await kids(ring, "one") == [1]
        assert (ring.generation, ring.fetches) == (0, {"ok": 1, "failed": 1})

    scene(play)


def test_where_the_keys_have_moved_they_are_discovered_anew() -> None:
    async def play(world: World, ring: Keyring) -> None:
        assert await kids(ring, "one") == [1]
        world.down = True
        await asyncio.sleep(INTERVAL)
        await unavailable(ring, "two")
        world.down = False
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "two") == [0]
        assert len(world.discovered) == 2

    scene(play)


def test_a_mistake_of_ours_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World, ring: Keyring) -> None:
        def mistaken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("sealgate.auth.keyring.read_keys", mistaken)
        ring.start()
        await unavailable(ring, "one")
        monkeypatch.undo()
        await asyncio.sleep(INTERVAL)
        assert await kids(ring, "one") == [1]

    scene(play)


def said(**fields: Any) -> bytes:
    return json.dumps({"issuer": ISS, "jwks_uri": ISS + "/keys", **fields}).encode()


def test_metadata_say_where_keys_and_logins_are() -> None:
    found = read_metadata(said(authorization_endpoint=ISS + "/in", token_endpoint="https://elsewhere.example/t"), ISS)
    assert found == (ISS + "/keys", ISS + "/in", "https://elsewhere.example/t")
    assert read_metadata(said(authorization_endpoint="javascript:x", token_endpoint=7), ISS)[1:] == (None, None)
    assert read_metadata(said(jwks_uri=ISS + ":443/keys"), ISS).jwks_url == ISS + ":443/keys"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"<html>", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (said(issuer=ISS + "/"), "those of the issuer"),
        (said(issuer="https://evil.example"), "those of the issuer"),
        (said(issuer=None), "those of the issuer"),
        (said(jwks_uri=None), "no jwks_uri"),
        (said(jwks_uri=["x"]), "no jwks_uri"),
        (said(jwks_uri="http://id.corp.example/keys"), "https"),
        (said(jwks_uri="https://evil.example/keys"), "another host.*set jwks_url"),
        (said(jwks_uri="https://id.corp.example:8443/keys"), "another host"),
        (said(jwks_uri="https://id.corp.example@evil.example/keys"), "plain URL"),
        (said(jwks_uri="https://id.corp.example.evil.example/keys"), "another host"),
        (said(jwks_uri="file:///etc/passwd"), "plain URL"),
    ],
)
def test_metadata_of_another_issuer_or_with_keys_elsewhere_are_refused(document: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_metadata(document, ISS)
