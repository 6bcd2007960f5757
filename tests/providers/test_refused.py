"""Which parameter a refusal is about, in the words of providers, and what is sent without it."""

import json
import time
from typing import Any

import pytest
from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Account, Prompt
from sealgate.providers.openai import WIRE
from sealgate.providers.refused import LIMITS, REFUSABLE, USAGE, refusable, refused_by, without
from sealgate.providers.table import KINDS

ALL = {
    "seed": 1, "user": "u", "temperature": 0.2, "top_p": 0.9, "top_k": 4, "max_tokens": 5, "logit_bias": {"1": 2},
    "reasoning_effort": "low", "presence_penalty": 1, "frequency_penalty": 1, "parallel_tool_calls": False,
    "tools": [], "stop": ["x"], "response_format": {"type": "json_object"}, "repetition_penalty": 1.1,
}  # fmt: skip


def prompt(stream: bool = False, **fields: Any) -> Prompt:
    return Prompt({"messages": [], **(fields or ALL)}, stream, {}, {}, {})


def names(text: str, param: str | None = None, asked: Prompt | None = None) -> set[str]:
    error = UpstreamError(Failure.INVALID_REQUEST, text, status=400, param=param)
    return set(refused_by(error, asked or prompt()))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         {"max_tokens"}),
        ("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
         "supported.", {"temperature"}),
        ("Unrecognized request argument supplied: seed", {"seed"}),
        ("Unrecognized request arguments supplied: seed, logit_bias", {"seed", "logit_bias"}),
        ("Unknown parameter: 'top_k'.", {"top_k"}),
        ("Additional properties are not allowed ('top_k' was unexpected)", {"top_k"}),
        ("temperature: Extra inputs are not permitted", {"temperature"}),
        ("output_config.effort: Extra inputs are not permitted", {"reasoning_effort"}),
        ("`temperature` is deprecated for this model.", {"temperature"}),
        ("`top_p` is not supported for this model", {"top_p"}),
        ("thinking.type.enabled is not supported for this model", {"reasoning_effort"}),
        ("This model does not support the effort parameter.", {"reasoning_effort"}),
        ("Invalid JSON payload received. Unknown name \"topK\" at 'generation_config': Cannot find field.", {"top_k"}),
        ("Penalty is not enabled for models/gemini-x", {"presence_penalty", "frequency_penalty"}),
        ("Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input and try "
         "again.", {"top_k"}),
        ("This model doesn't support the topP field. Remove topP and try again.", {"top_p"}),
        ("Model grok-4 does not support parameter presencePenalty.", {"presence_penalty"}),
        ("Argument not supported on this model: reasoningEffort", {"reasoning_effort"}),
        ("property 'logit_bias' is unsupported", {"logit_bias"}),
        ("unknown field `seed`, expected one of `user`, `top_k`", {"seed"}),
        ('json: unknown field "seed"', {"seed"}),
        ("generate() got an unexpected keyword argument 'repetition_penalty'", {"repetition_penalty"}),
        ("Unsupported parameter(s): `logit_bias`", {"logit_bias"}),
        ("Extra inputs are not permitted, field: 'seed', value: 1", {"seed"}),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'user'), 'msg': 'Extra inputs are not permitted', 'input': 1}]",
         {"user"}),
    ],
)  # fmt: skip
def test_a_refusal_names_its_parameter(text: str, found: set[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported parameter: 'tools' is not supported with this model.",
        "`stop` is not supported with this model",
        "response_format: Extra inputs are not permitted",
        "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported values are: "
        "'low', 'medium', and 'high'.",
        "temperature: Input should be less than or equal to 1",
        "messages.0.name: Extra inputs are not permitted",
        "unknown field `colour`, expected one of `seed`, `user`",
        "[{'type': 'int_type', 'loc': ('body', 'seed'), 'msg': 'Input should be a valid integer'}]",
        "",
    ],
)
def test_what_is_no_hint_and_what_is_about_a_value_is_not_named(text: str) -> None:
    assert names(text) == set()


def test_contract_parameters_never_count_as_refused_even_in_the_error_member() -> None:
    assert names("This is not supported with this model.", param="tools") == set()
    assert names("This is not supported with this model.", param="seed") == {"seed"}
    assert names("This must be a supported value; it is not supported.", param="seed") == set()
    assert REFUSABLE.isdisjoint({"tools", "tool_choice", "response_format", "n", "stop", "logprobs", "guided_json"})


