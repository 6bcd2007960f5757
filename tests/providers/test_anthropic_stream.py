"""Answers of the Messages API as OpenAI's, streamed and whole: the same whatever the pieces they come in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.anthropic import MESSAGES
from sealgate.providers.anthropic_stream import AnthropicStreamReader
from sealgate.testing import Received, Send, sse
from sealgate.testing.anthropic_wire import Message, thinking, tool_use
from sealgate.testing.script import Chunk

Json = dict[str, Any]
RECORDED = Path(__file__).parents[3] / "shared" / "recorded" / "anthropic"
ASKED = Received.sample()
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}
ANSWER = "sealgate_answer"


def events(message: Message) -> list[bytes]:
    return [sse(each, event=each["type"]) for each in message.events(ASKED)]


def read(pieces: Iterable[bytes], fields: Json | None = None, *, stream: bool = True) -> list[Json]:
    """Everything a reader says, an error at the end included."""
    reader = MESSAGES.reader(fields or {}, stream=stream)
    said: list[Json] = []
    try:
        for piece in pieces:
            said.extend(reader.feed(piece))
        said.extend(reader.end())
    except UpstreamError as error:
        said.append({"failure": error.failure, "text": error.text})
    return said


def told(chunks: Sequence[Json]) -> Json:
    """What chunks, or one completion, amount to: a message, why it ended, usage, model."""
    message: Json = {}
    found: Json = {"message": message, "finish": None, "usage": None, "model": None}
    for chunk in chunks:
        found.update({name: chunk[name] for name in ("usage", "model", "failure") if chunk.get(name) is not None})
        for choice in chunk.get("choices", ()):
            found["finish"] = choice["finish_reason"] or found["finish"]
            for name, value in (choice.get("delta") or choice.get("message") or {}).items():
                if name == "tool_calls" and "delta" in choice:
                    _add_calls(message.setdefault(name, []), value)
                elif value is not None and name != "role":
                    message[name] = message[name] + value if name in message else value
    return found


def _add_calls(calls: list[Json], deltas: list[Json]) -> None:
    for delta in deltas:
        if delta["index"] == len(calls):
            calls.append({name: value for name, value in delta.items() if name != "index"})
        else:
            call = calls[delta["index"]]["function"]
            call["arguments"] += delta["function"]["arguments"]


def both(message: Message, fields: Json | None = None, *, usage: bool = True) -> Json:
    """What an answer amounts to, streamed and whole, which must be the same (but for ``usage``, if need be)."""
    streamed = told(read(events(message), fields))
    whole = told(read([json.dumps(message.document(ASKED)).encode()], fields, stream=False))
    for found in (streamed, whole):
        for call in found["message"].get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        if not usage:
            del found["usage"]
    assert streamed == whole
    return streamed


def call(name: str, arguments: Json) -> Json:
    return {"id": f"toolu_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


# Content


def test_text_is_content() -> None:
    found = both(Message("Grüße, 🌍!", model="claude-x"))
    assert (found["message"], found["finish"], found["model"]) == ({"content": "Grüße, 🌍!"}, "stop", "claude-x")


def test_calls_of_tools_are_numbered_by_themselves_and_may_have_no_arguments() -> None:
    blocks = [thinking("Hm."), tool_use("a", {"x": [1, "é"]}),
              {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
              {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
              tool_use("b", {})]  # fmt: skip
    found = both(Message("Wait.", blocks=blocks))
    assert found["message"]["tool_calls"] == [call("a", {"x": [1, "é"]}), call("b", {})]
    assert found["finish"] == "tool_calls"


def test_a_call_begins_with_its_name_and_goes_on_without_it() -> None:
    chunks = read(events(Message(blocks=[tool_use("a", {"x": 1})])))
    first, *others = [delta for chunk in chunks for choice in chunk["choices"]
                      for delta in choice["delta"].get("tool_calls", ())]  # fmt: skip
    assert first == {"index": 0, "id": "toolu_a", "type": "function", "function": {"name": "a", "arguments": ""}}
    assert [set(other) for other in others] == [{"index", "function"}] * len(others)


def test_arguments_may_come_with_the_start_of_a_call() -> None:
    block = tool_use("a", {"x": 1})
    documents = [{"type": "content_block_start", "index": 0, "content_block": block},
                 {"type": "content_block_stop", "index": 0}]  # fmt: skip
    [found] = told(read(sse(each) for each in documents))["message"]["tool_calls"]
    assert found["function"]["arguments"] == '{"x":1}'


def test_what_the_providers_own_tools_did_is_not_shown() -> None:
    blocks = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}},
              {"type": "text", "text": "Found."}]  # fmt: skip
    found = both(Message(blocks=blocks, stop_reason="tool_use"))
    assert (found["message"], found["finish"]) == ({"content": "Found."}, "stop")


def test_thinking_is_reasoning_with_what_it_takes_to_send_it_back() -> None:
    blocks = [thinking("Let me see."), {"type": "redacted_thinking", "data": "c2VjcmV0"}, {"type": "text", "text": "4"}]
    message = both(Message(blocks=blocks))["message"]
    assert (message["reasoning_content"], message["content"]) == ("Let me see.", "4")
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Let me see.", "signature": "signature-of-the-tests",
         "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VjcmV0", "format": "anthropic-claude-v1", "index": 1},
    ]  # fmt: skip


def test_citations_are_annotations_of_their_piece_of_text() -> None:
    web = {"type": "web_search_result_location", "url": "https://example.com/a", "title": "A", "cited_text": "x"}
    page = {"type": "page_location", "document_index": 1, "document_title": "B", "start_page_number": 3,
            "end_page_number": 4}  # fmt: skip
    letters = {"type": "char_location", "document_index": 0, "start_char_index": 2, "end_char_index": 9}
    section = {"type": "content_block_location", "document_index": 2}
    blocks = [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two.", "citations": [web, page]},
              {"type": "text", "text": " Three.", "citations": [letters, section]}]  # fmt: skip
    found = both(Message(blocks=blocks))["message"]
    cited = [each["url_citation"] for each in found["annotations"]]
    assert {each["type"] for each in found["annotations"]} == {"url_citation"}
    assert [(found["content"][each["start_index"] : each["end_index"]], each["url"], each["title"])
            for each in cited] == [
        ("Two.", "https://example.com/a", "A"), ("Two.", "document:1#page=3", "B"),
        (" Three.", "document:0#char=2,9", ""), (" Three.", "document:2", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("pause_turn", "length"),
     ("model_context_window_exceeded", "length"), ("refusal", "content_filter"), ("something_new", "something_new")],
)  # fmt: skip
def test_the_reason_why_it_ended_has_openais_word(reason: str, wanted: str) -> None:
    assert both(Message(stop_reason=reason))["finish"] == wanted


@pytest.mark.parametrize(
    ("details", "wanted"),
    [({"category": "cyber", "explanation": "Not this."}, "Not this."), ({"category": "bio"}, "bio"), (None, None)],
)
def test_a_refusal_says_why(details: Json | None, wanted: str | None) -> None:
    found = both(Message("Well,", stop_reason="refusal", stop_details=details))
    assert (found["message"].get("refusal"), found["message"]["content"]) == (wanted, "Well,")


# Usage


def test_what_a_cache_had_and_was_given_is_a_part_of_the_prompt() -> None:
    usage = {"input_tokens": 2, "cache_read_input_tokens": 3000, "cache_creation_input_tokens": 51,
             "output_tokens": 24, "output_tokens_details": {"thinking_tokens": 9}}  # fmt: skip
    assert both(Message(usage=usage))["usage"] == {
        "prompt_tokens": 3053, "completion_tokens": 24, "total_tokens": 3077,
        "prompt_tokens_details": {"cached_tokens": 3000, "cache_write_tokens": 51},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "later", "wanted"),
    [
        ({"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}, [{"output_tokens": 9}], (12, 9)),
        ({"input_tokens": 0, "output_tokens": 0}, [{"input_tokens": 32, "output_tokens": 16}], (32, 16)),
        ({"input_tokens": 700, "output_tokens": 1}, [{"input_tokens": 1591, "output_tokens": 3}], (1591, 3)),
        ({"input_tokens": 5, "output_tokens": 1}, [{"output_tokens": 2}, {"output_tokens": 4}], (5, 4)),
        ({"input_tokens": 5, "output_tokens": None}, [{"input_tokens": 0, "output_tokens": 4}], (5, 4)),
    ],
)
def test_usage_comes_in_parts_that_grow(start: Json, later: list[Json], wanted: tuple[int, int]) -> None:
    documents: list[Json] = [{"type": "message_start", "message": {"usage": start}}]
    documents += [{"type": "message_delta", "delta": {}, "usage": each} for each in later]
    usage = told(read(sse(each) for each in documents))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == wanted


def test_an_answer_may_say_nothing_of_usage() -> None:
    assert both(Message(usage={}))["usage"] is None


# The answer as a tool's arguments, and values held by objects


@pytest.mark.parametrize(
    ("fields", "block", "wanted"),
    [
        (FORM, tool_use(ANSWER, {"a": [1]}), '{"a":[1]}'),
        (FORM, tool_use(ANSWER, {}), "{}"),
        ({"guided_json": {"type": "array"}}, tool_use(ANSWER, {"answer": [1, 2]}), "[1,2]"),
        ({"guided_json": {"type": "string"}}, {"type": "text", "text": '{"answer": "é"}'}, '"é"'),
        ({"guided_choice": ["yes", "no"]}, tool_use(ANSWER, {"answer": "yes"}), "yes"),
        ({"guided_choice": ["yes", "no"]}, {"type": "text", "text": '{"answer": "no"}'}, "no"),
        ({"guided_choice": ["yes", "no"]}, {"type": "text", "text": '{"answer": "n'}, '{"answer": "n'),
    ],
)
def test_a_prescribed_answer_is_content(fields: Json, block: Json, wanted: str) -> None:
    found = both(Message(blocks=[block]), fields)
    assert (found["message"], found["finish"]) == ({"content": wanted}, "stop")


@pytest.mark.parametrize("value", ["maybe", 1, ["yes"]])
def test_a_choice_that_was_not_given_is_text_to_be_checked(value: Any) -> None:
    message = Message(blocks=[tool_use(ANSWER, {"answer": value})])
    fields = {"guided_choice": ["yes", "no"]}
    said = value if isinstance(value, str) else json.dumps(value)
    assert both(message, fields)["message"] == {"content": said}
    assert not MESSAGES.holds(fields, "claude-sonnet-4-5")


def test_calls_beside_a_prescribed_answer_stay_calls() -> None:
    found = both(Message(blocks=[tool_use("a", {})]), FORM)
    assert (found["message"], found["finish"]) == ({"tool_calls": [call("a", {})]}, "tool_calls")
    assert both(Message(blocks=[tool_use(ANSWER, {})]))["message"]["tool_calls"], "nobody asked for a form"


# Stop texts that the provider refuses


@pytest.mark.parametrize(
    ("stop", "texts", "wanted"),
    [
        ("\n", ["One\nTwo"], "One"),
        (["###", "\n\n"], ["One\nTwo\n\nThree"], "One\nTwo"),
        ("\n\n", ["One \n \nTwo"], "One \n \nTwo"),
        ("\n\n", ["One\n", "\nTwo"], "One\n\nTwo"),
        (["\n\n", " \n"], ["One \nTwo\n\n"], "One"),
    ],
)
def test_white_space_ends_the_answer_where_it_is_a_stop(stop: Any, texts: list[str], wanted: str) -> None:
    message = Message(blocks=[{"type": "text", "text": text} for text in texts])
    whole = b"".join(events(message))
    cut = wanted != "".join(texts)
    for pieces in ([whole], events(message), [whole[place : place + 1] for place in range(len(whole))]):
        found = told(read(pieces, {"stop": stop}))
        assert (found["message"], found["finish"]) == ({"content": wanted}, "stop")
        assert found["usage"].get("so_far", False) == cut, "how long it was is said at its end only"
    body = json.dumps(message.document(ASKED)).encode()
    found = told(read([body], {"stop": stop}, stream=False))
    assert (found["message"], found["finish"]) == ({"content": wanted}, "stop")


def test_what_follows_a_stop_is_no_part_of_the_answer() -> None:
    message = Message("One\nTwo", blocks=[tool_use("a", {})])
    for fields in ({"stop": "\n"}, {"stop": ["\n", "x"]}):
        assert both(message, fields, usage=False)["message"] == {"content": "One"}
    assert "tool_calls" in both(message, {"stop": "\n\n"})["message"]


# Pieces

SAMPLES = [
    Message("Grüße, 🌍! Line\nbreaks and \\ signs."),
    Message("So:", blocks=[thinking("Hm, 🤔."), tool_use("a", {"x": "é" * 20}), tool_use("b", {})]),
]


@pytest.mark.parametrize("message", SAMPLES)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_pieces_change_nothing(message: Message, newline: str) -> None:
    whole = b"".join(sse(each, event=each["type"], newline=newline) for each in message.events(ASKED))
    expected = read([whole])
    assert read(events(message)) == expected
    assert read(whole[place : place + 1] for place in range(len(whole))) == expected
    chance = random.Random(1)
    for _ in range(20):
        assert read(_cut(whole, chance)) == expected


def _cut(whole: bytes, chance: random.Random) -> Iterator[bytes]:
    place = 0
    while place < len(whole):
        size = chance.randint(1, 90)
        yield whole[place : place + size]
        place += size


def test_documents_may_come_without_events() -> None:
    """As in the frames of other hosts, whose decoding is not this reader's business."""
    reader = AnthropicStreamReader({})
    chunks = [chunk for document in SAMPLES[1].events(ASKED) for chunk in reader.feed_event(b"chunk", document)]
    assert chunks == read(events(SAMPLES[1]))
    assert reader.done


