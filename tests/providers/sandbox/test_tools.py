"""Tool calls: which, how many, with what arguments, and how they are streamed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from lark import Lark

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get weather information",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
TIME = {
    "type": "function",
    "function": {"name": "currentTime", "strict": True, "parameters": {"type": "object", "properties": {"zone": {}}}},
}
BARE = {"type": "function", "function": {"name": "ping"}}
LARK = 'start: "SELECT" NAME\nNAME: /[a-z]+/\n%ignore " "'
SQL = {
    "type": "custom",
    "custom": {"name": "run_sql", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": LARK}}},
}
NOTE = {"type": "custom", "custom": {"name": "note"}}
CODE = {
    "type": "custom",
    "custom": {"name": "code", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-f]{4}"}}},
}
TOOLS = [WEATHER, TIME, BARE]


def calls(answer: Any) -> list[Any]:
    assert answer.status == 200, answer.json
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
    assert answer.message["content"] is None
    found: list[Any] = answer.message["tool_calls"]
    return found


def names(answer: Any) -> list[str]:
    return [call[call["type"]]["name"] for call in calls(answer)]


@pytest.mark.anyio
async def test_with_auto_the_tool_the_user_speaks_of_is_called(chat: Any) -> None:
    """Words of its name decide; else the first."""
    assert names(await chat("What time is it?", tools=TOOLS)) == ["currentTime"]
    assert names(await chat("How is the weather in Lima?", tools=TOOLS)) == ["get_weather"]
    assert names(await chat("Hello", tools=TOOLS, tool_choice="auto")) == ["get_weather"]


@pytest.mark.anyio
async def test_arguments_satisfy_the_tools_schema(chat: Any) -> None:
    """A JSON object as text; a tool without parameters gets an empty one; ids are unique."""
    for seed in range(8):
        call = calls(await chat("weather", tools=TOOLS, seed=seed))[0]
        parameters: Any = WEATHER["function"]["parameters"]  # type: ignore[index]
        jsonschema.validate(json.loads(call["function"]["arguments"]), parameters)
        assert call["id"].startswith("call_")
    ping = await chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "ping"}})
    assert calls(ping)[0]["function"] == {"name": "ping", "arguments": "{}"}


@pytest.mark.anyio
async def test_two_calls_where_the_user_asks_for_two_things(chat: Any) -> None:
    """Two tools, or one tool for two places; one call where parallel calls are switched off."""
    both = "What are the time and the weather in Lima?"
    assert sorted(names(await chat(both, tools=TOOLS))) == ["currentTime", "get_weather"]
    places = "Compare the weather in San Francisco and in Lima"
    answer = await chat(places, tools=TOOLS)
    assert names(answer) == ["get_weather", "get_weather"]
    where = [json.loads(call["function"]["arguments"])["location"] for call in calls(answer)]
    assert where == ["San Francisco", "Lima"]
    assert len({call["id"] for call in calls(answer)}) == 2
    for said in (both, places):
        assert len(names(await chat(said, tools=TOOLS, parallel_tool_calls=False))) == 1


def after_results() -> list[Any]:
    return [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "note", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 12}'},
        {"role": "tool", "tool_call_id": "c2", "content": "done"},
    ]


@pytest.mark.anyio
async def test_after_tool_results_the_answer_is_text_that_mentions_them(chat: Any) -> None:
    """So that a tool loop comes to an end."""
    content = (await chat(after_results(), tools=[WEATHER, NOTE])).content
    assert 'The tool get_weather said: {"degrees": 12}' in content
    assert "The tool note said: done" in content


@pytest.mark.anyio
async def test_required_and_named_call_even_after_results(chat: Any) -> None:
    """Because the caller says so."""
    assert names(await chat(after_results(), tools=TOOLS, tool_choice="required"))
    named = {"type": "function", "function": {"name": "currentTime"}}
    said = "weather and time in Lima and in Oslo"
    assert names(await chat(said, tools=TOOLS, tool_choice=named)) == ["currentTime"]


@pytest.mark.anyio
async def test_none_calls_nothing(chat: Any) -> None:
    """Nor does a request with no tools."""
    for fields in ({"tools": TOOLS, "tool_choice": "none"}, {"tools": []}, {"tool_choice": "auto"}):
        answer = await chat("weather", **fields)
        assert "tool_calls" not in answer.message
        assert answer.json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.anyio
async def test_allowed_tools_leave_only_some(chat: Any) -> None:
    """With their own mode."""
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "ping"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert names(await chat("weather", tools=TOOLS, tool_choice=choice)) == ["ping"]
    allowed["mode"] = "auto"
    assert "tool_calls" not in (await chat(after_results(), tools=TOOLS, tool_choice=choice)).message


@pytest.mark.anyio
async def test_custom_tools_get_text_by_their_format(chat: Any) -> None:
    """A Lark grammar, a regular expression, or free text."""

    def named(name: str) -> Any:
        return {"type": "custom", "custom": {"name": name}}

    tools = [SQL, NOTE, CODE]
    call = calls(await chat(tools=tools, tool_choice=named("run_sql")))[0]
    assert call["type"] == "custom"
    Lark(LARK).parse(call["custom"]["input"])
    code = calls(await chat(tools=tools, tool_choice=named("code")))[0]["custom"]
    assert set(code["input"]) <= set("abcdef")
    assert len(code["input"]) == 4
    assert calls(await chat("Buy milk", tools=tools, tool_choice=named("note")))[0]["custom"]["input"] == "Buy milk"


@pytest.mark.anyio
async def test_a_call_is_streamed_as_head_and_pieces(chat: Any) -> None:
    """Id and name only first, then the arguments in pieces; indices by order; the sum is the whole answer's call."""
    said = "weather in San Francisco and in Lima"
    whole = calls(await chat(said, tools=[WEATHER, NOTE]))
    streamed = await chat(said, tools=[WEATHER, NOTE], stream=True)
    joined: dict[int, Any] = {}
    for deltas in streamed.deltas("tool_calls"):
        (delta,) = deltas
        if "id" in delta:
            assert delta["index"] == len(joined)
            joined[delta["index"]] = {key: delta[key] for key in ("id", "type", "function")}
        else:
            assert "name" not in delta["function"]
            joined[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    assert list(joined.values()) == whole
    assert len(streamed.deltas("tool_calls")) > 8
    assert streamed.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert streamed.events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.anyio
async def test_a_custom_call_is_streamed_so_too(chat: Any) -> None:
    """With ``custom`` and ``input``."""
    streamed = await chat("Buy some milk", tools=[NOTE], stream=True)
    deltas = [delta for (delta,) in streamed.deltas("tool_calls")]
    assert deltas[0]["type"] == "custom"
    assert deltas[0]["custom"] == {"name": "note", "input": ""}
    assert "".join(delta["custom"]["input"] for delta in deltas[1:]) == "Buy some milk"


@pytest.mark.anyio
async def test_the_limit_breaks_a_call_off(chat: Any) -> None:
    """Finish ``length``, and exactly as many tokens as allowed."""
    whole = await chat("weather in San Francisco and in Lima", tools=[WEATHER])
    total = whole.json["usage"]["completion_tokens"]
    for limit in range(1, total):
        cut = await chat("weather in San Francisco and in Lima", tools=[WEATHER], max_tokens=limit)
        assert cut.json["choices"][0]["finish_reason"] == "length"
        assert cut.json["usage"]["completion_tokens"] <= limit
    enough = await chat("weather in San Francisco and in Lima", tools=[WEATHER], max_tokens=total)
    assert enough.json["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.anyio
async def test_the_deprecated_functions_work(chat: Any) -> None:
    """One call at most, in ``function_call``, whole and streamed."""
    functions = [WEATHER["function"], BARE["function"]]
    answer = await chat("weather", functions=functions)
    assert answer.json["choices"][0]["finish_reason"] == "function_call"
    assert answer.message["function_call"]["name"] == "get_weather"
    assert json.loads(answer.message["function_call"]["arguments"])
    streamed = await chat("weather", functions=functions, stream=True)
    deltas = streamed.deltas("function_call")
    assert deltas[0] == {"name": "get_weather", "arguments": ""}
    assert "".join(delta["arguments"] for delta in deltas) == answer.message["function_call"]["arguments"]
    ping = await chat("weather", functions=functions, function_call={"name": "ping"})
    assert ping.message["function_call"] == {"name": "ping", "arguments": "{}"}
    assert "function_call" not in (await chat("x", functions=functions, function_call="none")).message


@pytest.mark.anyio
async def test_prompt_tokens_count_the_tools(chat: Any) -> None:
    """Definitions are read, so they cost."""
    plain = (await chat("weather")).json["usage"]["prompt_tokens"]
    assert (await chat("weather", tools=TOOLS)).json["usage"]["prompt_tokens"] > plain + 40


NO_PARAMETERS = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": 5}}}
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "tools that are none": ({"tools": 5}, "tools", "invalid_type"),
    "a tool that is none": ({"tools": [5]}, "tools[0]", "invalid_value"),
    "an unknown kind": ({"tools": [{"type": "web"}]}, "tools[0]", "invalid_value"),
    "no name": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "invalid_value"),
    "a broken schema": ({"tools": [NO_PARAMETERS]}, "tools[0].function.parameters", "unsupported_schema"),
    "a schema that is no object's": (
        {"tools": [BARE, {"type": "function", "function": {"name": "g", "parameters": {"type": "string"}}}],
         "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tools[1].function.parameters",
        "unsupported_schema",
    ),
    "an unknown choice": ({"tools": TOOLS, "tool_choice": "maybe"}, "tool_choice", "invalid_value"),
    "a choice of a tool not offered": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}},
        "tool_choice",
        "invalid_value",
    ),
    "a choice in no known form": ({"tools": TOOLS, "tool_choice": {"type": "x"}}, "tool_choice", "invalid_value"),
    "no allowed tools": ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "invalid_value"),
    "a choice without tools": ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    "a flag that is none": ({"tools": TOOLS, "parallel_tool_calls": 1}, "parallel_tool_calls", "invalid_type"),
    "a format that is none": (
        {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar"}}}]},
        "tools[0].custom.format",
        "invalid_value",
    ),
    "look-around in a custom tool": (
        {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {
            "syntax": "regex", "definition": "(?=a)"}}}}]},
        "tools[0].custom.format",
        "unsupported_schema",
    ),
    "functions that are none": ({"functions": [5]}, "functions", "invalid_type"),
    "a function not offered": (
        {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
        "function_call",
        "invalid_value",
    ),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("name", WRONG)
async def test_malformed_tools_are_400_with_their_place(chat: Any, name: str) -> None:
    """The parameter names the place, the code says whether it is the form or the schema."""
    fields, param, code = WRONG[name]
    answer = await chat(**fields)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)
