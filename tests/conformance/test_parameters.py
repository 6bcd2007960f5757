"""What callers ask for reaches every provider in its own form, or is refused before anybody is asked.

What a row can do is what its declaration says: native works as it is, emulated works and is told, lacking is 400.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.conformance.matrix import NAMES, Json, Row, adjusted, good, message, refused, split
from tests.gateway import Reply

from sealgate.providers.capabilities import HINTS
from sealgate.relay.checked import CHECKABLE

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Json = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
NOW: Json = {"type": "function", "function": {"name": "now"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
DATA: Json = {"city": "Zürich"}
FORMAT: Json = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": CITY}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
BY_URL = "https://images.example/cat.png"


def mock_of(row: Row) -> str:
    return split(row.name)[0]


# Tools


@pytest.mark.parametrize(
    ("choice", "capability"),
    [("none", "tools"), ("auto", "tools"), ("required", "tool_required"), (NAMED, "tool_choice"), (ALLOWED, "tools")],
    ids=["none", "auto", "required", "named", "allowed"],
)
def test_each_tool_choice_is_obeyed_or_refused(row: Row, choice: Any, capability: str) -> None:
    row.mock.reply("Fine.")
    reply = row.ask(tools=[WEATHER, NOW], tool_choice=choice)
    if not row.can("tools", capability):
        refused(reply, row, "tools", capability)
        assert not row.mock.requests
        return
    good(reply)
    meant = _choice(row.asked.body)
    offered = _offered(row.asked.body)
    if choice == "none":
        assert not offered or meant == "none", "no tool can be called"
    elif choice is ALLOWED:
        assert offered == {"get_weather"} or meant == {"get_weather"}, "only the allowed one can be called"
    else:
        assert offered == {"get_weather", "now"}
        assert meant == {"auto": "auto", "required": "required"}.get(str(choice), {"get_weather"})


def _offered(body: Json) -> set[str]:
    """The functions that a request offers, in any of the wires' forms."""
    tools = body.get("tools") or (body.get("toolConfig") or {}).get("tools") or ()
    found = set()
    for tool in tools:
        found |= {each["name"] for each in tool.get("functionDeclarations", ())}
        named = tool.get("function") or tool.get("toolSpec") or tool
        found |= {named["name"]} if "name" in named else set()
    return found


def _choice(body: Json) -> Any:
    """``auto``, ``none``, ``required``, or the names among which it must choose."""
    found = body.get("tool_choice")
    extra = (body.get("additionalModelRequestFields") or {}).get("tool_choice") or {}
    config = body.get("toolConfig") or {}
    if (calling := config.get("functionCallingConfig")) is not None:
        if names := calling.get("allowedFunctionNames"):
            return set(names)
        return {"AUTO": "auto", "NONE": "none", "ANY": "required"}[calling["mode"]]
    if "toolChoice" in config:
        found = config["toolChoice"]
        return {found["tool"]["name"]} if "tool" in found else "required" if "any" in found else "auto"
    if extra.get("type") == "none":
        return "none"
    if isinstance(found, dict):
        if "function" in found:
            return {found["function"]["name"]}
        if "allowed_tools" in found:
            return {tool["function"]["name"] for tool in found["allowed_tools"]["tools"]}
        return {found["name"]} if found["type"] == "tool" else {"any": "required"}.get(found["type"], found["type"])
    return found or "auto"


def test_one_call_at_a_time_is_asked_for_where_that_can_be_said(row: Row) -> None:
    if not row.can("tools"):
        pytest.skip("it has no tools")
    reply = good(row.ask(tools=[WEATHER], parallel_tool_calls=False))
    said = '"parallel_tool_calls": false' in row.sent or '"disable_parallel_tool_use": true' in row.sent
    assert said != ("dropped" in adjusted(reply).get("parallel_tool_calls", ())), "sent, or said to be left out"


# The answer's form


def answers_in_form(reply: Reply, expected: Any) -> None:
    good(reply)
    assert json.loads(message(reply)["content"]) == expected
    assert message(reply)["finish"] == "stop"
    assert "tool_calls" not in message(reply), "how it was made is no business of the caller's"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["json_schema", "guided_json"])
def test_a_schema_is_held_everywhere(row: Row, name: str, stream: bool) -> None:
    """By the provider where it can be, else by the gateway, which asks in words and checks."""
    row.mock.reply(data=DATA)
    asked: Json = {"response_format": FORMAT} if name == "json_schema" else {"guided_json": CITY}
    reply = row.ask("Where?", stream=stream, **asked)
    answers_in_form(reply, DATA)
    assert '"city"' in row.sent or '\\"city\\"' in row.sent, "the schema was told"
    field = "response_format" if name == "json_schema" else "guided_json"
    if name not in row.native or not row.can(name):
        assert adjusted(reply)[field] & {"emulated", "renamed"}


