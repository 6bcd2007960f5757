"""Names: the parse order, hints, suggestions, and collisions refused at load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.config import Model, Provider, Route, Secret, Settings
from sealgate.errors import ConfigError, Problem
from sealgate.relay.catalog import Catalog, build


def settings(**models: Model) -> Settings:
    providers = {
        "acme": Provider(kind="openai", base_url="https://llm.acme.example/v1", region="eu", api_key=(Secret("k"),)),
        "acme-us": Provider(kind="openai", base_url="https://us.acme.example/v1", name="acme", region="us"),
        "other": Provider(kind="vllm", base_url="http://10.0.0.1:8000/v1/", region="eu"),
        "sandbox": Provider(kind="sandbox", region="local"),
    }
    return Settings(providers=providers, models=models)


def model(*providers: str, aliases: tuple[str, ...] = ()) -> Model:
    return Model(routes=tuple(Route(provider=p, model="up-" + p) for p in providers), aliases=aliases)


@pytest.fixture
def catalog() -> Catalog:
    return build(settings(**{
        "gemma-4-31b": model("acme", "acme-us", "other", aliases=("gemma4", "assistant")),
        "claude-opus-4.6": model("acme"),
        "sandbox": model("sandbox"),
        "org/model": model("other"),
    }))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "requested", "routes"),
    [
        ("gemma-4-31b", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("gemma4", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("tensorzero::function_name::assistant", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("tensorzero::model_name::gemma4", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("tensorzero::gemma4", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("auto/auto/gemma4", "auto/auto/gemma-4-31b", ["eu/acme", "us/acme", "eu/other"]),
        ("eu/auto/gemma-4-31b", "eu/auto/gemma-4-31b", ["eu/acme", "eu/other"]),
        ("auto/acme/gemma-4-31b", "auto/acme/gemma-4-31b", ["eu/acme", "us/acme"]),
        ("us/acme/gemma-4.31B", "us/acme/gemma-4-31b", ["us/acme"]),
        ("claude-opus-4-6", "auto/auto/claude-opus-4.6", ["eu/acme"]),
        ("Claude-Opus-4.6", "auto/auto/claude-opus-4.6", ["eu/acme"]),
        ("org/model", "auto/auto/org/model", ["eu/other"]),
        ("eu/other/org/model", "eu/other/org/model", ["eu/other"]),
        ("other::any/thing:v1", "auto/other/any/thing:v1", ["eu/other"]),
        ("acme::x", "auto/acme/x", ["eu/acme", "us/acme"]),
        ("local/sandbox/fail-429", "local/sandbox/fail-429", ["local/sandbox"]),
        ("sandbox/cut", "auto/sandbox/cut", ["local/sandbox"]),
    ],
)
def test_each_form_of_a_name(catalog: Catalog, name: str, requested: str, routes: list[str]) -> None:
    found = catalog.resolve(name)
    assert found.requested_route == requested
    assert [f"{route.region}/{route.provider}" for route in found.routes] == routes


def test_hints_narrow_what_is_open(catalog: Catalog) -> None:
    assert catalog.resolve("gemma4", "eu").requested_route == "eu/auto/gemma-4-31b"
    assert [r.id for r in catalog.resolve("gemma4", "us", "acme").routes] == ["us/acme/gemma-4-31b"]
    assert catalog.resolve("auto/acme/gemma4", "us").requested_route == "us/acme/gemma-4-31b"
    assert catalog.resolve("eu/acme/gemma4", "eu", "acme").requested_route == "eu/acme/gemma-4-31b"


@pytest.mark.parametrize(
    ("name", "region", "provider", "code"),
    [
        ("eu/acme/gemma4", "us", None, "conflicting_route"),
        ("eu/acme/gemma4", None, "other", "conflicting_route"),
        ("acme::x", None, "other", "conflicting_route"),
        ("gemma4", "mars", None, "no_matching_route"),
        ("claude-opus-4.6", "us", None, "no_matching_route"),
        ("us/other/gemma4", None, None, "no_matching_route"),
        ("gemma5", None, None, "model_not_found"),
        ("eu/acme/nothing", None, None, "model_not_found"),
        ("nobody::x", None, None, "model_not_found"),
        ("tensorzero::", None, None, "model_not_found"),
        ("a/b", None, None, "model_not_found"),
        ("eu//x", None, None, "model_not_found"),
    ],
)
def test_what_leads_nowhere(catalog: Catalog, name: str, region: str | None, provider: str | None, code: str) -> None:
    with pytest.raises(Problem) as caught:
        catalog.resolve(name, region, provider)
    assert caught.value.code.name == code


def test_the_404_names_what_is_near(catalog: Catalog) -> None:
    with pytest.raises(Problem, match="Did you mean 'gemma-4-31b'"):
        catalog.resolve("gemma-4-32b")


def test_folding_that_is_not_unique_finds_nothing() -> None:
    catalog = build(settings(**{"a.b": model("acme"), "a-b": model("other")}))
    assert catalog.resolve("a.b").key == "a.b"
    with pytest.raises(Problem):
        catalog.resolve("A.B")


@given(st.text(max_size=40), st.none() | st.text(max_size=8), st.none() | st.text(max_size=8))
def test_parsing_never_raises_anything_else(name: str, region: str | None, provider: str | None) -> None:
    catalog = build(settings(m=model("acme"), sandbox=model("sandbox")))
    try:
        catalog.resolve(name, region, provider)
    except Problem as problem:
        status = problem.status
    else:
        status = 400
    assert 400 <= status < 500


@given(st.sampled_from(["m", "M", "auto/auto/m", "eu/acme/m", "acme::z", "sandbox/x", "tensorzero::m"]))
def test_the_normal_form_is_stable(name: str) -> None:
    catalog = build(settings(m=model("acme"), sandbox=model("sandbox")))
    first = catalog.resolve(name)
    if "::" not in name and "/x" not in name:
        assert catalog.resolve(first.requested_route).requested_route == first.requested_route


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"a": model("acme", aliases=("b",)), "b": model("acme")}, "used by both"),
        ({"tensorzero::x": model("acme")}, "collides"),
        ({"eu/acme/x": model("acme")}, "reads as region/provider/model"),
        ({"auto/auto/x": model("acme")}, "reads as region/provider/model"),
        ({"m": model("acme", aliases=("acme::x",))}, "reads as provider::model"),
        ({"m": model("acme", "acme")}, "two routes called eu/acme/m"),
    ],
)
def test_collisions_are_refused_at_load(models: dict[str, Model], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(settings(**models))


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (Provider(kind="opneai"), "did you mean 'openai'"),
        (Provider(kind="azure"), "needs a base_url"),
        (Provider(kind="openai", base_url="llm.example"), "base_url cannot be used"),
        (Provider(kind="openai", deployment="x"), "'deployment' means nothing"),
    ],
)
def test_providers_that_cannot_work_are_refused(provider: Provider, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(Settings(providers={"p": provider}))


def test_a_credential_stays_with_its_address(catalog: Catalog) -> None:
    account = catalog.accounts["acme"]
    assert account.base_url == "https://llm.acme.example/v1"
    assert "k" not in repr(account.secrets) or account.secrets == ("k",)
    assert "secrets" not in repr(account)