def test_comments_pings_and_what_is_not_known_yet_say_nothing() -> None:
    first, *others = events(Message("Hi"))
    noise = [b": keep-alive\n\n", sse({"type": "ping"}, event="ping"), sse({"type": "vibe"}), sse({}, event="ping"),
             sse({"type": "content_block_start", "index": 9, "content_block": {"type": "vibe"}}),
             sse({"type": "content_block_delta", "index": 9, "delta": {"type": "vibe_delta"}}),
             *(sse({"type": "content_block_stop", "index": index}) for index in (9, 10))]  # fmt: skip
    assert read([first, *noise, *others]) == read([first, *others])


def test_after_the_end_nothing_is_read() -> None:
    reader = MESSAGES.reader({}, stream=True)
    list(reader.feed(b"".join(events(Message("Hi")))))
    assert reader.done
    assert list(reader.feed(sse({"type": "error", "error": {}}) + b"data: nonsense\n\n")) == []
    other = MESSAGES.reader({}, stream=True)
    list(other.feed(b"event: data\ndata: [DONE]\n\n"))
    assert other.done


def test_a_block_whose_start_was_left_out_is_of_its_deltas_kind() -> None:
    kept = [each for each in Message("Hi there").events(ASKED) if each["type"] != "content_block_start"]
    assert told(read(sse(each) for each in kept))["message"] == {"content": "Hi there"}


