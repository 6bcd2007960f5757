"""The plan: which routes are asked, in which order, and why not the others."""

import json
from typing import Any

import pytest

from sealgate.auth.caller import Caller
from sealgate.config import Model, Provider, Route, Settings
from sealgate.errors import Problem
from sealgate.relay.catalog import Catalog, build
from sealgate.relay.health import Health
from sealgate.relay.pace import Paces
from sealgate.relay.plan import MAX_TARGETS, Plan, Seen
from sealgate.relay.plan import make as make_plan
from sealgate.relay.request import Ask, read_chat

ANYONE = Caller(customer_id="c", key_id="k")
PICTURE = [{"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}]
INLINE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def provider(kind: str = "openai", **fields: Any) -> Provider:
    return Provider(kind=kind, base_url="https://llm.acme.example/v1", **fields)


PROVIDERS = {
    "one": provider(region="eu"),
    "two": provider(region="us"),
    "three": provider(region="eu"),
    "local": provider("vllm", region="eu"),
    "eager": provider(region="eu", retries=2),
    "tireless": provider(region="eu", retries=5),
}


def catalog(**models: list[str]) -> Catalog:
    routes = {key: [Route(provider=name, model=f"up-{key}") for name in names] for key, names in models.items()}
    return build(Settings(providers=PROVIDERS, models={key: Model(routes=tuple(r)) for key, r in routes.items()}))


def ask(model: str = "m", content: Any = "hi", **fields: Any) -> Ask:
    return read_chat(
        json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **fields}).encode()
    )


def make(catalog: Catalog, ask: Ask, caller: Caller, seen: Seen | None = None) -> Plan:
    return make_plan(catalog, ask, caller, seen or Seen(Health(), Paces(), lambda: 0.5))


def targets(plan: Plan) -> list[str]:
    return [f"{target.route.provider}:{target.route.key}" for target in plan.targets]


@pytest.mark.parametrize(
    ("fields", "expected", "requested"),
    [
        ({}, ["one:m", "two:m", "three:m"], "auto/auto/m"),
        ({"model": "eu/auto/m"}, ["one:m", "three:m"], "eu/auto/m"),
        ({"region": "eu"}, ["one:m", "three:m"], "eu/auto/m"),
        ({"provider": "two"}, ["two:m"], "auto/two/m"),
        ({"region": "us", "provider": "two"}, ["two:m"], "us/two/m"),
        ({"failover": ["other"]}, ["one:m", "two:m", "three:m", "local:other", "one:other"], "auto/auto/m"),
        ({"model": "us/auto/m", "failover": ["m"]}, ["two:m", "one:m", "three:m"], "us/auto/m"),
        ({"provider": "one", "failover": ["eu/three/m", "two::raw"]}, ["one:m", "three:m", "two:raw"],
         "auto/one/m"),
        ({"failover": ["m", "auto/two/m", "m"]}, ["one:m", "two:m", "three:m"], "auto/auto/m"),
        ({"failover": []}, ["one:m", "two:m", "three:m"], "auto/auto/m"),
        ({"model": "two::any"}, ["two:any"], "auto/two/any"),
        ({"model": "again"}, ["eager:again"] * 3 + ["one:again"], "auto/auto/again"),
    ],
)  # fmt: skip
def test_targets_are_the_primarys_routes_then_those_of_each_failover_entry(
    fields: dict[str, Any], expected: list[str], requested: str
) -> None:
    known = catalog(m=["one", "two", "three"], other=["local", "one"], again=["eager", "one"])
    plan = make(known, ask(**fields), ANYONE)
    assert (targets(plan), plan.requested_route, plan.skipped) == (expected, requested, ())


def test_no_more_than_eight_targets_are_asked_and_the_others_are_told() -> None:
    plan = make(catalog(m=["tireless", "eager", "one"]), ask(), ANYONE)
    assert targets(plan) == ["tireless:m"] * 6 + ["eager:m"] * 2
    assert len(plan.targets) == MAX_TARGETS
    assert [(skipped.route.provider, skipped.reason) for skipped in plan.skipped] == [
        ("eager", "beyond the first 8 targets"),
        ("one", "beyond the first 8 targets"),
    ]


def test_retries_count_for_routes_of_failover_entries_too() -> None:
    plan = make(catalog(m=["one"], other=["eager"]), ask(failover=["other"]), ANYONE)
    assert targets(plan) == ["one:m"] + ["eager:other"] * 3


