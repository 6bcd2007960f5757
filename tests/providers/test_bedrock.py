"""Bedrock: Converse's requests and answers, and Anthropic's wire inside InvokeModel."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from tests.gateway import Serve, model, provider
from tests.providers.test_aws import frame
from tests.replay import recorded

from sealgate.config import Model, Provider, Route, Secret
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.providers.anthropic_form import ANSWER_TOOL, IN_WORDS
from sealgate.providers.base import Prompt
from sealgate.providers.bedrock import CONVERSE
from sealgate.providers.table import KINDS
from sealgate.relay.answer import Label, StreamedAnswer
from sealgate.relay.catalog import make_account
from sealgate.testing import ScriptedUpstream
from sealgate.testing.bedrock_wire import event
from sealgate.testing.script import LAST_CHUNK, Chunk, head, json_answer

Json = dict[str, Any]

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OLDER = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-lite-v1:0"
USER = {"role": "user", "content": "Hi"}
HI = {"role": "user", "content": [{"text": "Hi"}]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
SPEC = {"toolSpec": {"name": "weather", "description": "d", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
USE = {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Bern"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "n", "description": "told", "schema": SCHEMA}}
PNG = "iVBORw0KGgo="


def write(fields: Json, name: str = SONNET, extra: Json | None = None, **account: Any) -> tuple[Json, list[Any]]:
    """The body of a request with these fields, and what was said of it."""
    row = make_account("b", Provider(kind="bedrock", aws_region="us-east-1", **account))
    prompt = Prompt({"messages": [USER], **fields}, stream=False, extra_body=extra or {}, extra_headers={}, trace={})
    written = row.kind.wire.write(row, prompt, name, None)
    return msgspec.json.decode(written.body), list(written.adjustments)


# Requests


@pytest.mark.parametrize(("fields", "wanted"), [
    ({}, {"messages": [HI]}),
    ({"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "stop": "x"},
     {"messages": [HI], "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]}}),
    ({"max_completion_tokens": 7, "stop": ["a", "b"]},
     {"messages": [HI], "inferenceConfig": {"maxTokens": 7, "stopSequences": ["a", "b"]}}),
    ({"tools": [WEATHER]}, {"messages": [HI], "toolConfig": {"tools": [SPEC]}}),
    ({"tools": [WEATHER], "tool_choice": "auto"}, {"messages": [HI], "toolConfig": {"tools": [SPEC]}}),
    ({"tools": [WEATHER], "tool_choice": "required"},
     {"messages": [HI], "toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}}),
    ({"tools": [WEATHER], "tool_choice": "none"}, {"messages": [HI]}),
    ({"n": 1, "logprobs": False, "response_format": {"type": "text"}}, {"messages": [HI]}),
])  # fmt: skip
def test_fields_have_their_place(fields: Json, wanted: Json) -> None:
    assert write(fields)[0] == wanted


def test_one_tool_of_several_can_be_demanded() -> None:
    other = {"type": "function", "function": {"name": "time"}}
    named = {"type": "function", "function": {"name": "time"}}
    body, _ = write({"tools": [WEATHER, other], "tool_choice": named})
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "time"}}
    assert body["toolConfig"]["tools"][1]["toolSpec"]["inputSchema"]["json"] == {"type": "object", "properties": {}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    body, _ = write({"tools": [WEATHER, other], "tool_choice": allowed})
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["time"]
    assert body["toolConfig"]["toolChoice"] == {"any": {}}


@pytest.mark.parametrize(("messages", "system", "turns"), [
    ([{"role": "system", "content": "s"}, {"role": "developer", "content": [{"type": "text", "text": "d"}]}, USER],
     [{"text": "s"}, {"text": "d"}], [HI]),
    ([USER, {"role": "user", "content": "and"}], None,
     [{"role": "user", "content": [{"text": "Hi"}, {"text": "and"}]}]),
    ([USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
      {"role": "tool", "tool_call_id": "c1", "content": "20"}, {"role": "user", "content": "ok"}],
     None, [HI, {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "20"}]}},
                                         {"text": "ok"}]}]),
    ([USER, {"role": "assistant", "content": "So", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
      {"role": "tool", "tool_call_id": "c1", "content": "1"},
      {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]}],
     None, [HI, {"role": "assistant", "content": [{"text": "So"}, USE,
                                                  {"toolUse": USE["toolUse"] | {"toolUseId": "c2"}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "1"}]}},
                                         {"toolResult": {"toolUseId": "c2", "content": [{"text": "2"}]}}]}]),
    ([{"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "Hi"}]}], None, [HI]),
    ([USER, {"role": "assistant", "content": None, "refusal": "no"}], None,
     [HI, {"role": "assistant", "content": [{"text": "no"}]}]),
    ([USER, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
      {"role": "function", "name": "f", "content": ""}], None, None),
])  # fmt: skip
def test_messages_become_turns(messages: list[Json], system: list[Json] | None, turns: list[Json] | None) -> None:
    """User and assistant take turns; results of tools come first in a user's turn; blank texts are left out."""
    body, _ = write({"messages": messages, "tools": [WEATHER]})
    assert body.get("system") == system
    assert turns is None or body["messages"] == turns
    assert [turn["role"] for turn in body["messages"]][:3] in (["user"], ["user", "assistant"],
                                                              ["user", "assistant", "user"])  # fmt: skip


