"""What belongs to another customer is answered as what does not exist, by every endpoint that names an object (row B7).

The endpoints come from the table of routes, so a new one is held to this by being there: it needs a maker of its
objects in `tests.matrix.makers.MAKERS`, or a reason in `NOBODYS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from tests.gateway import PEPPER, Reply, Running, Serve, model, read_reply
from tests.matrix.makers import BODIES, MAKERS, NOBODYS, Made, kind_of

from sealgate.api.routes import Route
from sealgate.config import Auth, Provider, Responses, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.testing import Issuer, http_request

CUSTOMER = "default"
SANDBOX = {"sandbox": Provider(kind="sandbox", region="local")}
MODELS = {"m": model("sandbox", upstream_model="sandbox")}
OTHERS = ("acme", "umbrella", "zenith")
CHANGING = {"x-request-id", "x-process-time", "date"}
"""Headers that differ between any two answers."""


def object_routes(running: Running) -> Iterator[tuple[Route, str]]:
    for route in running.gateway.front._routes.table:
        for path in route.paths:
            if "{" in path and kind_of(route.path) not in NOBODYS:
                yield route, path


async def send(running: Running, route: Route, path: str, name: str, credential: str) -> Reply:
    headers = {"authorization": f"Bearer {credential}"}
    raw = b""
    if route.body is not None:
        assert route.path in BODIES, f"{route.path} takes a body: say in BODIES which one would do"
        raw, headers["content-type"] = msgspec.json.encode(BODIES[route.path]), "application/json"
    async with running.client() as client:
        await client.send(http_request(route.method, re.sub(r"{\w+}", name, path), headers, raw))
        return await read_reply(await client.response())


def seen(reply: Reply) -> tuple[int, bytes, dict[str, str]]:
    """All that a caller can tell answers apart by."""
    return reply.status, reply.body, {name: text for name, text in reply.headers.items() if name not in CHANGING}


def unknown_like(name: str) -> str:
    """A name of the same form that nothing has."""
    return name[:-1] + ("0" if name[-1] != "0" else "1")


@pytest.mark.anyio
async def test_row_b7_every_object_of_another_customer_is_as_one_that_is_not_there(serve: Serve) -> None:
    async with Issuer() as issuer:
        rules = Rules(
            issuer=issuer.url, audience=("sealgate",), algorithms=("ES256",), create_users=True, customer=CUSTOMER
        )
        auth = Auth(pepper=Secret(PEPPER), issuers={"corp": rules})
        async with serve(SANDBOX, MODELS, auth=auth, responses=Responses(keep_days=1)) as running:
            asked = 0
            theirs: dict[tuple[str, str], Made] = {}  # made once, since nobody here may change them
            for route, path in object_routes(running):
                maker = MAKERS.get(kind_of(route.path))
                assert maker is not None, f"{route.path} names an object: add a maker of such objects to MAKERS"
                credentials = [running.admin_key, issuer.token("ada")]
                credentials += [running.key] if route.access == "key" else []
                for credential in credentials:
                    own = await maker(running, CUSTOMER)
                    assert (await send(running, route, path, own.id, credential)).status == 200, (route, "with its own")
                    for customer in OTHERS:
                        place = kind_of(route.path), customer
                        foreign = theirs[place] = theirs.get(place) or await maker(running, customer)
                        one = await send(running, route, path, foreign.id, credential)
                        other = await send(running, route, path, unknown_like(foreign.id), credential)
                        assert seen(one) == seen(other), (route.method, path)
                        assert (one.status, foreign.id in str(seen(one))) == (404, False)
                        assert await foreign.intact(), (route.method, path)
                        asked += 1
            assert asked >= 2 * 2 * 2 * len(OTHERS)
