"""Reading a chat request: what is accepted, and rows C1 to C20 and C24 of the fault matrix."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.errors import Problem
from sealgate.formats.ids import dashed, uuid7_hex
from sealgate.relay.request import Ask, read_chat

USER = {"role": "user", "content": "hi"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


def ask(**fields: Any) -> Ask:
    return read_chat(body(**fields))


def problem(raw: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read_chat(raw)
    return caught.value


def test_sends_upstream_only_what_the_caller_sent() -> None:
    assert ask(temperature=0.5, seed=None).prompt.fields == {"messages": [USER], "temperature": 0.5}


def test_keeps_the_gateways_own_fields_to_itself() -> None:
    found = ask(region="eu", provider="acme", failover=["x"], stream=True, episode_id=dashed(uuid7_hex()))
    assert found.prompt.fields == {"messages": [USER]}
    assert found.prompt.stream


def test_carries_undeclared_fields_but_not_those_that_break_walls() -> None:
    """Row C16."""
    found = ask(
        provider_options={"a": 1}, api_base="http://evil", models=["x"], service_tier="flex", plugins=[1], route="r"
    )
    assert found.prompt.fields == {"messages": [USER], "provider_options": {"a": 1}, "api_base": "http://evil"}
    assert [a.param for a in found.adjustments] == ["models", "plugins", "route", "service_tier"]
    assert {a.action for a in found.adjustments} == {"dropped"}


def test_compatibility_fields_without_effect_are_reported() -> None:
    found = read_chat(body(**{"tensorzero::variant_name": "v", "tensorzero::dryrun": True}))
    assert [a.param for a in found.adjustments] == ["tensorzero::dryrun", "tensorzero::variant_name"]


def test_the_smaller_of_two_token_limits_wins() -> None:
    assert ask(max_tokens=5, max_completion_tokens=9).prompt.fields["max_completion_tokens"] == 5
    assert "max_tokens" not in ask(max_tokens=5, max_completion_tokens=9).prompt.fields
    assert ask(max_tokens=5).prompt.fields["max_tokens"] == 5


def test_nulls_inside_messages_mean_absent() -> None:
    messages = [
        USER,
        {"role": "assistant", "content": None, "name": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
        {"role": "assistant", "content": "x", "tool_calls": [], "refusal": None},
    ]  # fmt: skip
    carried = ask(messages=messages).prompt.fields["messages"]
    assert set(carried[1]) == {"role", "content", "tool_calls"}
    assert carried[3] == {"role": "assistant", "content": "x"}


def test_tool_choice_without_tools_is_dropped_when_idle_and_refused_otherwise() -> None:
    assert "tool_choice" not in ask(tools=[], tool_choice="auto").prompt.fields
    assert problem(body(tool_choice="required")).param == "tool_choice"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"   ", "invalid_json"),
        (b"null", "invalid_body"),
        (b"[]", "invalid_body"),
        (b'"x"', "invalid_body"),
        (b'{"model":"m"', "invalid_json"),
        (b'{"model":"m"} x', "invalid_json"),
        (b"{'model':'m'}", "invalid_json"),
        (b'\xef\xbb\xbf{"model":"m"}', "invalid_encoding"),
        ('{"model":"m"}'.encode("utf-16"), "invalid_encoding"),
        ('{"model":"m"}'.encode("utf-16-le"), "invalid_encoding"),
        ('{"model":"é"}'.encode("latin-1"), "invalid_encoding"),
        (b'{"model":"\\ud800"}', "invalid_encoding"),
        (b'{"model":"\\udc00 x"}', "invalid_encoding"),
        (b'{"seed":NaN}', "invalid_number"),
        (b'{"seed":Infinity}', "invalid_number"),
        (b'{"seed":-Infinity}', "invalid_number"),
        (b'{"seed":1e999}', "invalid_number"),
        (b'{"seed":' + b"9" * 5000 + b"}", "invalid_number"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "json_too_deep"),
        (json.dumps({f"k{i}": 1 for i in range(200_000)}).encode(), "too_many_items"),
    ],
)
def test_rows_c1_to_c8_bytes_that_are_no_request(raw: bytes, code: str) -> None:
    assert problem(raw).code.name == code


def test_depth_64_is_allowed() -> None:
    """Row C6, the other side."""
    inner: Any = {}
    for _ in range(60):
        inner = {"a": inner}
    tool = {"type": "function", "function": {"name": "f", "parameters": inner}}
    with pytest.raises(Problem, match="json_too_deep"):
        ask(tools=[tool], extra=[[[[]]]])
    shallow = {"type": "function", "function": {"name": "f", "parameters": {"a": {"b": {}}}}}
    assert ask(tools=[shallow]).named.tools is not None


def test_row_c7_the_last_of_two_equal_keys_wins() -> None:
    found = read_chat(b'{"model":"a","model":"b","messages":[{"role":"user","content":"x","content":"y"}]}')
    assert (found.model, found.prompt.fields["messages"][0]["content"]) == ("b", "y")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"messages": [USER] * 2049}, "too_many_items", "messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 1025}, "too_many_items", "tools"),
        ({"model": ""}, "invalid_model", "model"),
        ({"model": "x" * 10_000}, "invalid_model", "model"),
        ({"model": "a\nb"}, "invalid_model", "model"),
        ({"model": None}, "invalid_model", "model"),
        ({"model": 5}, "invalid_model", "model"),
        ({"messages": []}, "invalid_messages", "messages"),
        ({"messages": None}, "invalid_messages", "messages"),
        ({"messages": "hi"}, "invalid_messages", "messages"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "invalid_messages", "messages[1].role"),
        ({"messages": [USER, USER, USER, {"role": "user", "content": 5}]}, "invalid_messages", "messages[3].content"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "invalid_messages",
         "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_messages", "messages[0].tool_call_id"),
        ({"temperature": "hot"}, "invalid_parameter", "temperature"),
        ({"temperature": -1}, "invalid_parameter", "temperature"),
        ({"temperature": 3}, "invalid_parameter", "temperature"),
        ({"top_p": 1.1}, "invalid_parameter", "top_p"),
        ({"n": 0}, "invalid_parameter", "n"),
        ({"n": 10**6}, "invalid_parameter", "n"),
        ({"max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": -1}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": 2.5}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": True}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_parameter", "max_tokens"),
        ({"seed": 2**64}, "invalid_number", "seed"),
        ({"max_tokens": 2**53 + 1}, "invalid_number", "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_parameter", "stop"),
        ({"stop": ""}, "invalid_parameter", "stop"),
        ({"stop": [""]}, "invalid_parameter", "stop[0]"),
        ({"stream": "true"}, "invalid_parameter", "stream"),
        ({"stream_options": {"include_usage": True}}, "invalid_parameter", "stream_options"),
        ({"logit_bias": {"5": 101}}, "invalid_parameter", "logit_bias"),
        ({"top_logprobs": 3}, "invalid_parameter", "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "invalid_parameter", "top_logprobs"),
        ({"response_format": {"type": "yaml"}}, "invalid_parameter", "response_format.type"),
        ({"tool_choice": "string"}, "invalid_parameter", "tool_choice"),
        ({"guided_json": {}, "guided_regex": "a"}, "invalid_parameter", "guided_regex"),
        ({"guided_choice": []}, "invalid_parameter", "guided_choice"),
        ({"failover": ["a"] * 6}, "invalid_failover", "failover"),
        ({"tensorzero::extra_body": {"model": "x"}}, "invalid_extra_body", "tensorzero::extra_body"),
        ({"tensorzero::extra_body": [{"pointer": "/n", "value": 9}]}, "invalid_extra_body", "tensorzero::extra_body"),
        ({"tensorzero::extra_headers": {"a b": "x"}}, "invalid_parameter", "tensorzero::extra_headers"),
    ],
)  # fmt: skip
def test_rows_c5_to_c20_fields_that_are_wrong(fields: dict[str, Any], code: str, param: str) -> None:
    found = problem(body(**fields))
    assert (found.code.name, found.param) == (code, param)


def test_row_c17_controls_and_long_words_pass() -> None:
    text = "\0\x07" + "e\u0301" * 1000 + "x" * 1_000_000
    assert ask(messages=[{"role": "user", "content": text}]).prompt.fields["messages"][0]["content"] == text


def test_row_c19_tool_schemas_are_not_expanded() -> None:
    loop = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    tool = {"type": "function", "function": {"name": "f", "parameters": loop}}
    assert ask(tools=[tool]).prompt.fields["tools"] == [tool]


def image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize("url", ["data:image/jpeg;base64,/9j/4AAQ", "data:image/svg+xml;charset=utf-8;base64,AA=="])
def test_data_urls_pass(url: str) -> None:
    assert ask(messages=[image(url)]).media_param is None


@pytest.mark.parametrize("url", ["data:image/png,xx", "data:;base64,AAAA", "data:image;base64,x"])
def test_row_c24_data_urls_of_a_wrong_shape(url: str) -> None:
    found = problem(body(messages=[image(url)]))
    assert (found.code.name, found.param) == ("invalid_media", "messages[0].content[0].image_url.url")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://a@b/x.png", "ftp://x/y", "//x/y", "https://", "x\n"])
def test_row_c23_urls_nobody_may_dial(url: str) -> None:
    assert problem(body(messages=[image(url)])).code.name == "media_url_not_allowed"


def test_an_https_image_is_noted_for_the_plan() -> None:
    found = ask(messages=[USER, image("https://pictures.example/a.png")])
    assert found.media_param == "messages[1].content[0].image_url.url"


def test_a_file_needs_bytes_or_an_id() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf"}}
    assert problem(body(messages=[{"role": "user", "content": [part]}])).code.name == "invalid_media"


def test_extra_body_by_pointer_keeps_its_neighbours() -> None:
    found = read_chat(body(
        chat_template_kwargs={"a": 1, "list": [1, 2]},
        **{"tensorzero::extra_body": [
            {"pointer": "/chat_template_kwargs/b", "value": 2},
            {"pointer": "/chat_template_kwargs/list/0", "value": 9},
            {"pointer": "/new~1name", "value": None},
        ]},
    ))  # fmt: skip
    assert found.prompt.extra_body == {"chat_template_kwargs": {"a": 1, "list": [9, 2], "b": 2}, "new/name": None}


def test_an_episode_id_is_taken_in_canonical_form() -> None:
    given = uuid7_hex()
    assert ask(episode_id=given.upper()).episode_id == dashed(given)
    assert read_chat(body(**{"tensorzero::episode_id": given})).episode_id == dashed(given)
    assert ask().episode_id is None


@pytest.mark.parametrize(
    "episode", ["x", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "7fffffff-ffff-7000-8000-000000000000"]
)
def test_an_episode_id_of_another_version_or_the_future_is_refused(episode: str) -> None:
    assert problem(body(episode_id=episode)).code.name == "invalid_episode_id"


def test_every_wrong_place_is_told() -> None:
    raw = body(messages=[{"role": "string", "content": "s"}, {"role": "tool", "content": 5}], n="x", temperature=9)
    places = {detail.loc for detail in problem(raw).details}
    assert {("messages", 0, "role"), ("n",), ("temperature",)} <= places
    assert any(place[:2] == ("messages", 1) for place in places)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["model", "messages", "n", "stop", "tools", "stream", "seed", "x", "user"]), JSON)
)
def test_any_json_object_is_read_or_refused_with_a_code(fields: dict[str, Any]) -> None:
    """Row P21: never another exception."""
    try:
        read_chat(json.dumps(fields).encode())
    except Problem as found:
        status = found.status
    else:
        status = 400
    assert 400 <= status < 500


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_code(raw: bytes) -> None:
    assert problem(raw).status == 400
