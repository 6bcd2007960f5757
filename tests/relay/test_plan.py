"""The plan: which routes are asked, in which order, and why not the others."""

import json
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from sealgate.auth.caller import Caller
from sealgate.config import Model, Provider, Route, Secret, Settings
from sealgate.errors import ConfigError, Failure, Problem, UpstreamError
from sealgate.relay.catalog import Catalog, Target, build
from sealgate.relay.health import EJECT_AFTER, Health
from sealgate.relay.pace import Paces
from sealgate.relay.plan import EXPLORE, MAX_TARGETS, Plan, Seen
from sealgate.relay.plan import make as make_plan
from sealgate.relay.request import Ask, read_chat

ANYONE = Caller(customer_id="c", key_id="k")
PICTURE = [{"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}]
INLINE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]


def provider(kind: str = "openai", **fields: Any) -> Provider:
    return Provider(kind=kind, base_url="https://llm.acme.example/v1", **fields)


PROVIDERS = {
    "one": provider(region="eu"),
    "two": provider(region="us"),
    "three": provider(region="eu"),
    "local": provider("vllm", region="eu"),
    "fetched": provider("vllm", region="eu", media_fetch=True),
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


def make(catalog: Catalog, ask: Ask, caller: Caller, known: Seen | None = None) -> Plan:
    return make_plan(catalog, ask, caller, known or seen())


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
        ({"model": "again"}, ["eager:again", "one:again"], "auto/auto/again"),
    ],
)  # fmt: skip
def test_targets_are_the_primarys_routes_then_those_of_each_failover_entry(
    fields: dict[str, Any], expected: list[str], requested: str
) -> None:
    known = catalog(m=["one", "two", "three"], other=["local", "one"], again=["eager", "one"])
    plan = make(known, ask(**fields), ANYONE)
    assert (targets(plan), plan.requested_route, plan.skipped) == (expected, requested, ())


def test_no_more_than_eight_targets_are_asked_and_the_others_are_told() -> None:
    """Three keys of one account count each; the ninth is left out, and so is the last route."""
    secrets = tuple(Secret(f"key-{number}") for number in range(5))
    pools = {name: provider(api_key=secrets) for name in ("a", "b", "c")} | {"one": PROVIDERS["one"]}
    models = {"m": Model(routes=tuple(Route(name, "x") for name in pools))}
    plan = make(build(Settings(providers=pools, models=models)), ask(failover=["m"]), ANYONE)
    assert [(target.route.provider, target.key) for target in plan.targets] == [
        *(("a", key) for key in range(3)), *(("b", key) for key in range(3)), ("c", 0), ("c", 1),
    ]  # fmt: skip
    assert len(plan.targets) == MAX_TARGETS
    assert [(skipped.route.provider, skipped.reason) for skipped in plan.skipped] == [
        ("c", "beyond the first 8 targets"),
        ("one", "beyond the first 8 targets"),
    ]


def test_retries_take_no_place_in_the_plan_and_are_tried_before_the_next_target() -> None:
    plan = make(catalog(m=["tireless", "one"], other=["eager"]), ask(failover=["other"]), ANYONE)
    assert targets(plan) == ["tireless:m", "one:m", "eager:other"]
    assert [f"{target.route.provider}:{target.route.key}" for target in plan.tries()] == (
        ["tireless:m"] * 6 + ["one:m"] + ["eager:other"] * 3
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"region": "eu", "failover": ["m"]}, ["one:m", "three:m"]),
        ({"region": "eu", "failover": ["auto/auto/m", "other"]}, ["one:m", "three:m", "local:other", "one:other"]),
        ({"region": "eu", "failover": ["us/auto/m"]}, ["one:m", "three:m", "two:m"]),
        ({"provider": "one", "failover": ["other"]}, ["one:m", "one:other"]),
        ({"provider": "one", "region": "eu", "failover": ["us/two/m"]}, ["one:m", "two:m"]),
        ({"model": "eu/auto/m", "failover": ["m"]}, ["one:m", "three:m", "two:m"]),
    ],
)
def test_row_p32_what_a_request_pins_holds_for_its_failover_entries_unless_they_say_otherwise(
    fields: dict[str, Any], expected: list[str]
) -> None:
    known = catalog(m=["one", "two", "three"], other=["local", "one"])
    assert targets(make(known, ask(**fields), ANYONE)) == expected


