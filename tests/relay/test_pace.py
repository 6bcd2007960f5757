"""How fast routes have been lately."""

import pytest

from sealgate.config import Model, Provider, Route, Settings
from sealgate.relay import catalog, pace
from sealgate.relay.pace import Paces


def route(name: str = "m") -> catalog.Route:
    acme = Provider(kind="openai", base_url="https://llm.acme.example/v1")
    models = {name: Model(routes=(Route(provider="acme", model="up"),))}
    return catalog.build(Settings(providers={"acme": acme}, models=models)).models[name].routes[0]


def test_nothing_is_known_of_a_route_that_never_answered() -> None:
    assert Paces().of(route(), stream=True) is None


def test_the_newest_answers_count_most() -> None:
    paces = Paces()
    for seconds in (1.0, 1.0, 1.0, 2.0):
        paces.note(route(), stream=True, seconds=seconds)
    assert paces.of(route(), stream=True) == pytest.approx(1.2)
    for _ in range(30):
        paces.note(route(), stream=True, seconds=2.0)
    assert paces.of(route(), stream=True) == pytest.approx(2.0, rel=0.01)


def test_streams_and_whole_answers_are_measured_apart() -> None:
    paces = Paces()
    paces.note(route(), stream=True, seconds=0.1)
    paces.note(route(), stream=False, seconds=9.0)
    assert (paces.of(route(), stream=True), paces.of(route(), stream=False)) == (0.1, 9.0)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MAX_ROUTES", 3)
    paces = Paces()
    for number in range(5):
        paces.note(route(f"m{number}"), stream=True, seconds=1.0)
    known = [paces.of(route(f"m{number}"), stream=True) is not None for number in range(5)]
    assert known == [False, False, True, True, True]
