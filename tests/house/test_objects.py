"""Every endpoint that names an object is held to row B7: strangers' objects are as those that are not there."""

from __future__ import annotations

import pytest
from tests.gateway import Serve
from tests.matrix.makers import BODIES, MAKERS, NOBODYS, kind_of


@pytest.mark.anyio
async def test_each_route_that_names_an_object_has_a_maker_or_a_reason(serve: Serve) -> None:
    async with serve({}, {}) as running:
        table = running.gateway.front._routes.table
    named = {kind_of(route.path): route.path for route in table if "{" in route.path}
    lacking = sorted(path for kind, path in named.items() if kind not in MAKERS and kind not in NOBODYS)
    assert not lacking, (
        f"tests/matrix/makers.py: say in MAKERS how such an object is made, or in NOBODYS why not: {lacking}"
    )
    takes = {route.path for route in table if "{" in route.path and route.body is not None}
    assert not takes - BODIES.keys(), (
        f"tests/matrix/makers.py: say in BODIES which body would do: {takes - BODIES.keys()}"
    )
    assert not (MAKERS.keys() | NOBODYS.keys()) - named.keys(), "no route names these any more"
