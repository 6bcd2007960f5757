"""What is known of Bedrock's models by their ids."""

from __future__ import annotations

import pytest

from sealgate.config import Model, Provider, Route, Settings
from sealgate.providers.bedrock_models import abilities
from sealgate.providers.table import KINDS
from sealgate.relay.catalog import build

USUAL = KINDS["bedrock"].capabilities
TOOLS = frozenset({"tools", "tool_required", "tool_choice"})
BY_A_TOOL = frozenset({"json_object", "json_schema", "tools_with_format"})
CHOICE = TOOLS - {"tools"}
IMAGES = frozenset({"images"})
NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(("model", "lacks"), [
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", NOTHING),
    ("global.anthropic.claude-opus-4-6-v1", NOTHING),
    ("us.anthropic.claude-sonnet-5", NOTHING),
    ("anthropic.claude-3-5-sonnet-20240620-v1:0", NOTHING),
    ("us.anthropic.claude-sonnet-4-20250514-v1:0", NOTHING),
    ("anthropic.claude-v2:1", TOOLS | BY_A_TOOL | IMAGES),
    ("amazon.nova-pro-v1:0", NOTHING),
    ("us.amazon.nova-2-lite-v1:0", NOTHING),
    ("amazon.nova-micro-v1:0", IMAGES),
    ("amazon.titan-text-express-v1", TOOLS | BY_A_TOOL | IMAGES),
    ("us.deepseek.r1-v1:0", TOOLS | BY_A_TOOL | IMAGES),
    ("deepseek.v3-v1:0", IMAGES),
    ("openai.gpt-oss-120b-1:0", IMAGES),
    ("qwen.qwen3-32b-v1:0", IMAGES),
    ("qwen.qwen3-vl-235b-a22b", NOTHING),
    ("meta.llama3-70b-instruct-v1:0", TOOLS | BY_A_TOOL | IMAGES),
    ("us.meta.llama3-1-70b-instruct-v1:0", CHOICE | BY_A_TOOL | IMAGES),
    ("us.meta.llama3-2-11b-instruct-v1:0", CHOICE | BY_A_TOOL),
    ("us.meta.llama4-maverick-17b-instruct-v1:0", CHOICE | BY_A_TOOL),
    ("mistral.mistral-large-2407-v1:0", IMAGES),
    ("mistral.mixtral-8x7b-instruct-v0:1", TOOLS | BY_A_TOOL | IMAGES),
    ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", NOTHING),
])  # fmt: skip
def test_what_a_model_lacks(model: str, lacks: frozenset[str]) -> None:
    assert abilities(model, USUAL) == USUAL - lacks


def test_routes_know_it_and_the_operator_knows_better() -> None:
    """Known by the upstream's own name of the model, in the catalog and where it is named directly."""
    titan = "amazon.titan-text-express-v1"
    row = Model(routes=(Route(provider="b", model=titan),))
    own = Model(routes=(Route(provider="b", model=titan),), capabilities=("tools", "stop"))
    settings = Settings(
        providers={"b": Provider(kind="bedrock", aws_region="us-east-1")}, models={"titan": row, "own": own}
    )
    catalog = build(settings)
    [known], [direct], [told] = (catalog.resolve(name).routes for name in ("titan", f"b::{titan}", "own"))
    assert known.capabilities == direct.capabilities == USUAL - TOOLS - BY_A_TOOL - IMAGES
    assert known.emulated == direct.emulated == frozenset()
    assert told.capabilities == {"tools", "stop"}