def test_a_failover_entry_that_the_hints_leave_nothing_of_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        make(catalog(m=["one", "two"], n=["two"]), ask(region="eu", failover=["n"]), ANYONE)
    assert (caught.value.code.name, caught.value.param) == ("invalid_failover", "failover")


def test_a_failover_entry_that_is_not_for_chat_is_refused() -> None:
    models = {"m": Model(routes=(Route("one", "x"),)), "e": Model(routes=(Route("one", "y"),), type="embedding")}
    with pytest.raises(Problem) as caught:
        make(build(Settings(providers=PROVIDERS, models=models)), ask(failover=["e"]), ANYONE)
    assert (caught.value.code.name, caught.value.param) == ("invalid_failover", "failover")


def test_media_by_url_goes_only_where_it_is_taken() -> None:
    plan = make(catalog(m=["local", "one"]), ask(content=PICTURE), ANYONE)
    assert targets(plan) == ["one:m"]
    assert [(each.route.provider, each.reason) for each in plan.skipped] == [("local", "takes media as data URLs only")]


def test_media_as_data_goes_everywhere() -> None:
    assert targets(make(catalog(m=["local", "one"]), ask(content=INLINE), ANYONE)) == ["local:m", "one:m"]


def test_media_by_url_also_goes_where_we_may_fetch_it() -> None:
    found = catalog(m=["local", "fetched", "one"])
    plan = make(found, ask(content=PICTURE), ANYONE)
    assert targets(plan) == ["fetched:m", "one:m"]
    assert {route.provider for route in plan.fetching} == {"fetched"}
    for content in (INLINE, "hi"):
        assert not make(found, ask(content=content), ANYONE).fetching


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


# Policies


def routed(policy: Any, *routes: Route) -> Catalog:
    return build(Settings(providers=PROVIDERS, models={"m": Model(routes=routes, policy=policy)}))


def fail(health: Health, target: Target, failure: Failure, **fields: Any) -> None:
    visit = health.begin(target, whatever=True)
    assert visit is not None
    health.failed(visit, UpstreamError(failure, **fields))
    health.end(visit)


def seen(chance: Any = lambda: 0.5, health: Health | None = None, paces: Paces | None = None) -> Seen:
    return Seen(health or Health(), paces or Paces(), chance)


def test_weights_share_out_the_first_places() -> None:
    known = routed("weighted", Route("one", "x", weight=3), Route("two", "x", weight=1), Route("three", "x", weight=0))
    chance = random.Random(7).random
    plans = [targets(make(known, ask(), ANYONE, seen(chance))) for _ in range(4000)]
    firsts = Counter(plan[0] for plan in plans)
    assert firsts["one:m"] / len(plans) == pytest.approx(0.75, abs=0.03)
    assert firsts["two:m"] / len(plans) == pytest.approx(0.25, abs=0.03)
    assert {plan[2] for plan in plans} == {"three:m"}, "a route without weight is the last resort"


def test_a_weight_alone_makes_a_model_weighted() -> None:
    known = routed(None, Route("one", "x", weight=0), Route("two", "x"))
    assert targets(make(known, ask(), ANYONE)) == ["two:m", "one:m"]
    assert known.models["m"].policy == "weighted"
    assert routed(None, Route("one", "x"), Route("two", "x")).models["m"].policy == "order"