# Failures


@pytest.mark.parametrize("glued", [False, True])
def test_what_came_before_an_error_is_not_lost(glued: bool) -> None:
    pieces = [*events(Message("Hi"))[:4], sse({"type": "error", "error": {"type": "overloaded_error"}}, event="error")]
    *before, last = read([b"".join(pieces)] if glued else pieces)
    assert told(before)["message"] == {"content": "Hi"}
    assert last["failure"] is Failure.OVERLOADED


@pytest.mark.parametrize(
    "sent",
    [
        b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n", sse({"type": "message_start"}),
        sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}),
        sse({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}}),
        sse({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}),
        sse({"type": "content_block_start", "index": [], "content_block": {"type": "text"}}),
        sse({"type": "message_delta", "delta": [1]}), b"data: " + b"x" * (9 * 1024 * 1024),
    ],
)  # fmt: skip
def test_nonsense_is_a_broken_stream(sent: bytes) -> None:
    assert read([sent])[-1]["failure"] is Failure.BAD_STREAM


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (b"", Failure.BAD_RESPONSE), (b"[]", Failure.BAD_RESPONSE), (b'{"content": 1}', Failure.BAD_RESPONSE),
        (b'{"content": [{"type": "tool_use"}]}', Failure.BAD_RESPONSE), (b"{}", Failure.BAD_RESPONSE),
        (b'{"type":"error","error":{"type":"rate_limit_error"}}', Failure.RATE_LIMITED),
        (b'{"error":{"message":"no"}}', Failure.SERVER_ERROR),
    ],
)  # fmt: skip
def test_a_whole_answer_that_is_none_fails(sent: bytes, wanted: Failure) -> None:
    assert read([sent], stream=False)[-1]["failure"] is wanted