def test_a_schema_that_is_not_held_is_repaired_once_or_fails(row: Row) -> None:
    """Where the provider does not hold it itself."""
    if row.can("json_schema"):
        pytest.skip("the provider holds it")
    row.mock.reply("Nonsense.")
    row.mock.reply(data=DATA)
    answers_in_form(row.ask(response_format=FORMAT), DATA)
    row.mock.reply("Nonsense.")
    row.mock.reply("More nonsense.")
    reply = row.ask(response_format=FORMAT, stream=True)
    assert (reply.status, reply.code) == (502, "schema_not_satisfied")


def test_a_json_object_is_held_everywhere(row: Row) -> None:
    row.mock.reply(data=DATA)
    reply = row.ask("Where? As json.", response_format={"type": "json_object"})
    answers_in_form(reply, DATA)
    if not row.can("json_object"):
        assert "emulated" in adjusted(reply)["response_format"]


def test_a_form_and_tools_go_together_wherever_there_are_tools(row: Row) -> None:
    row.mock.reply(data=DATA)
    reply = row.ask("Where? As json.", response_format={"type": "json_object"}, tools=[WEATHER])
    if row.serves("json_object", "tools", "tools_with_format"):
        answers_in_form(reply, DATA)
        assert "get_weather" in row.sent
    else:
        refused(reply, row, "tools")


GUIDED: dict[str, Json] = {
    "guided_choice": {"guided_choice": ["yes", "no"]},
    "guided_regex": {"guided_regex": "[a-z]+"},
    "guided_grammar": {"guided_grammar": 'root ::= "yes" | "no"'},
    "structural_tag": {"structural_tag": {"type": "structural_tag", "structures": [], "triggers": ["<a"]}},
    "structured_outputs": {"structured_outputs": {"regex": "[a-z]+"}},
}


@pytest.mark.parametrize("name", GUIDED)
def test_each_other_constraint_is_held_or_refused(row: Row, name: str) -> None:
    row.mock.reply(data="yes")
    reply = row.ask("Well?", **GUIDED[name])
    if not row.serves(name):
        refused(reply, row, name)
        assert not row.mock.requests
        return
    assert good(reply).text == "yes"
    if name in row.route.emulated or not row.can(name):
        assert "emulated" in adjusted(reply)[name]
    assert any(sign in row.sent for sign in ("yes", "[a-z]+", "structural_tag")), "the constraint was told"


# Limits and sampling


@pytest.mark.parametrize("fields", [
    {"max_tokens": 77}, {"max_completion_tokens": 77}, {"max_tokens": 77, "max_completion_tokens": 99},
], ids=["older", "newer", "both"])  # fmt: skip
def test_the_answers_length_is_limited_by_whatever_name(row: Row, fields: Json) -> None:
    good(row.ask(**fields))
    assert row.sent.count(": 77") == 1
    assert ": 99" not in row.sent


@pytest.mark.parametrize("stop", ["END", ["END", "FIN"]], ids=["text", "list"])
def test_stop_texts_are_passed_on(row: Row, stop: Any) -> None:
    good(row.ask(stop=stop))
    assert '"END"' in row.sent
    assert ('"FIN"' in row.sent) == (stop != "END")


def test_sampling_is_passed_on_or_told(row: Row) -> None:
    reply = good(row.ask(temperature=0.25, top_p=0.75, frequency_penalty=0.5, presence_penalty=-0.5))
    gone = adjusted(reply)
    for name, value in (("temperature", "0.25"), ("top_p", "0.75"), ("frequency_penalty", ": 0.5"),
                        ("presence_penalty", "-0.5")):  # fmt: skip
        assert (value in row.sent) == ("dropped" not in gone.get(name, ())), name


VALUES: dict[str, Any] = {
    "seed": 4711, "user": "user-4711", "logit_bias": {"4711": -5}, "verbosity": "low-4711",
    "metadata": {"tag": "value-4711"}, "store": True, "prediction": {"type": "content", "content": "text-4711"},
    "moderation": {"model": "m-4711"}, "prompt_cache_key": "key-4711", "prompt_cache_options": {"ttl": "4711m"},
    "prompt_cache_retention": "4711h", "safety_identifier": "id-4711", "top_k": 47, "min_p": 0.4711,
    "repetition_penalty": 1.4711, "ignore_eos": True, "chat_template": "{{ 4711 }}",
    "chat_template_kwargs": {"flag": 4711}, "mm_processor_kwargs": {"size": 4711},
    "guided_decoding_backend": "backend-4711", "guided_whitespace_pattern": "[4711]",
}  # fmt: skip
"""A value for each hint, which can be found again."""