def test_the_cheapest_route_for_this_request_is_first() -> None:
    """One is cheap to ask, the other cheap to listen to."""
    cheap_prompt = Route("one", "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(10))
    cheap_answer = Route("two", "x", input_per_mtok=Decimal(5), output_per_mtok=Decimal(2))
    known = routed("price", cheap_prompt, cheap_answer)
    assert targets(make(known, ask(content="long " * 4000, max_tokens=10), ANYONE)) == ["one:m", "two:m"]
    assert targets(make(known, ask(content="short", max_tokens=4000), ANYONE)) == ["two:m", "one:m"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model(routes=(Route("one", "x"), Route("two", "x")), policy="price"), "each of its routes needs a price"),
        (
            Model(
                routes=(
                    Route("one", "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(1)),
                    Route("two", "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(1), currency="EUR"),
                ),
                policy="price",
            ),
            "its prices are in EUR, but .* is USD",
        ),
        (Model(routes=(Route("one", "x", weight=0),), policy="weighted"), "needs a weight above 0"),
    ],
)
def test_a_policy_that_has_nothing_to_go_by_is_refused(model: Model, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(Settings(providers=PROVIDERS, models={"m": model}))


def test_the_fastest_route_is_first_after_those_that_were_never_measured() -> None:
    known = routed("latency", Route("one", "x"), Route("two", "x"), Route("three", "x"))
    one, two, three = known.models["m"].routes
    paces = Paces()
    assert targets(make(known, ask(), ANYONE, seen(paces=paces))) == ["one:m", "two:m", "three:m"]
    paces.note(one, stream=False, seconds=2.0)
    paces.note(two, stream=False, seconds=0.5)
    assert targets(make(known, ask(), ANYONE, seen(paces=paces))) == ["three:m", "two:m", "one:m"]
    paces.note(three, stream=False, seconds=1.0)
    assert targets(make(known, ask(), ANYONE, seen(paces=paces))) == ["two:m", "three:m", "one:m"]
    paces.note(one, stream=True, seconds=9.0)
    assert targets(make(known, ask(stream=True), ANYONE, seen(paces=paces)))[-1] == "one:m"


def test_now_and_then_a_slower_route_is_measured_again() -> None:
    known = routed("latency", Route("one", "x"), Route("two", "x"), Route("three", "x"))
    paces = Paces()
    for seconds, route in enumerate(known.models["m"].routes, 1):
        paces.note(route, stream=False, seconds=seconds)
    chance = random.Random(3).random
    firsts = Counter(targets(make(known, ask(), ANYONE, seen(chance, paces=paces)))[0] for _ in range(4000))
    assert firsts["one:m"] / 4000 == pytest.approx(1 - EXPLORE, abs=0.02)
    assert firsts["two:m"] > 0
    assert firsts["three:m"] > 0


@pytest.mark.parametrize("policy", ["weighted", "price", "latency"])
def test_walls_hold_under_every_policy(policy: str) -> None:
    priced = [
        Route(name, "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(1)) for name in ("one", "two", "three")
    ]
    known = routed(policy, *priced)
    chance = random.Random(1).random
    for _ in range(50):
        plan = make(known, ask(region="eu"), ANYONE, seen(chance))
        assert sorted(targets(plan)) == ["one:m", "three:m"]
        assert targets(make(known, ask(provider="two"), ANYONE, seen(chance))) == ["two:m"]


# Health


def test_routes_that_are_not_well_are_skipped_and_the_reason_is_told() -> None:
    known, health = catalog(m=["one", "two", "three"]), Health(lambda: 100.0)
    one, two, _ = (Target(route) for route in known.models["m"].routes)
    fail(health, one, Failure.RATE_LIMITED, retry_after=12)
    for _ in range(EJECT_AFTER):
        fail(health, two, Failure.TIMEOUT)
    plan = make(known, ask(), ANYONE, seen(health=health))
    assert targets(plan) == ["three:m"]
    assert [(each.route.provider, each.reason) for each in plan.skipped] == [
        ("one", "cooling down for 12 s after rate_limited"),
        ("two", "ejected for 5 s after timeout"),
    ]
    assert plan.preferred.provider == "one", "so that the answer says failover"


def test_row_p9_the_last_routes_are_asked_although_they_were_ejected() -> None:
    known, health = catalog(m=["one", "two"]), Health(lambda: 100.0)
    for route in known.models["m"].routes:
        for _ in range(EJECT_AFTER):
            fail(health, Target(route), Failure.SERVER_ERROR)
    plan = make(known, ask(), ANYONE, seen(health=health))
    assert (targets(plan), plan.last_resort, plan.skipped) == (["one:m", "two:m"], True, ())


def test_row_d8_where_every_route_cools_down_the_caller_hears_when_to_come_back() -> None:
    known, health = catalog(m=["one", "two"]), Health(lambda: 100.0)
    one, two = (Target(route) for route in known.models["m"].routes)
    fail(health, one, Failure.RATE_LIMITED, retry_after=30)
    fail(health, two, Failure.QUOTA, retry_after=4.2)
    with pytest.raises(Problem) as caught:
        make(known, ask(), ANYONE, seen(health=health))
    assert (caught.value.code.name, caught.value.status, caught.value.retry_after) == ("no_healthy_route", 503, 5)
    assert "us/two/m, is cooling down for 5 s after quota" in caught.value.message


def test_where_one_route_cools_down_and_the_other_was_ejected_the_other_is_asked() -> None:
    known, health = catalog(m=["one", "two"]), Health(lambda: 100.0)
    one, two = (Target(route) for route in known.models["m"].routes)
    fail(health, one, Failure.RATE_LIMITED, retry_after=30)
    fail(health, two, Failure.CREDENTIAL, status=401)
    plan = make(known, ask(), ANYONE, seen(health=health))
    assert (targets(plan), plan.last_resort) == (["two:m"], True)
    assert [each.route.provider for each in plan.skipped] == ["one"]


def test_the_keys_of_a_route_come_before_the_next_route_and_those_that_are_not_well_are_left_out() -> None:
    secrets = tuple(Secret(f"key-{number}") for number in range(5))
    providers = {**PROVIDERS, "pool": provider(retries=1, api_key=secrets)}
    known = build(Settings(providers=providers, models={"m": Model(routes=(Route("pool", "x"), Route("one", "x")))}))
    health = Health(lambda: 100.0)

    def keys() -> list[tuple[str, int]]:
        plan = make(known, ask(), ANYONE, seen(health=health))
        return [(target.route.provider, target.key) for target in plan.targets]

    assert keys() == [("pool", 0), ("pool", 1), ("pool", 2), ("one", 0)]
    route = known.models["m"].routes[0]
    fail(health, Target(route, 0), Failure.QUOTA)
    fail(health, Target(route, 2), Failure.RATE_LIMITED, retry_after=9)
    assert keys() == [("pool", 1), ("pool", 3), ("pool", 4), ("one", 0)]


def test_a_last_resort_takes_the_key_that_comes_back_first_and_no_retries() -> None:
    now = [100.0]
    health = Health(lambda: now[0])
    pool = {"pool": provider(retries=3, api_key=(Secret("key-one"), Secret("key-two")))}
    known = build(Settings(providers=pool, models={"m": Model(routes=(Route("pool", "x"),))}))
    route = known.models["m"].routes[0]
    for key in (1, 0):
        now[0] += 1
        fail(health, Target(route, key), Failure.CREDENTIAL, status=401)
    plan = make(known, ask(), ANYONE, seen(health=health))
    assert (plan.tries(), plan.last_resort) == ((Target(route, 1),), True)


@pytest.mark.parametrize("field", ["input_per_mtok", "output_per_mtok"])
@pytest.mark.parametrize("price", ["NaN", "Infinity", "-1"])
def test_a_price_that_is_no_amount_is_refused(field: str, price: str) -> None:
    models = {"m": Model(routes=(Route("one", "x", **{field: Decimal(price)}),))}
    with pytest.raises(ConfigError, match=f"{field} is no finite number"):
        build(Settings(providers=PROVIDERS, models=models))


def test_the_token_limit_decides_which_route_is_cheaper() -> None:
    a = Route("one", "x", input_per_mtok=Decimal(100), output_per_mtok=Decimal(1))
    b = Route("two", "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(2))
    known = routed("price", a, b)
    for name in ("max_tokens", "max_completion_tokens"):
        assert targets(make(known, ask(**{name: 1}), ANYONE))[0] == "two:m"
        assert targets(make(known, ask(**{name: 1_000_000}), ANYONE))[0] == "one:m"


# What a route can honour


def test_a_route_that_cannot_honour_the_request_is_skipped_with_the_reason() -> None:
    models = {
        "m": Model(routes=(Route("one", "x"),), capabilities=("max_tokens",)),
        "other": Model(routes=(Route("two", "x"),)),
    }
    known = build(Settings(providers=PROVIDERS, models=models))
    plan = make(known, ask(tools=TOOLS, failover=["other"]), ANYONE)
    assert targets(plan) == ["two:other"]
    assert plan.preferred.key == "m", "so that the answer says failover"
    assert [(each.route.provider, each.reason) for each in plan.skipped] == [("one", "cannot honour tools")]
    assert targets(make(known, ask(max_tokens=5), ANYONE)) == ["one:m"]


def test_what_no_route_can_honour_is_refused_by_parameter_and_model() -> None:
    models = {"m": Model(routes=(Route("one", "x"), Route("two", "x")), capabilities=("max_tokens",))}
    known = build(Settings(providers=PROVIDERS, models=models))
    with pytest.raises(Problem) as caught:
        make(known, ask(guided_regex="[a-z]"), ANYONE)
    assert (caught.value.code.name, caught.value.status) == ("unsupported_parameter", 400)
    assert caught.value.param == "guided_regex"
    assert "'m'" in caught.value.message


def test_a_route_that_has_it_by_itself_is_asked_before_one_that_needs_help() -> None:
    hosted = {"hosted": Provider(kind="openai"), "local": provider("vllm")}
    models = {"m": Model(routes=(Route("hosted", "x"), Route("local", "x")))}
    known = build(Settings(providers=hosted, models=models))
    assert targets(make(known, ask(guided_json={"type": "object"}), ANYONE)) == ["local:m", "hosted:m"]
    assert targets(make(known, ask(), ANYONE)) == ["hosted:m", "local:m"]


def test_a_capability_that_is_none_is_refused_with_the_nearest_name() -> None:
    models = {"m": Model(routes=(Route("one", "x"),), capabilities=("tols",))}
    with pytest.raises(ConfigError, match="did you mean 'tools'"):
        build(Settings(providers=PROVIDERS, models=models))


def test_strictly_a_route_for_which_media_is_fetched_is_looked_at_as_well() -> None:
    """Its wire refuses URLs; what it would drop is known all the same."""
    takes_bytes = Provider(kind="bedrock", aws_region="eu-central-1", media_fetch=True)
    models = {"m": Model(routes=(Route("bytes", "x"), Route("one", "x")))}
    known = build(Settings(providers={"bytes": takes_bytes, "one": provider()}, models=models))
    strict = ask(content=PICTURE, seed=7)
    strict.strict = True
    plan = make(known, strict, ANYONE)
    assert targets(plan) == ["one:m"]
    assert [each.reason for each in plan.skipped] == ["would drop seed"]


def test_strictly_a_route_that_would_drop_a_parameter_is_not_asked() -> None:
    both = {"picky": Provider(kind="groq"), "one": provider()}
    models = {
        "m": Model(routes=(Route("picky", "x"), Route("one", "x"))),
        "alone": Model(routes=(Route("picky", "x"),)),
    }
    known = build(Settings(providers=both, models=models))
    wish = {"top_k": 5}
    assert targets(make(known, ask(**wish), ANYONE)) == ["picky:m", "one:m"]
    strict = ask(**wish)
    strict.strict = True
    plan = make(known, strict, ANYONE)
    assert targets(plan) == ["one:m"]
    assert [each.reason for each in plan.skipped] == ["would drop top_k"]
    strict = ask("alone", **wish)
    strict.strict = True
    with pytest.raises(Problem) as caught:
        make(known, strict, ANYONE)
    assert (caught.value.code.name, caught.value.param) == ("unsupported_parameter", "top_k")