@pytest.mark.parametrize("kind", ["mistral", "compatible"])
def test_a_validators_list_names_all_of_them(kind: str) -> None:
    entries = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}
        for name in ("seed", "user", "colour")
    ]
    entries.append({"type": "float_type", "loc": ["body", "temperature"], "msg": "Input should be a number"})
    for body in ({"detail": entries}, {"object": "error", "message": {"detail": entries}}):
        error = KINDS[kind].wire.failure(422, {}, json.dumps(body).encode())
        assert refused_by(error, prompt()) == {"seed", "user"}


def test_names_of_other_formats_stand_for_the_parameters_sent_under_them() -> None:
    assert names("random_seed: Extra inputs are not permitted") == {"seed"}
    assert names("metadata.user_id: Extra inputs are not permitted") == {"user"}
    assert names("additionalModelRequestFields.topK is not supported") == {"top_k"}


def test_only_what_was_sent_counts_and_what_the_caller_wrote_into_the_body_stays() -> None:
    assert names("Unsupported parameter: 'seed'", asked=prompt(user="u")) == set()
    own = replace(prompt(seed=1), extra_body={"seed": 2})
    assert names("Unsupported parameter: 'seed'", asked=own) == set()
    assert names("Unsupported parameter: 'seed'", asked=replace(prompt(seed=1), refused=frozenset({"seed"}))) == set()


def test_other_failures_name_nothing() -> None:
    for failure in Failure:
        found = refused_by(UpstreamError(failure, "Unsupported parameter: 'seed'"), prompt())
        assert bool(found) == (failure in (Failure.INVALID_REQUEST, Failure.UNPROCESSABLE))


def test_of_the_limits_names_one_is_sent_for_the_other_but_never_both_ways() -> None:
    for name in LIMITS:
        assert names(f"Unsupported parameter: '{name}'", asked=prompt(max_tokens=5)) == {name}
        known = replace(prompt(max_tokens=5), refused=frozenset({LIMITS[name]}))
        assert names(f"Unsupported parameter: '{name}'", asked=known) == set()


def test_what_the_gateway_adds_to_streams_counts_too() -> None:
    text = "Unrecognized request argument supplied: stream_options"
    assert names(text, asked=prompt(stream=True, seed=1)) == {USAGE}
    assert names(text, asked=prompt(seed=1)) == set()


def written(refused: set[str], kind: str = "compatible", stream: bool = False, **fields: Any) -> tuple[Any, Any]:
    account = Account("acme", "acme", "eu", KINDS[kind], "https://acme.example/v1")
    asked, said = without(prompt(stream, **fields), frozenset(refused))
    found = WIRE.write(account, asked, "m", None)
    return json.loads(found.body), [*said, *found.adjustments]


def test_hints_are_left_out_and_reported() -> None:
    body, said = written({"seed", "user"}, seed=1, top_k=3)
    assert "seed" not in body
    assert body["top_k"] == 3
    assert said == [("seed", "dropped", "this model refuses it")]


@pytest.mark.parametrize(
    ("kind", "given", "refused", "sent", "said"),
    [
        ("compatible", "max_tokens", "max_tokens", "max_completion_tokens", "renamed"),
        ("compatible", "max_completion_tokens", "max_completion_tokens", "max_tokens", "renamed"),
        ("compatible", "max_completion_tokens", "max_tokens", "max_completion_tokens", None),
        ("together", "max_completion_tokens", "max_tokens", "max_completion_tokens", None),
        ("together", "max_tokens", "max_tokens", "max_completion_tokens", "renamed"),
    ],
)
def test_the_limit_goes_by_the_name_that_is_taken(
    kind: str, given: str, refused: str, sent: str, said: str | None
) -> None:
    body, adjustments = written({refused}, kind, **{given: 7})
    assert {name: body.get(name) for name in LIMITS} == {name: 7 if name == sent else None for name in LIMITS}
    assert [each.action for each in adjustments if each.param == given] == ([said] if said else [])


def test_usage_is_not_asked_for_where_that_is_refused() -> None:
    assert written(set(), stream=True, seed=1)[0]["stream_options"] == {"include_usage": True}
    body, said = written({USAGE}, stream=True, seed=1)
    assert ("stream_options" in body, said) == (False, [])


def test_only_what_can_be_done_without_may_be_configured() -> None:
    assert refusable(["seed", "max_tokens"]) == {"seed", "max_tokens"}
    with pytest.raises(ValueError, match="'sed' is never left out; did you mean 'seed'"):
        refusable(["sed"])
    with pytest.raises(ValueError, match="'tools' is never left out"):
        refusable(["tools"])


@pytest.mark.parametrize("piece", ["a and ", "a, ", "a.", "unknown field ", "'loc': [", "does not support ", "aB"])
def test_a_refusal_of_any_text_is_read_in_no_time(piece: str) -> None:
    started = time.process_time()
    names(piece * 100_000)
    assert time.process_time() - started < 2