def test_every_hint_is_passed_on_or_told(row: Row) -> None:
    """Never in silence: what is not in the request that went out is in ``tresor.adjustments``, and the other way."""
    assert VALUES.keys() | {"parallel_tool_calls", "reasoning_effort"} == HINTS
    for name, value in VALUES.items():
        reply = good(row.ask(**{name: value}))
        mark = json.dumps(value, ensure_ascii=False)
        sent = mark in row.sent if value is not True else f'"{name}": true' in row.sent
        told = adjusted(reply).get(name, set())
        assert sent != ("dropped" in told), f"{name}: sent {sent}, told {told}"
        first, *words = name.split("_")
        if sent and f'"{name}"' not in row.sent and first + "".join(map(str.title, words)) not in row.sent:
            assert "renamed" in told, name


def test_a_strict_caller_is_refused_what_would_be_dropped(row: Row) -> None:
    for name in ("seed", "top_k", "logit_bias"):
        row.mock.reply("Fine.")
        dropped = "dropped" in adjusted(good(row.ask(**{name: VALUES[name]}))).get(name, ())
        reply = row.ask(headers={"x-sealgate-strict": "true"}, **{name: VALUES[name]})
        if dropped:
            assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", name)
        else:
            good(reply)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_effort_is_asked_for_in_the_providers_terms_or_told(row: Row, effort: str) -> None:
    row.mock.reply("Fine.")
    reply = good(row.ask(reasoning_effort=effort, max_tokens=5000))
    told = adjusted(reply).get("reasoning_effort", set())
    sent = row.sent
    said = f'"{effort}"' in sent or any(
        name in sent for name in ('"thinking"', '"thinkingConfig"', '"effort"', '"reasoning"', '"reasoningConfig"',
                                  '"reasoning_effort"'))  # fmt: skip
    assert said or told, "in silence nothing is left out"
    if f'"{effort}"' not in sent.lower():
        assert told, "another value is told"


def test_a_field_nobody_knows_goes_to_openais_family_and_is_told_elsewhere(row: Row) -> None:
    reply = good(row.ask(x_vendor={"deep": ["4711"]}))
    assert ("4711" in row.sent) == ("dropped" not in adjusted(reply).get("x_vendor", ()))
    assert ("4711" in row.sent) == (row.kind.only is None)


def test_extra_body_is_added_everywhere_and_walls_hold(row: Row) -> None:
    good(row.ask(**{"tensorzero::extra_body": {"x_extra": "4711"}}))
    assert row.asked.body["xExtra" if "xExtra" in row.asked.body else "x_extra"] == "4711"
    reply = row.ask(**{"tensorzero::extra_body": {"model": "another"}})
    assert (reply.status, reply.code) == (400, "invalid_extra_body")


# Media


def test_an_image_as_data_arrives_or_is_refused(row: Row) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    reply = row.ask([{"type": "text", "text": "What is it?"}, part])
    if not row.can("images"):
        refused(reply, row, "images")
        assert not row.mock.requests
        return
    good(reply)
    assert PIXEL in row.sent
    assert "png" in row.sent


def test_an_image_by_address_arrives_or_is_refused(row: Row) -> None:
    part = {"type": "image_url", "image_url": {"url": BY_URL}}
    reply = row.ask([{"type": "text", "text": "What is it?"}, part])
    if not row.can("images"):
        refused(reply, row, "images")
    elif not row.route.account.media_by_url:
        assert (reply.status, reply.code) == (400, "media_url_not_allowed")
        assert reply.error["param"] == "messages[0].content[1].image_url.url"
    else:
        good(reply)
        assert BY_URL in row.sent
        return
    assert not row.mock.requests


def test_a_file_arrives_or_is_refused(row: Row) -> None:
    part = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}}
    reply = row.ask([{"type": "text", "text": "What is it?"}, part])
    if not row.can("files"):
        refused(reply, row, "files")
        assert not row.mock.requests
        return
    good(reply)
    assert PDF in row.sent


def test_sound_arrives_or_is_refused(row: Row) -> None:
    part = {"type": "input_audio", "input_audio": {"data": PDF, "format": "wav"}}
    reply = row.ask([{"type": "text", "text": "What is it?"}, part])
    if not row.can("audio"):
        refused(reply, row, "audio")
        assert not row.mock.requests
        return
    good(reply)
    assert PDF in row.sent


def test_a_custom_tool_arrives_or_is_refused(row: Row) -> None:
    reply = row.ask(tools=[{"type": "custom", "custom": {"name": "code"}}])
    if row.can("custom_tools"):
        good(reply)
        assert '"custom"' in row.sent
    else:
        refused(reply, row, "custom_tools")


def test_every_capability_is_exercised_here() -> None:
    """A capability that is new needs a behaviour here."""
    from sealgate.providers.capabilities import CAPABILITIES

    covered = {
        "tools", "custom_tools", "tool_required", "tool_choice", "tools_with_format", "json_object", "json_schema",
        "guided_json", *GUIDED, "n", "stop", "logprobs", "max_tokens", "images", "files", "audio",
    }  # fmt: skip
    assert covered == set(CAPABILITIES)
    assert covered >= CHECKABLE
    assert len(NAMES) >= 28