def test_instructions_that_come_later_stay_where_they_are() -> None:
    later = {"role": "system", "content": "Be brief"}
    body, said = write({"messages": [USER, {"role": "assistant", "content": "Yes?"}, later, USER]})
    assert "system" not in body
    assert body["messages"][2]["content"] == [{"text": "Be brief"}, {"text": "Hi"}]
    assert [each.action for each in said] == ["renamed"]


@pytest.mark.parametrize(("part", "block"), [
    ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
     {"image": {"format": "png", "source": {"bytes": PNG}}}),
    ({"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}},
     {"image": {"format": "jpeg", "source": {"bytes": PNG}}}),
    ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "My_report: v2.pdf"}},
     {"document": {"format": "pdf", "name": "My report v2", "source": {"bytes": "JVBE"}}}),
    ({"type": "file", "file": {"file_data": "data:application/octet-stream;base64,JVBE", "filename": "a.DOCX"}},
     {"document": {"format": "docx", "name": "a", "source": {"bytes": "JVBE"}}}),
    ({"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,JVBE"}},
     {"document": {"format": "txt", "name": "document", "source": {"bytes": "JVBE"}}}),
    ({"type": "file", "file": {"file_data": f"data:image/webp;base64,{PNG}", "filename": "x.webp"}},
     {"image": {"format": "webp", "source": {"bytes": PNG}}}),
    ({"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA", "filename": "x.mp4"}},
     {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}),
    ({"type": "file", "file": {"file_data": "data:video/quicktime;base64,AAAA", "filename": "x.mov"}},
     {"video": {"format": "mov", "source": {"bytes": "AAAA"}}}),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
     {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}),
])  # fmt: skip
def test_media_are_sent_as_bytes(part: Json, block: Json) -> None:
    body, _ = write({"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, part]}]})
    assert body["messages"][0]["content"] == [{"text": "See"}, block]


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
    {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AAAA"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file": {"file_data": "data:application/zip;base64,AAAA", "filename": "a.zip"}},
])  # fmt: skip
def test_media_that_converse_cannot_take_are_refused(part: Json) -> None:
    with pytest.raises(UpstreamError) as caught:
        write({"messages": [{"role": "user", "content": [part]}]})
    assert caught.value.failure is Failure.MEDIA


def test_documents_have_names_of_their_own_and_a_text_beside_them() -> None:
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}}
    body, said = write({"messages": [{"role": "user", "content": [part, part]}]})
    first, second, text = body["messages"][0]["content"]
    assert (first["document"]["name"], second["document"]["name"], text) == ("a", "a (2)", {"text": "a"})
    assert [each.param for each in said] == ["messages[].content"]


def test_ids_of_calls_fit_and_still_belong_together() -> None:
    strange = {**CALL, "id": "call/äöü" * 20}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [strange]},
                {"role": "tool", "tool_call_id": strange["id"], "content": "x"}]  # fmt: skip
    body, _ = write({"messages": messages, "tools": [WEATHER]})
    used = body["messages"][1]["content"][0]["toolUse"]["toolUseId"]
    assert used == body["messages"][2]["content"][0]["toolResult"]["toolUseId"]
    assert len(used) <= 64
    assert used.isascii()


def test_arguments_that_are_no_object_are_not_lost() -> None:
    broken = {**CALL, "function": {"name": "weather", "arguments": '{"city": "Ber'}}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [broken, broken]}, USER]
    body, said = write({"messages": messages, "tools": [WEATHER]})
    assert body["messages"][1]["content"][0]["toolUse"]["input"] == {"arguments": '{"city": "Ber'}
    assert [(each.param, each.action) for each in said] == [("messages[].tool_calls", "repaired")]


HISTORY = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
           {"role": "tool", "tool_call_id": "c1", "content": "20"}]  # fmt: skip


def test_a_history_with_calls_keeps_its_tools() -> None:
    """Converse refuses calls of tools that nobody declares; Claude is told not to call them."""
    body, _ = write({"messages": HISTORY, "tools": [WEATHER], "tool_choice": "none"})
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    body, said = write({"messages": HISTORY}, NOVA)
    assert body["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]
    }
    assert "additionalModelRequestFields" not in body
    assert said[0].action == "emulated"


def test_a_model_that_cannot_be_kept_from_calling_is_left_for_another_route() -> None:
    with pytest.raises(UpstreamError) as raised:
        write({"messages": HISTORY, "tools": [WEATHER], "tool_choice": "none"}, NOVA)

    assert (raised.value.failure, raised.value.param) == (Failure.PARAMETER, "tool_choice")


