"""Nothing is lost: every leaf of any source is carried or left with a reason, and what comes out loads."""

from __future__ import annotations

import copy
import random
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sealgate.cli.moving import litellm_names as names
from sealgate.cli.moving import tensorzero
from sealgate.cli.moving.convert import of_document
from sealgate.cli.moving.source import leaves, shown
from sealgate.providers.table import KINDS

SAMPLES = Path(__file__).parent / "samples"
LITELLM = yaml.safe_load((SAMPLES / "litellm.yaml").read_text())
TENSORZERO = tomllib.loads((SAMPLES / "tensorzero.toml").read_text(), parse_float=Decimal)

WORDS = st.sampled_from(
    [
        "gpt-4o",
        "openai/gpt-4o",
        "azure/x",
        "os.environ/X",
        "env::X",
        "dynamic::k",
        "auto/auto/x",
        "a::b",
        "*",
        "",
        "é\x00",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=True) | WORDS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
PARAMS = ["api_key", "api_base", "api_version", "weight", "rpm", "order", "max_tokens", "aws_region_name", "frob"]
PARAMS += [*names.PRICES, "input_cost_per_second", "custom_llm_provider", "vertex_project"]
MODELS = st.sampled_from([f"{vendor}/m" for vendor in names.VENDORS] + ["gpt-4o", "claude-x", "x/y", "openai/*"])
DEPLOYMENTS = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["a", "b", "c/d", "openai::x", "eu/azure/z"])},
    optional={
        "litellm_params": st.fixed_dictionaries({"model": MODELS}, optional=dict.fromkeys(PARAMS, VALUES)),
        "model_info": st.dictionaries(st.sampled_from(["mode", "id", "max_tokens", "input_cost_per_token"]), VALUES),
    },
)
ROUTERS = st.dictionaries(
    st.sampled_from(["routing_strategy", "num_retries", "timeout", "model_group_alias", "fallbacks"])
    | st.text(max_size=5),
    st.sampled_from(["cost-based-routing", "least-busy", "simple-shuffle"]) | VALUES,
    max_size=4,
)
PROVIDERS = st.dictionaries(
    st.sampled_from(["model_name", "model_id", "deployment_id", "endpoint", "api_base", "api_key_location", "region"])
    | st.sampled_from(["cost", "hosted_provider", "project_id", "location", "endpoint_name", "x"]),
    VALUES,
    max_size=5,
)


def check(document: dict[str, Any], origin: str) -> None:
    """Each leaf once, in one of the books. That the result loads is checked by the conversion itself."""
    moved = of_document(document, origin, "source", {"X": "https://x.example"}.get)
    places = [shown(place) for place, _ in leaves(document)]
    assert moved.carried.keys() | moved.left.keys() == set(places)
    assert not moved.carried.keys() & moved.left.keys()
    assert all(moved.left.values())
    written = tomllib.loads(moved.text)
    assert list(written.get("models", {})) == moved.models
    assert list(written.get("providers", {})) == moved.providers


@settings(max_examples=25, deadline=None)
@given(st.lists(DEPLOYMENTS | VALUES, max_size=4), ROUTERS | VALUES, ROUTERS, VALUES)
def test_every_leaf_of_any_litellm_file_is_accounted_for(entries: Any, router: Any, library: Any, rest: Any) -> None:
    document = {"model_list": entries, "router_settings": router, "litellm_settings": library, "general_settings": rest}
    check(document, "LiteLLM")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*tensorzero.VENDORS, "dummy"]), PROVIDERS), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["weight", "model", "type", "temperature"]), VALUES),
    VALUES,
    st.dictionaries(st.sampled_from(["bind_address", "global_outbound_http_timeout_ms", "auth"]), VALUES),
)
def test_every_leaf_of_any_tensorzero_file_is_accounted_for(
    providers: Any, variant: Any, experiment: Any, gateway: Any
) -> None:
    tables = {f"p{index}": {"type": kind, **more} for index, (kind, more) in enumerate(providers)}
    document = {
        "models": {"m": {"routing": [*tables, "absent"], "providers": tables}},
        "functions": {"f": {"variants": {"a": {"model": "m"}, "b": variant}, "experimentation": experiment}},
        "gateway": gateway,
    }
    check(document, "TensorZero")


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([("LiteLLM", LITELLM), ("TensorZero", TENSORZERO)]), VALUES)
def test_a_real_file_with_a_value_changed_is_accounted_for(
    chance: random.Random, sample: tuple[str, Any], value: Any
) -> None:
    origin, document = sample[0], copy.deepcopy(sample[1])
    place, _ = chance.choice(list(leaves(document)))
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    check(document, origin)


def test_what_is_neither_carried_nor_known_is_named() -> None:
    moved = of_document({**LITELLM, "brand_new": {"a": [1, {}]}}, "LiteLLM", "source", lambda _: None)
    assert moved.left["brand_new.a[0]"] == moved.left["brand_new.a[1]"]
    assert "does not know it" in moved.left["brand_new.a[0]"]


@pytest.mark.parametrize("missing", ["bedrock", "vertex"])
def test_a_library_that_is_missing_is_said_and_stops_nothing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = KINDS[missing].extra
    assert extra is not None
    monkeypatch.setattr("sealgate.cli.moving.convert._installed", lambda module: module != extra[1])
    moved = of_document(LITELLM, "LiteLLM", "source", lambda _: None)
    assert sum("needs a library: pip install 'sealgate[" in note for note in moved.notes) == 1
    assert {"nova", "gemini"} <= set(moved.models)