def test_a_whole_answer_has_a_greatest_size() -> None:
    piece = b"x" * (16 * 1024 * 1024)
    assert read([piece] * 5, stream=False)[-1]["failure"] is Failure.TOO_LARGE


# Recorded answers


def _recorded() -> list[Any]:
    if not RECORDED.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip("there are no recordings beside the project"))]
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDED.glob("*.json"))]
    return [pytest.param(case, id=case["id"]) for case in cases]


@pytest.mark.parametrize("case", _recorded())
def test_recorded_answers_are_read_as_they_were_meant(case: Json) -> None:
    body, expected = case["response"]["body"].encode(), case["expect"]
    if case["response"]["status"] != 200:
        error = MESSAGES.failure(case["response"]["status"], case["response"]["headers"], body)
        assert error.text == expected["error"]["message"]
        return
    stream = "stream" in case["features"]
    chunks = read([body], stream=stream)
    assert read((body[place : place + 7] for place in range(0, len(body), 7)), stream=stream) == chunks
    found = told(chunks)
    message = found["message"]
    calls = [(each["id"], each["function"]["name"], json.loads(each["function"]["arguments"]))
             for each in message.get("tool_calls", ())]  # fmt: skip
    assert message.get("content", "") == expected.get("text", "")
    assert calls == [(each["id"], each["name"], each["arguments"]) for each in expected.get("tool_calls", ())]
    assert message.get("reasoning_content", "") == expected.get("reasoning", "")
    if "error" in expected:
        assert found["failure"] is Failure.OVERLOADED
        return
    assert found["finish"] in expected["finish_openai"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert found["usage"][name] == expected["usage"][name]


def test_the_scripted_upstream_sends_what_a_reader_takes() -> None:
    steps = list(Message("Hi")(ASKED))
    assert [step.data for step in steps if isinstance(step, Chunk)] == events(Message("Hi"))
    assert isinstance(steps[-1], Send)