def test_a_schema_is_native_where_the_model_takes_one() -> None:
    body, said = write({"response_format": FORM, "tools": [WEATHER]})
    form = body["outputConfig"]["textFormat"]
    definition = form["structure"]["jsonSchema"]
    assert (form["type"], definition["name"], definition["description"]) == ("json_schema", "n", "told")
    assert json.loads(definition["schema"]) == {**SCHEMA, "additionalProperties": False}
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert said == []


@pytest.mark.parametrize(("name", "form"), [
    (OLDER, FORM), (NOVA, FORM), (SONNET, {"type": "json_object"}),
    (SONNET, {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
    (SONNET, {"type": "json_schema", "json_schema": {"name": "n", "schema": {
        "type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}}}}}),
])  # fmt: skip
def test_elsewhere_a_tool_that_must_be_called_stands_for_it(name: str, form: Json) -> None:
    """Also for schemas with open objects, which the native way refuses."""
    body, said = write({"response_format": form}, name)
    [tool] = body["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == ANSWER_TOOL
    assert tool["toolSpec"]["inputSchema"]["json"] == form.get("json_schema", {}).get("schema", {"type": "object"})
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert "outputConfig" not in body
    assert [(each.param, each.action) for each in said] == [("response_format", "emulated")]


def test_guided_json_is_a_schema_too() -> None:
    body, said = write({"guided_json": SCHEMA})
    assert "textFormat" in body["outputConfig"]
    assert said[0].param == "guided_json"


def test_beside_tools_that_may_be_called_the_answer_is_one_of_them() -> None:
    """One of all must be called: a tool of the caller's, or the answer in its form."""
    body, said = write({"response_format": FORM, "tools": [WEATHER]}, OLDER)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["weather", ANSWER_TOOL]
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert [each.action for each in said] == ["emulated"]
    body, said = write({"response_format": FORM, "tools": [WEATHER], "tool_choice": "required"}, OLDER)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["weather"]
    assert [each.detail for each in said] == ["a tool must be called, so there is no text to form"]


LIST = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "items": {"type": "string"}}}}
CHOICE = {"guided_choice": ["red", "blue"]}


@pytest.mark.parametrize(("fields", "held"), [
    ({"response_format": LIST}, LIST["json_schema"]["schema"]), (CHOICE, {"type": "string", "enum": ["red", "blue"]}),
])  # fmt: skip
@pytest.mark.parametrize("name", [SONNET, OLDER])
def test_a_form_that_is_no_object_is_held_by_one(fields: Json, held: Json, name: str) -> None:
    body, _ = write(fields, name)
    if name == SONNET:
        schema = json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    else:
        schema = body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
    assert schema["properties"] == {"answer": held}


def test_bounds_that_are_not_taken_are_told_in_words() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
    body, said = write({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}})
    sent = json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert sent["properties"]["a"] == {"type": "integer", "description": "(minimum 3)"}
    assert [each.detail for each in said] == ["told to the model in words: minimum 3"]


def test_a_schema_after_calls_declares_the_history_and_demands_the_answer() -> None:
    body, _ = write({"messages": HISTORY, "response_format": FORM}, OLDER)
    names = [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]
    assert names == ["weather", ANSWER_TOOL]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": ANSWER_TOOL}}


@pytest.mark.parametrize(("fields", "name", "place", "wanted", "action"), [
    ({"top_k": 3}, SONNET, "additionalModelRequestFields", {"top_k": 3}, "renamed"),
    ({"top_k": 3}, NOVA, "additionalModelRequestFields", {"inferenceConfig": {"topK": 3}}, "renamed"),
    ({"top_k": 3}, "cohere.command-r-v1:0", "additionalModelRequestFields", {"k": 3}, "renamed"),
    ({"top_k": 3}, "meta.llama3-70b-instruct-v1:0", "additionalModelRequestFields", None, "dropped"),
    ({"reasoning_effort": "minimal"}, "global.anthropic.claude-opus-4-6-v1", "outputConfig", {"effort": "low"},
     "renamed"),
    ({"reasoning_effort": "max"}, "us.anthropic.claude-sonnet-5", "outputConfig", {"effort": "max"}, "renamed"),
    ({"reasoning_effort": "high"}, "anthropic.claude-3-5-sonnet-20240620-v1:0", "outputConfig", None, "dropped"),
    ({"reasoning_effort": "none"}, "us.anthropic.claude-sonnet-5", "outputConfig", None, "dropped"),
    ({"reasoning_effort": "xhigh"}, "openai.gpt-oss-120b-1:0", "additionalModelRequestFields",
     {"reasoning_effort": "high"}, "renamed"),
    ({"reasoning_effort": "medium"}, "us.amazon.nova-2-lite-v1:0", "additionalModelRequestFields",
     {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, "renamed"),
    ({"parallel_tool_calls": False, "tools": [WEATHER]}, SONNET, "additionalModelRequestFields",
     {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "renamed"),
    ({"parallel_tool_calls": False, "tools": [WEATHER], "tool_choice": "required"}, SONNET,
     "additionalModelRequestFields", {"tool_choice": {"disable_parallel_tool_use": True}}, "renamed"),
    ({"parallel_tool_calls": False, "tools": [WEATHER]}, NOVA, "additionalModelRequestFields", None, "dropped"),
    ({"parallel_tool_calls": True, "tools": [WEATHER]}, SONNET, "additionalModelRequestFields", None, "dropped"),
    ({"seed": 1}, SONNET, "seed", None, "dropped"),
    ({"frequency_penalty": 1}, SONNET, "frequency_penalty", None, "dropped"),
])  # fmt: skip
def test_hints_go_where_the_model_knows_them(fields: Json, name: str, place: str, wanted: Any, action: str) -> None:
    body, said = write(fields, name)
    assert body.get(place) == wanted
    assert [(each.param, each.action) for each in said] == [(next(iter(fields)), action)]


def test_strict_tools_only_where_they_are_known() -> None:
    strict = {"type": "function", "function": {"name": "t", "strict": True, "parameters": SCHEMA}}
    body, said = write({"tools": [strict]})
    assert (body["toolConfig"]["tools"][0]["toolSpec"]["strict"], said) == (True, [])
    body, said = write({"tools": [strict]}, OLDER)
    assert "strict" not in body["toolConfig"]["tools"][0]["toolSpec"]
    assert [each.action for each in said] == ["dropped"]


def test_the_extra_body_is_merged_into_what_is_there() -> None:
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    extra = {"guardrailConfig": guardrail, "additionalModelRequestFields": {"thinking": {"type": "adaptive"}}}
    body, _ = write({"top_k": 3}, extra=extra)
    assert body["guardrailConfig"] == guardrail
    assert body["additionalModelRequestFields"] == {"top_k": 3, "thinking": {"type": "adaptive"}}


def test_reasoning_goes_back_as_it_came() -> None:
    """Signed text, in pieces or whole, and what was redacted; not what nobody signed."""
    details = [
        {"type": "reasoning.text", "text": "So ", "index": 0},
        {"type": "reasoning.text", "text": "then", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "EtkE", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.encrypted", "data": "/w==", "format": "bedrock", "index": 2},
        {"type": "thinking", "thinking": "own", "signature": "t"},
        {"type": "reasoning.text", "text": "unsigned", "index": 9},
        "nonsense",
    ]
    messages = [USER, {"role": "assistant", "content": "Yes", "reasoning_details": details}, USER]
    body, _ = write({"messages": messages})
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "So then", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EtkE").decode()}},
        {"reasoningContent": {"redactedContent": "/w=="}},
        {"reasoningContent": {"reasoningText": {"text": "own", "signature": "t"}}},
        {"text": "Yes"},
    ]


@pytest.mark.parametrize("reasoning", [
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "Zm9v", "format": "google-gemini-v1", "index": 0}]},
    {"reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "format": "google-gemini-v1"}]},
    {"reasoning_content": "So then"},
    {"reasoning_details": [{"type": "thinking", "thinking": 5, "signature": {}, "index": []}]},
])  # fmt: skip
def test_reasoning_that_others_have_signed_is_not_sent_and_the_caller_told(reasoning: Json) -> None:
    """As after a failover: Bedrock would refuse it with a 400, and the whole request with it."""
    body, said = write({"messages": [USER, {"role": "assistant", "content": "Yes", **reasoning}, USER]})
    assert body["messages"][1]["content"] == [{"text": "Yes"}]
    assert [(each.param, each.action) for each in said] == [("messages[].reasoning", "dropped")]


# Whole answers


def reader(fields: Json | None = None, *, stream: bool = False, **account: Any) -> Any:
    row = make_account("b", Provider(kind="bedrock", aws_region="us-east-1", **account))
    return row.kind.wire.reader({"messages": [USER], **(fields or {})}, stream=stream)


def whole(content: list[Json], reason: str = "end_turn", fields: Json | None = None, **more: Any) -> Json:
    one = reader(fields)
    body = json.dumps({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason} | more)
    assert [*one.feed(body[:5].encode()), *one.feed(body[5:].encode())] == []
    [found] = one.end()
    return dict(found)


THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}}


@pytest.mark.parametrize(("content", "message"), [
    ([{"text": "A"}, {"text": "B"}], {"content": "AB"}),
    ([{"text": "Ok"}, USE], {"content": "Ok", "tool_calls": [CALL]}),
    ([THOUGHT, {"text": "A"}], {"content": "A", "reasoning_content": "Hm", "reasoning_details": [
        {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]}),
    ([{"text": "A"}, {"reasoningContent": {"reasoningText": {"text": "Hm"}}}],
     {"content": "A", "reasoning_content": "Hm"}),
    ([{"reasoningContent": {"redactedContent": "RXRrRQ=="}}, {"text": "A"}], {"content": "A", "reasoning_details": [
        {"type": "reasoning.encrypted", "data": "EtkE", "format": "anthropic-claude-v1", "index": 0}]}),
    ([{"reasoningContent": {"redactedContent": "/w=="}}], {"content": None, "reasoning_details": [
        {"type": "reasoning.encrypted", "data": "/w==", "format": "bedrock", "index": 0}]}),
    ([{"toolUse": {"toolUseId": "x", "name": "code", "input": {}, "type": "server_tool_use"}},
      {"toolResult": {"toolUseId": "x", "content": [{"json": {}}]}}, USE], {"content": None, "tool_calls": [CALL]}),
    ([{"citationsContent": {"content": [{"text": "A"}], "citations": [
        {"title": "T", "location": {"web": {"url": "https://e.example", "domain": "e.example"}}},
        {"title": "doc", "location": {"documentPage": {"documentIndex": 0}}}]}}],
     {"content": "A", "annotations": [
         {"type": "url_citation", "url_citation": {
             "start_index": 0, "end_index": 1, "title": "T", "url": "https://e.example"}},
         {"type": "url_citation", "url_citation": {
             "start_index": 0, "end_index": 1, "title": "doc", "url": "document:0"}}]}),
])  # fmt: skip
def test_blocks_become_a_message(content: list[Json], message: Json) -> None:
    assert whole(content)["choices"][0]["message"] == {"role": "assistant", **message}


@pytest.mark.parametrize(("given", "wanted"), [
    ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
     {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 127, "cacheReadInputTokens": 100,
      "cacheWriteInputTokens": 20},
     {"prompt_tokens": 123, "completion_tokens": 4, "total_tokens": 127,
      "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20}}),
    (None, None),
])  # fmt: skip
def test_what_came_from_a_cache_is_counted_with_the_prompt(given: Json | None, wanted: Json | None) -> None:
    assert whole([{"text": "A"}], usage=given)["usage"] == wanted


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"output":{}}', '{"output":{"message":{"content":[3]}}}'])
def test_an_answer_that_is_none_is_said_to_be_none(text: str) -> None:
    one = reader()
    one.feed(text.encode())
    with pytest.raises(UpstreamError) as caught:
        one.end()
    assert caught.value.failure is Failure.BAD_RESPONSE


def test_the_answer_of_the_tool_for_a_schema_is_the_content() -> None:
    answer = {"toolUse": {"toolUseId": "x", "name": ANSWER_TOOL, "input": {"a": 1}}}
    found = whole([{"text": "Here it is:"}, answer], "tool_use", {"response_format": FORM})
    assert found["choices"][0] == {
        "index": 0, "message": {"role": "assistant", "content": '{"a":1}'}, "finish_reason": "stop",
    }  # fmt: skip


# Streams


def delta(number: int, **value: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": number, "delta": value, "p": "abc"})


def start(number: int, **use: Any) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": number, "start": {"toolUse": use}})


def stop(number: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": number})


def finish(reason: str) -> bytes:
    return event("messageStop", {"stopReason": reason})


METADATA = event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7,
                                        "cacheReadInputTokens": 2}, "metrics": {}})  # fmt: skip
BEGIN = event("messageStart", {"role": "assistant"})
STREAM = b"".join([
    BEGIN, delta(0, reasoningContent={"text": "H"}), delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "si"}), delta(0, reasoningContent={"signature": "g"}), stop(0),
    delta(1, text="Grü"), delta(1, text="ezi"), stop(1),
    start(2, toolUseId="s", name="code", type="server_tool_use"), delta(2, toolUse={"input": "{}"}), stop(2),
    start(3, toolUseId="c1", name="weather"), delta(3, toolUse={"input": '{"city":'}),
    delta(3, toolUse={"input": '"Bern"}'}), stop(3),
    start(4, toolUseId="c2", name="now"), delta(4, toolUse={"input": ""}), stop(4),
    finish("tool_use"), METADATA,
])  # fmt: skip


