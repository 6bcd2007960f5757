"""A LiteLLM entry, setting by setting: what it becomes, and what is said of what has no place."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from sealgate.cli.moving.convert import Moved, of_document


def moved(*entries: dict[str, Any], look: dict[str, str] | None = None, **rest: Any) -> tuple[Moved, dict[str, Any]]:
    """Entries are litellm_params, of model ``m`` unless they say ``group``; ``info`` is their model_info."""
    listed = [
        {"model_name": each.pop("group", "m"), "model_info": each.pop("info", {}), "litellm_params": each}
        for each in map(dict, entries)
    ]
    found = of_document({"model_list": listed, **rest}, "LiteLLM", "config.yaml", (look or {}).get)
    return found, tomllib.loads(found.text)


@pytest.mark.parametrize(
    ("params", "provider", "model"),
    [
        ({"model": "gpt-4o"}, {"kind": "openai", "api_key": "env::OPENAI_API_KEY"}, "gpt-4o"),
        ({"model": "claude-x"}, {"kind": "anthropic", "api_key": "env::ANTHROPIC_API_KEY"}, "claude-x"),
        (
            {"model": "openai/org/m", "api_base": "http://h:1/v1/"},
            {"kind": "compatible", "base_url": "http://h:1/v1", "api_key": "none"},
            "org/m",
        ),
        (
            {"model": "x", "custom_llm_provider": "openai", "api_base": "http://h/v1", "api_key": "EMPTY"},
            {"kind": "compatible", "base_url": "http://h/v1", "api_key": "none"},
            "x",
        ),
        (
            {"model": "anthropic/c", "api_base": "https://a.example", "api_key": "os.environ/K"},
            {"kind": "anthropic", "base_url": "https://a.example/v1", "api_key": "env::K"},
            "c",
        ),
        (
            {"model": "azure/d", "api_base": "https://a.example/openai/deployments/d", "api_version": "v1"},
            {"kind": "azure", "base_url": "https://a.example", "api_key": "env::AZURE_API_KEY"},
            "d",
        ),
        ({"model": "ollama/l", "api_base": "http://h:11434"},
         {"kind": "ollama", "base_url": "http://h:11434/v1", "api_key": "none"}, "l"),
        ({"model": "fireworks_ai/q"}, {"kind": "fireworks", "api_key": "env::FIREWORKS_AI_API_KEY"},
         "accounts/fireworks/models/q"),
        ({"model": "bedrock/converse/us-east-1/n", }, {"kind": "bedrock", "aws_region": "us-east-1", "api_key": "none"},
         "n"),
        ({"model": "bedrock/n"}, {"kind": "bedrock", "aws_region": "eu-west-3", "api_key": "none"}, "n"),
        ({"model": "sagemaker_chat/e", "aws_region_name": "eu-west-1"},
         {"kind": "sagemaker", "carries": "openai", "aws_region": "eu-west-1", "api_key": "none"}, "e"),
        ({"model": "vertex_ai/claude-x", "vertex_project": "p", "vertex_location": "eu"},
         {"kind": "vertex", "project": "p", "location": "eu", "api_model": "anthropic", "api_key": "none"}, "claude-x"),
        ({"model": "vertex_ai/meta/l"},
         {"kind": "vertex", "project": "SET-ME", "location": "SET-ME", "api_model": "openai", "api_key": "none"},
         "meta/l"),
        ({"model": "cerebras/l"},
         {"kind": "compatible", "base_url": "https://api.cerebras.ai/v1", "api_key": "env::CEREBRAS_API_KEY"}, "l"),
        ({"model": "openai/m", "api_base": "https://u:secret@h/v1"},
         {"kind": "compatible", "base_url": "https://set-base-url.invalid", "api_key": "none"}, "m"),
    ],
)  # fmt: skip
def test_a_deployment_is_a_provider_and_a_route(params: dict[str, Any], provider: dict[str, Any], model: str) -> None:
    found, written = moved(params, look={"AWS_REGION": "eu-west-3"})
    assert list(written["providers"].values()) == [provider]
    assert [route["model"] for route in written["models"]["m"]["routes"]] == [model]
    assert "secret" not in found.text + str(found)


@pytest.mark.parametrize("model", ["cohere/c", "nobody", "openai/", "text-completion-openai/x"])
def test_a_deployment_of_an_unknown_provider_is_left_whole(model: str) -> None:
    found, written = moved({"model": model, "api_key": "os.environ/K"}, {"model": "gpt-4o", "group": "other"})
    assert list(written["models"]) == ["other"]
    assert {key for key in found.left if key.startswith("model_list[0]")} >= {
        "model_list[0].litellm_params.model", "model_list[0].litellm_params.api_key", "model_list[0].model_name",
    }  # fmt: skip


def test_order_comes_before_weights_and_those_without_come_last() -> None:
    found, written = moved(
        {"model": "groq/last"}, {"model": "groq/b", "order": 2, "weight": 5}, {"model": "groq/a", "order": 0}
    )
    model = written["models"]["m"]
    assert model["policy"] == "order"
    assert [route["model"] for route in model["routes"]] == ["a", "b", "last"]
    assert len({route["provider"] for route in model["routes"]}) == 3
    assert found.left["model_list[1].litellm_params.weight"] == "the routes are asked in their order"


@pytest.mark.parametrize(
    ("strategy", "priced", "policy"),
    [
        (None, False, "weighted"),
        ("simple-shuffle", False, "weighted"),
        ("latency-based-routing", False, "latency"),
        ("cost-based-routing", True, "price"),
        ("cost-based-routing", False, None),
        ("least-busy", False, "weighted"),
    ],
)
def test_a_strategy_is_a_policy(strategy: str | None, priced: bool, policy: str | None) -> None:
    costs = {"input_cost_per_token": "1e-6", "output_cost_per_token": 2e-06} if priced else {}
    router = {"router_settings": {"routing_strategy": strategy}} if strategy else {}
    found, written = moved({"model": "groq/a", **costs}, {"model": "xai/a", **costs}, **router)
    assert written["models"]["m"].get("policy") == policy
    assert ("router_settings.routing_strategy" in found.left) == (strategy == "least-busy")


def test_prices_are_exact_and_a_chat_model_has_both_or_none() -> None:
    found, written = moved(
        {"model": "groq/a", "input_cost_per_token": 0.00000015, "output_cost_per_token": "6e-7"},
        {"model": "groq/b", "group": "half", "input_cost_per_token": 1e-06},
        {"model": "openai/whisper-1", "group": "ear", "input_cost_per_second": 0.0001},
        {"model": "groq/c", "group": "minus", "input_cost_per_token": -1, "output_cost_per_token": 1},
    )
    routes = {name: model["routes"][0] for name, model in written["models"].items()}
    assert (routes["m"]["input_per_mtok"], routes["m"]["output_per_mtok"]) == ("0.15", "0.6")
    assert "input_per_mtok" not in routes["half"] | routes["minus"]
    assert routes["ear"]["per_minute"] == "0.006"
    assert written["models"]["ear"]["type"] == "transcription"
    assert "model_list[1].litellm_params.input_cost_per_token" in found.left


def test_equal_keys_in_plain_text_share_a_variable_and_others_do_not() -> None:
    found, written = moved(
        {"model": "groq/a", "api_key": "one-plain-key"},
        {"model": "groq/b", "api_key": "one-plain-key"},
        {"model": "groq/c", "api_key": "other-plain-key"},
        {"model": "groq/d", "api_key": "os.environ/GROQ_API_KEY"},
    )
    keys = {route["model"]: written["providers"][route["provider"]]["api_key"]
            for route in written["models"]["m"]["routes"]}  # fmt: skip
    assert keys["a"] == keys["b"]
    assert len({keys["a"], keys["c"], keys["d"]}) == 3
    assert keys["d"] == "env::GROQ_API_KEY"
    assert "plain-key" not in found.text + str(found)


def test_wildcards_are_providers_alone() -> None:
    found, written = moved({"model": "groq/*", "group": "*"}, {"model": "xai/x", "group": "groq/*"})
    assert "models" not in written
    assert set(written["providers"]) == {"groq", "xai"}
    assert "groq::MODEL" in found.left["model_list[0].model_name"]


@pytest.mark.parametrize("name", ["groq::x", "eu/groq/x", "global/groq/x"])
def test_a_name_that_would_read_as_a_route_keeps_its_meaning(name: str) -> None:
    _, written = moved({"model": "groq/a", "group": name})
    assert list(written["models"]) == [name]
    assert "groq" not in written["providers"]


def test_settings_of_the_router_and_the_library() -> None:
    found, written = moved(
        {"model": "groq/a"},
        router_settings={
            "num_retries": 9, "timeout": 60, "stream_timeout": 20, "default_fallbacks": ["b"],
            "model_group_alias": {"x": "m", "y": "absent", "m": "m", "z": {"model": "m", "hidden": False}, "w": 3},
        },
        litellm_settings={"request_timeout": 600, "json_logs": False, "num_retries": 5},
        general_settings=None,
    )  # fmt: skip
    assert written["timeouts"] == {"total": 60, "first_content": 20}
    assert written["providers"]["groq"]["retries"] == 5
    assert written["models"]["m"]["aliases"] == ["x", "z"]
    assert set(found.left) >= {
        "router_settings.num_retries", "router_settings.model_group_alias.y", "router_settings.model_group_alias.m",
        "router_settings.model_group_alias.w", "litellm_settings.request_timeout", "litellm_settings.json_logs",
        "router_settings.default_fallbacks[0]", "general_settings",
    }  # fmt: skip
    assert found.carried["litellm_settings.num_retries"] == "retries of the providers"