def test_media_by_url_goes_only_where_it_is_taken() -> None:
    plan = make(catalog(m=["local", "one"]), ask(content=PICTURE), ANYONE)
    assert targets(plan) == ["one:m"]
    assert [(each.route.provider, each.reason) for each in plan.skipped] == [("local", "takes media as data URLs only")]


def test_media_as_data_goes_everywhere() -> None:
    assert targets(make(catalog(m=["local", "one"]), ask(content=INLINE), ANYONE)) == ["local:m", "one:m"]


def test_row_c23_media_by_url_that_no_route_takes_is_refused_with_its_place() -> None:
    with pytest.raises(Problem) as caught:
        make(catalog(m=["local"]), ask(content=PICTURE), ANYONE)
    assert (caught.value.code.name, caught.value.status) == ("media_url_not_allowed", 400)
    assert caught.value.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"model": "nothing"}, "model_not_found", 404),
        ({"region": "us"}, "no_matching_route", 404),
        ({"model": "eu/auto/m", "region": "us"}, "conflicting_route", 400),
        ({"failover": ["nothing"]}, "invalid_failover", 400),
        ({"failover": ["us/one/m"]}, "invalid_failover", 400),
    ],
)
def test_rows_c13_d9_d10_what_cannot_be_planned(fields: dict[str, Any], code: str, status: int) -> None:
    with pytest.raises(Problem) as caught:
        make(catalog(m=["one"], n=["two"]), ask(**fields), ANYONE)
    assert (caught.value.code.name, caught.value.status) == (code, status)


@pytest.mark.parametrize("name", ["m", "eu/auto/m", "M"])
def test_a_key_with_a_list_of_models_may_use_those_by_any_name(name: str) -> None:
    caller = Caller(customer_id="c", key_id="k", models=frozenset({"m"}))
    assert targets(make(catalog(m=["one"], n=["two"]), ask(name), caller)) == ["one:m"]


@pytest.mark.parametrize("name", ["n", "us/auto/n", "two::n", "two::other", "one::x"])
def test_row_b5_a_key_with_a_list_of_models_may_use_no_other(name: str) -> None:
    caller = Caller(customer_id="c", key_id="k", models=frozenset({"m"}))
    with pytest.raises(Problem) as caught:
        make(catalog(m=["one"], n=["two"]), ask(name), caller)
    assert (caught.value.code.name, caught.value.status) == ("model_not_allowed", 403)


def test_a_list_of_models_may_name_an_alias_or_a_route() -> None:
    models = {
        "m": Model(routes=(Route(provider="one", model="x"), Route(provider="two", model="x")), aliases=("friend",))
    }
    known = build(Settings(providers=PROVIDERS, models=models))
    by_alias = Caller(customer_id="c", key_id="k", models=frozenset({"friend", "gone"}))
    assert targets(make(known, ask("m"), by_alias)) == ["one:m", "two:m"]
    by_route = Caller(customer_id="c", key_id="k", models=frozenset({"eu/one/m"}))
    assert targets(make(known, ask("m", region="eu"), by_route)) == ["one:m"]
    with pytest.raises(Problem, match="model_not_allowed"):
        make(known, ask("m"), by_route)


def test_a_model_that_is_not_for_chat_is_refused() -> None:
    models = {"e": Model(routes=(Route(provider="one", model="x"),), type="embedding")}
    with pytest.raises(Problem) as caught:
        make(build(Settings(providers=PROVIDERS, models=models)), ask("e"), ANYONE)
    assert (caught.value.code.name, caught.value.status) == ("invalid_model", 400)


def test_a_forbidden_failover_entry_is_refused_before_any_call() -> None:
    caller = Caller(customer_id="c", key_id="k", models=frozenset({"m"}))
    with pytest.raises(Problem) as caught:
        make(catalog(m=["one"], n=["two"]), ask(failover=["n"]), caller)
    assert (caught.value.code.name, caught.value.param) == ("invalid_failover", "failover")
    assert "'n'" in caught.value.message


def test_the_same_request_makes_the_same_plan() -> None:
    known = catalog(m=["one", "two"], n=["three"])
    assert make(known, ask(failover=["n"]), ANYONE) == make(known, ask(failover=["n"]), ANYONE)