def streamed(pieces: list[bytes], fields: Json | None = None, **account: Any) -> tuple[list[Json], Any]:
    """The chunks a caller reads, by the relay's own relabelling, and the reader."""
    one = reader(fields, stream=True, **account)
    label = Label(id="chatcmpl-1", model="m", created=1, episode_id="e", tresor={})
    answer = StreamedAnswer(label, 1, 10, include_usage=True, usage_on_finish=False)
    ready = [payload for piece in pieces for chunk in one.feed(piece) for payload in answer.take(chunk)]
    ready += [payload for chunk in one.end() for payload in answer.take(chunk)]
    return [msgspec.json.decode(payload) for payload in [*ready, *answer.end()]], one


def told(chunks: list[Json]) -> Json:
    """What the deltas say together."""
    found: Json = {"content": "", "reasoning_content": "", "calls": {}, "details": [], "finish": None}
    for chunk in chunks:
        for choice in chunk["choices"]:
            given = choice["delta"]
            found["content"] += given.get("content", "")
            found["reasoning_content"] += given.get("reasoning_content", "")
            found["details"] += given.get("reasoning_details", [])
            found["finish"] = choice["finish_reason"] or found["finish"]
            for call in given.get("tool_calls", ()):
                known = found["calls"].setdefault(call["index"], {"id": call.get("id"), "name": "", "arguments": ""})
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"].get("arguments", "")
    return found


def test_a_stream_says_the_same_wherever_it_is_cut() -> None:
    """Calls are counted by themselves, a call without arguments has an empty object, usage comes after the finish."""
    wanted = {
        "content": "Grüezi", "reasoning_content": "Hm", "finish": "tool_calls",
        "calls": {0: {"id": "c1", "name": "weather", "arguments": '{"city":"Bern"}'},
                  1: {"id": "c2", "name": "now", "arguments": "{}"}},
        "details": [{"type": "reasoning.text", "text": "Hm", "signature": "sig", "format": "anthropic-claude-v1",
                     "index": 0}],
    }  # fmt: skip
    for cut in [*range(0, len(STREAM), 7), len(STREAM)]:
        chunks, one = streamed([STREAM[:cut], STREAM[cut:]])
        assert told(chunks) == wanted
        assert one.done
    chunks, one = streamed([STREAM[place : place + 1] for place in range(len(STREAM))])
    assert told(chunks) == wanted
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip


@pytest.mark.long
def test_a_stream_says_the_same_cut_at_every_byte() -> None:
    wanted = told(streamed([STREAM])[0])
    for cut in range(len(STREAM)):
        assert told(streamed([STREAM[:cut], STREAM[cut:]])[0]) == wanted


@pytest.mark.parametrize(("reason", "wanted"), [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"), ("guardrail_intervened", "content_filter"),
    ("content_filtered", "content_filter"), ("something_new", "stop"),
])  # fmt: skip
def test_reasons_to_stop(reason: str, wanted: str) -> None:
    assert told(streamed([delta(0, text="A"), finish(reason), METADATA])[0])["finish"] == wanted
    assert told(streamed([delta(0, text="A"), METADATA, finish(reason)])[0])["finish"] == wanted


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_output_that_the_model_broke_is_a_failure_of_the_route(reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed([delta(0, text="A"), finish(reason), METADATA])
    assert caught.value.failure is Failure.SERVER_ERROR


def test_a_stream_is_marked_as_over_by_its_finish_and_its_metadata() -> None:
    one = reader(stream=True)
    list(one.feed(delta(0, text="A") + finish("end_turn")))
    assert not one.done
    list(one.feed(METADATA))
    assert one.done


def test_a_stream_cut_short_is_not_whole() -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed([BEGIN, delta(0, text="A")])
    assert caught.value.failure is Failure.TRUNCATED


@pytest.mark.parametrize("broken", [
    event("contentBlockDelta", b"nonsense"), event("contentBlockDelta", {"delta": {}}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "x"}}}),
    event("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {}}}), event("messageStop", {}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": [1]}),
])  # fmt: skip
def test_an_event_of_an_unknown_shape_breaks_the_stream(broken: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        list(reader(stream=True).feed(broken))
    assert caught.value.failure is Failure.BAD_STREAM


def test_unknown_events_are_passed_over() -> None:
    new = event("somethingNew", {"x": 1}) + delta(0, somethingNew={}) + delta(0, image={"source": {}})
    assert list(reader(stream=True).feed(new + BEGIN)) == []


FORMATTED = {"response_format": FORM}


def test_a_streamed_answer_of_the_tool_for_a_schema_is_the_content() -> None:
    use = [start(1, toolUseId="x", name=ANSWER_TOOL), delta(1, toolUse={"input": '{"a"'}),
           delta(1, toolUse={"input": ":1}"}), stop(1), finish("tool_use"), METADATA]  # fmt: skip
    found = told(streamed([delta(0, text="Let me"), stop(0), *use], FORMATTED)[0])
    assert (found["content"], found["finish"], found["calls"]) == ('{"a":1}', "stop", {})


@pytest.mark.parametrize(("fields", "given", "wanted"), [
    (CHOICE, '{"answer":"red"}', "red"), ({"response_format": LIST}, '{"answer":["a"]}', '["a"]'),
    ({"response_format": LIST}, "I cannot", "I cannot"),
])  # fmt: skip
def test_what_was_held_is_taken_out_again(fields: Json, given: str, wanted: str) -> None:
    """Whole or streamed, as text or by the tool."""
    assert whole([{"text": given}], fields=fields)["choices"][0]["message"]["content"] == wanted
    texts = [delta(0, text=given[:5]), delta(0, text=given[5:]), stop(0), finish("end_turn"), METADATA]
    assert told(streamed(texts, fields)[0])["content"] == wanted
    if given.startswith("{"):
        use = {"toolUse": {"toolUseId": "x", "name": ANSWER_TOOL, "input": json.loads(given)}}
        assert whole([use], "tool_use", fields)["choices"][0]["message"]["content"] == wanted
        calls = [start(0, toolUseId="x", name=ANSWER_TOOL), delta(0, toolUse={"input": given[:5]}),
                 delta(0, toolUse={"input": given[5:]}), stop(0), finish("tool_use"), METADATA]  # fmt: skip
        assert told(streamed(calls, fields)[0])["content"] == wanted


def test_an_answer_that_is_none_of_the_choices_is_text_to_be_checked() -> None:
    found = whole([{"text": '{"answer":"green"}'}], fields=CHOICE)
    assert found["choices"][0]["message"]["content"] == "green"
    assert not CONVERSE.holds(CHOICE, "anthropic.claude-sonnet-4-5-20250929-v1:0")


def test_a_native_answer_to_a_schema_streams_as_it_comes() -> None:
    one = reader(FORMATTED, stream=True)
    [first] = one.feed(delta(0, text=" ") + delta(0, text='{"a"'))
    assert first["choices"][0]["delta"] == {"content": ' {"a"'}
    [second] = one.feed(delta(0, text=":1}"))
    assert second["choices"][0]["delta"] == {"content": ":1}"}
    refused = told(streamed([delta(0, text="I "), delta(0, text="cannot"), finish("end_turn"), METADATA], FORMATTED)[0])
    assert refused["content"] == "I cannot"


# Anthropic's wire inside InvokeModel

CLAUDE = {"api_model": "anthropic"}
DOCUMENTS = [
    {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]


def chunk(document: Any) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return event("chunk", {"bytes": base64.b64encode(raw).decode(), "p": "abcdef"})


def test_claude_may_be_asked_in_anthropics_own_words() -> None:
    """Neither the model nor whether it streams stands in the body: the address says both."""
    body, _ = write({"max_tokens": 9}, **CLAUDE)
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert body["max_tokens"] == 9
    assert body.keys().isdisjoint({"model", "stream"})
    row = make_account("b", Provider(kind="bedrock", aws_region="us-east-1", **CLAUDE))
    assert row.kind.host.url(row, "a.b:0", stream=False).endswith("/model/a.b%3A0/invoke")
    assert row.kind.host.url(row, "a.b:0", stream=True).endswith("/model/a.b%3A0/invoke-with-response-stream")
    assert (
        row.kind.wire.failure(429, {"x-amzn-errortype": "ThrottlingException"}, b"{}").failure is Failure.RATE_LIMITED
    )


def test_documents_in_frames_are_read_wherever_they_are_cut() -> None:
    stream = b"".join(map(chunk, DOCUMENTS))
    for cut in range(0, len(stream), 11):
        chunks, one = streamed([stream[:cut], stream[cut:]], **CLAUDE)
        assert (told(chunks)["content"], told(chunks)["finish"], one.done) == ("Hello", "stop", True)
    assert chunks[-1]["usage"]["total_tokens"] == 7


@pytest.mark.parametrize("broken", [event("chunk", {"x": 1}), event("chunk", {"bytes": "!"}), chunk(b"nonsense"),
                                    event("chunk", b"nonsense")])  # fmt: skip
def test_a_frame_without_a_document_breaks_the_stream(broken: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        list(reader(stream=True, **CLAUDE).feed(broken))
    assert caught.value.failure is Failure.BAD_STREAM


def test_another_wire_than_those_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="'api_model' is one of anthropic"):
        make_account("b", Provider(kind="bedrock", aws_region="us-east-1", api_model="mistral"))


# Through a gateway

EVENTS = {"content-type": "application/vnd.amazon.eventstream"}


@pytest.mark.anyio
async def test_a_stream_through_a_gateway(serve: Serve) -> None:
    pieces = [Chunk(STREAM[place : place + 50]) for place in range(0, len(STREAM), 50)]
    stream = [head(200, EVENTS), *pieces, LAST_CHUNK]
    async with ScriptedUpstream(handler=lambda _: stream) as upstream:
        row = provider(upstream.origin, kind="bedrock", api_key="key")
        async with serve({"acme": row}, {"m": model("acme", upstream_model=SONNET)}) as gateway:
            reply = await gateway.chat(stream=True, tools=[WEATHER])
            assert reply.done
            assert told(reply.chunks)["content"] == "Grüezi"
            assert (await gateway.row()).prompt_tokens == 5
    [received] = upstream.requests
    assert received.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert received.headers["authorization"] == "Bearer key"
    assert received.headers["accept"] == EVENTS["content-type"]


@pytest.mark.anyio
async def test_a_throttled_route_is_left(serve: Serve) -> None:
    """Also where the stream had begun with a 200, and only its first frame says so."""
    first = frame(b'{"message":"x"}', message_type="exception", exception_type="throttlingException")
    busy = [head(200, EVENTS), Chunk(BEGIN + first), LAST_CHUNK]
    refused = json_answer({"message": "x"}, 429, {"x-amzn-errortype": "ThrottlingException"})
    good = [head(200, EVENTS), Chunk(STREAM), LAST_CHUNK]
    async with (
        ScriptedUpstream(handler=lambda _: busy) as one,
        ScriptedUpstream(handler=lambda _: refused) as two,
        ScriptedUpstream(handler=lambda _: good) as three,
    ):
        rows = {name: Provider(kind="bedrock", base_url=each.origin, api_key=(Secret("k"),))
                for name, each in (("one", one), ("two", two), ("three", three))}  # fmt: skip
        routes = tuple(Route(provider=name, model=SONNET) for name in rows)
        async with serve(rows, {"m": Model(routes=routes)}) as gateway:
            reply = await gateway.chat(stream=True)
            assert told(reply.chunks)["content"] == "Grüezi"
            assert (await gateway.row()).routed_model == "global/three/m"


@pytest.mark.anyio
async def test_recorded_answers_reach_callers_unchanged(serve: Serve) -> None:
    if why := recorded.missing():
        pytest.skip(why)
    with recorded.upstream() as replay:
        plan = [case for case in recorded.cases(replay, "split=awkward,delay=0") if case["provider"] == "bedrock"]
        async with serve(*recorded.configured(plan)) as gateway:
            found = {case["case"]: recorded.judge().judge(case, *await recorded.ask(gateway, case))[0] for case in plan}
    assert plan
    assert {case: bad for case, bad in found.items() if bad} == {}


# Citations

PLACES = [
    ({"documentPage": {"documentIndex": 1, "start": 3, "end": 4}}, "document:1#page=3"),
    ({"documentChar": {"documentIndex": 0, "start": 2, "end": 9}}, "document:0#char=2,9"),
    ({"documentChunk": {"documentIndex": 2, "start": 0, "end": 1}}, "document:2"),
    ({"web": {"url": "https://e.example/a", "domain": "e.example"}}, "https://e.example/a"),
    ({"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}}, "https://s.example"),
]


@pytest.mark.parametrize(("location", "url"), PLACES)
def test_citations_are_annotations_of_their_piece_of_text_whole_and_streamed(location: Json, url: str) -> None:
    citation = {"title": "T", "source": "https://s.example", "location": location}
    blocks = [{"text": "One. "}, {"citationsContent": {"content": [{"text": "Two."}], "citations": [citation]}},
              {"text": " Three."}]  # fmt: skip
    [cited] = whole(blocks)["choices"][0]["message"]["annotations"]
    assert cited == {"type": "url_citation", "url_citation": {
        "start_index": 5, "end_index": 9, "title": "T", "url": url}}  # fmt: skip
    pieces = [
        delta(0, text="One. "), event("contentBlockStop", {"contentBlockIndex": 0}), delta(1, citation=citation),
        delta(1, text="Tw"), delta(1, text="o."), event("contentBlockStop", {"contentBlockIndex": 1}),
        delta(2, text=" Three."), finish("end_turn"), METADATA,
    ]  # fmt: skip
    deltas = [choice["delta"] for each in streamed(pieces)[0] for choice in each["choices"]]
    assert [each["annotations"] for each in deltas if "annotations" in each] == [[cited]]


def test_a_file_may_be_asked_to_be_cited_in_the_providers_own_terms() -> None:
    file = {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}
    part = {"type": "file", "file": file, "citations": {"enabled": True}, "context": "C"}
    turns = [{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {}}}}}
    body, _ = write({"messages": turns, "response_format": form})
    [document] = [each["document"] for each in body["messages"][0]["content"] if "document" in each]
    assert (document["citations"], document["context"]) == ({"enabled": True}, "C")
    assert "outputConfig" not in body, "a form of the provider's own and citations do not go together"
    assert not CONVERSE.holds({"messages": turns, "response_format": form}, SONNET)


def test_a_newest_model_that_cannot_be_made_to_call_a_tool_is_asked_in_words() -> None:
    newest = "anthropic.claude-opus-5-5"
    body, said = write({"response_format": {"type": "json_object"}}, newest)
    assert "toolConfig" not in body
    assert body["system"] == [{"text": IN_WORDS}]
    assert [(each.param, each.action) for each in said] == [("response_format", "emulated")]
    assert not CONVERSE.holds({"messages": [], "response_format": {"type": "json_object"}}, newest)
    assert "tool_required" not in KINDS["bedrock"].native(newest)
