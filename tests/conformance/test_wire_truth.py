"""The wire is the truth: what is really sent is what the documentation says, both ways, for each row and parameter.

The pages are read as they lie in ``docs/providers``, not made anew. A tap at the provider sees two requests: a plain
one, and one with the parameter; the difference between the two is what became of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.conformance.matrix import EVERY, Json, Row, adjusted, good
from tests.conformance.test_parameters import VALUES

from sealgate.providers.capabilities import CONTRACT, HINTS
from sealgate.providers.fates import DOCUMENTED

PAGES = Path(__file__).parents[2] / "docs" / "providers"
HELLO: Json = {"role": "user", "content": "Hello"}
CITY: Json = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
}  # fmt: skip
WEATHER: Json = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
NOW: Json = {"type": "function", "function": {"name": "now"}}
NAMED: Json = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED: Json = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
FORMAT: Json = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": CITY}}
TOOLS: Json = {"tools": [WEATHER, NOW]}

SAMPLES: dict[str, list[tuple[Json, Json]]] = {
    **{name: [({}, {name: value})] for name, value in VALUES.items()},
    "temperature": [({}, {"temperature": 0.25})],
    "top_p": [({}, {"top_p": 0.75})],
    "frequency_penalty": [({}, {"frequency_penalty": 0.5})],
    "presence_penalty": [({}, {"presence_penalty": -0.5})],
    "max_tokens": [({}, {"max_tokens": 4711})],
    "max_completion_tokens": [({}, {"max_completion_tokens": 4711})],
    "n": [({}, {"n": 2})],
    "stop": [({}, {"stop": "END"}), ({}, {"stop": ["END", "FIN"]})],
    "logprobs": [({}, {"logprobs": True}), ({}, {"logprobs": False})],
    "top_logprobs": [({"logprobs": True}, {"top_logprobs": 2})],
    "reasoning_effort": [
        ({"max_tokens": 5000}, {"reasoning_effort": level})
        for level in ("none", "minimal", "low", "medium", "high", "max")
    ],
    "tools": [({}, TOOLS)],
    "tool_choice": [
        (TOOLS, {"tool_choice": choice})
        for choice in ("none", "required", NAMED, ALLOWED)
    ],
    "parallel_tool_calls": [(TOOLS, {"parallel_tool_calls": False})],
    "response_format": [({}, {"response_format": {"type": "json_object"}}), ({}, {"response_format": FORMAT})],
    "guided_json": [({}, {"guided_json": CITY})],
    "guided_choice": [({}, {"guided_choice": ["yes", "no"]})],
    "guided_regex": [({}, {"guided_regex": "[a-z]+"})],
    "guided_grammar": [({}, {"guided_grammar": 'root ::= "yes" | "no"'})],
    "structural_tag": [({}, {"structural_tag": {"type": "structural_tag", "structures": [], "triggers": ["<a"]}})],
    "structured_outputs": [({}, {"structured_outputs": {"regex": "[a-z]+"}})],
    "guided_whitespace_pattern": [
        ({}, {"guided_whitespace_pattern": "[4711]"}), ({"guided_json": CITY}, {"guided_whitespace_pattern": "[4711]"}),
    ],
    "messages": [
        ({}, {"messages": [{"role": "developer", "content": "d"}, HELLO]}),
        ({}, {"messages": [{"role": "user", "content": "u", "name": "n"}]}),
        ({}, {"messages": [HELLO, {"role": "assistant", "content": "a", "reasoning_content": "r"}, HELLO]}),
        ({}, {"messages": [HELLO, {"role": "assistant", "content": "a"}, HELLO]}),
    ],
}  # fmt: skip
"""For each parameter: what is asked besides, and the parameter."""
ANSWERS = dict.fromkeys(
    ("guided_choice", "guided_regex", "guided_grammar", "structural_tag", "structured_outputs"), "yes"
)
BY_A_TOOL = {"tools", "tool_choice", "toolConfig", "additionalModelRequestFields"}
IN_WORDS = {"messages", "system", "systemInstruction", "contents", "inputs"}


class Said(NamedTuple):
    """What a page says of a parameter."""

    action: str
    detail: str

    @property
    def names(self) -> set[str]:
        """What stands in backquotes."""
        return set(re.findall(r"`([^`]+)`", self.detail))


class Page(NamedTuple):
    """What a page says of one row."""

    parameters: dict[str, Said]
    others: Said
    besides: dict[str, str]
    """What is sent that nobody asked for, and when."""

    @property
    def always(self) -> set[str]:
        return {name for name, why in self.besides.items() if not why.startswith(("where", "with"))}


@cache
def page(kind: str, variant: str) -> Page:
    """The page of a kind, or the part of it on one of its variants."""
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    start = f'"{variant}"`\n' if variant else "## What becomes of parameters\n"
    title = re.escape("### Parameters with ") + r"`\w+ = " + re.escape(start) if variant else re.escape(start)
    found = re.search(rf"^{title}(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{kind}.md says nothing of {variant or 'its parameters'}"
    parameters: dict[str, Said] = {}
    for names, action, detail in re.findall(r"^\| (.+?) \| (.+?) \| (.*?) ?\|$", found[1], re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names) or [names]:
            assert name not in parameters, f"{name} stands there twice"
            parameters[name] = Said(action, detail)
    besides = re.search(r"^Sent besides: (.*)\.$", found[1], re.MULTILINE)
    others = parameters.pop("all others")
    return Page(
        {name: said for name, said in parameters.items() if name not in ("parameter", "---")},
        others,
        dict(re.findall(r"`([\w.]+)` \((.*?)\)", besides[1])) if besides else {},
    )


def page_of(row: Row) -> Page:
    mock = row.mock
    return page(mock.kind, "" if mock.variant == "deployment" else mock.variant)


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """A body's values by their paths; lists are values, but for their lengths nothing is looked for in them."""
    if not isinstance(node, dict):
        return {path: node}
    found: dict[str, Any] = {}
    for name, value in node.items():
        found |= leaves(value, f"{path}.{name}" if path else name)
    return found or {path: node}


def changed(before: Json, after: Json) -> set[str]:
    """Paths whose values differ."""
    one, other = leaves(before), leaves(after)
    return {path for path in one | other if one.get(path) != other.get(path) or (path in one) != (path in other)}


def allowed(found: Page, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The paths at which a parameter may show, by what the page says of it."""
    said = found.parameters[name]
    paths = {name} | said.names | (found.besides.keys() - found.always - {"stream", "stream_options"})
    if "a tool that must be called" in said.detail or "leaving tools out" in said.detail:
        paths |= BY_A_TOOL
    if "words" in said.detail:
        paths |= IN_WORDS | {"response_format"}
    for other in (said.names & found.parameters.keys()) - seen - {name}:
        paths |= allowed(found, other, seen | {name})
    if found.parameters[name].action in ("renamed", "emulated") and "enum" in said.detail + name:
        paths |= allowed(found, "response_format", seen | {name}) if "response_format" not in seen | {name} else set()
    return paths


def within(path: str, paths: set[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in paths)


def sent(row: Row, fields: Json, name: str) -> tuple[Json | None, set[str], int]:
    """The body that went out, what was told of the parameter, and the status."""
    formed = PRESCRIBING & fields.keys()
    row.mock.reply(data=ANSWERS.get(name, {"city": "Zürich"})) if formed else row.mock.reply("Fine.")
    reply = row.ask(**fields)
    if reply.status != 200:
        assert reply.code == "unsupported_parameter", reply.body
        row.mock.forget()
        return None, set(), reply.status
    good(reply)
    return row.asked.body, adjusted(reply).get(name, set()), 200


PRESCRIBING = {"response_format", "guided_json", "guided_choice", "guided_regex", "guided_grammar", "structural_tag",
               "structured_outputs"}  # fmt: skip


@EVERY
def test_every_parameter_stands_on_every_page_once(row: Row) -> None:
    found = page_of(row)
    assert found.parameters.keys() == set(DOCUMENTED)
    assert SAMPLES.keys() == set(DOCUMENTED)
    assert set(DOCUMENTED) >= CONTRACT | HINTS


def test_each_parameter_meets_the_fate_that_its_page_says(row: Row) -> None:
    found = page_of(row)
    wrong = {}
    plain = cache(lambda besides: sent(row, json.loads(besides), ""))
    for name, samples in SAMPLES.items():
        try:
            meets(row, found, name, samples, plain)
        except AssertionError as error:
            wrong[name] = f"{found.parameters[name]}: {str(error)[:300]}"
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())


def meets(row: Row, found: Page, name: str, samples: list[tuple[Json, Json]], plain: Callable[[str], Any]) -> None:
    """``plain``: what is sent where only this is asked for, as JSON."""
    said = found.parameters[name]
    told_ever: set[str] = set()
    shown: set[str] = set()
    statuses = set()
    for besides, parameter in samples:
        before, _, status = plain(json.dumps(besides))
        if before is None:
            return  # what it needs besides is not to be had
        after, told, status = sent(row, besides | parameter, name)
        if not is_idle(parameter):
            statuses.add(status)
        if after is None:
            continue
        difference = changed(before, after)
        stray = {path for path in difference if not within(path, allowed(found, name))}
        assert not stray, f"{parameter} shows at {sorted(stray)}, which the page does not say"
        assert difference or told or is_idle(parameter), f"{parameter} is left out in silence"
        if said.action == "passed":
            assert difference, f"{parameter} does not show"
            assert not told - {"emulated"}, f"{parameter} is told as {told}"
        if said.action == "dropped" and name not in row.kind.params and not is_idle(parameter):
            assert not difference, f"{parameter} shows at {sorted(difference)}"
            assert told == {"dropped"}
        told_ever |= told
        shown |= difference
    if said.action == "refused":
        assert statuses == {400}, "it is said to be refused"
    elif statuses == {400}:
        assert not row.can(name) or "unsupported_parameter" in said.detail, "it is refused, and not said to be"
    elif said.action in ("renamed", "emulated", "dropped"):
        assert said.action in told_ever, f"never told as {said.action}, but as {told_ever}"
    if 200 in statuses and said.action == "passed" and "." in "".join(said.names):
        wanted = {each for each in said.names if "." in each}
        assert any(within(path, wanted) for path in shown), f"shows at {sorted(shown)}"


def is_idle(parameter: Json) -> bool:
    """Whether it asks for what happens anyway."""
    return parameter in ({"logprobs": False},) or ("messages" in parameter and len(parameter["messages"]) == 3)


@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_nothing_is_sent_that_nobody_asked_for_but_what_the_page_says(row: Row, stream: bool) -> None:
    found = page_of(row)
    good(row.ask(stream=stream))
    paths = {path for path in leaves(row.asked.body) if not within(path, allowed(found, "messages"))}
    besides = {path.partition(".")[0] if path.startswith("stream_options") else path for path in paths}
    for_streams = {"stream", "stream_options"} & found.besides.keys() if stream else set()
    assert besides == found.always | for_streams


HEADERS = {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent"}
CREDENTIALS = {"authorization", "api-key", "x-api-key", "x-goog-api-key"}


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_head_holds_one_credential_and_nothing_of_the_callers_but_the_trace(row: Row, stream: bool) -> None:
    own = {"x-secret": "caller's", "cookie": "a=b", "referer": "https://caller.example/", "traceparent": TRACE}
    good(row.ask(headers=own, stream=stream))
    headers = row.asked.headers
    assert len(headers.keys() & CREDENTIALS) == 1
    version = {"anthropic-version"} if row.mock.kind == "anthropic" else set()
    assert headers.keys() - CREDENTIALS == HEADERS | {"traceparent"} | version
    assert headers["accept"] == (row.kind.wire.stream_type if stream else "application/json")
    assert (headers["content-type"], headers["accept-encoding"]) == ("application/json", "identity")
    assert (headers["user-agent"], headers["traceparent"]) == ("sealgate", TRACE)
    assert row.matrix.gateway.key not in row.asked.received.head.decode()
    assert row.mock.api_key not in row.asked.path


def test_what_is_the_gateways_own_goes_nowhere(row: Row) -> None:
    before, _, _ = sent(row, {}, "")
    own = {
        "region": "global", "provider": row.route.provider, "failover": [row.name], "stop": None, "stream": False,
        "episode_id": "01977ed9-7492-7b70-8347-955764f97b3d", "tensorzero::variant_name": "v",
        "tensorzero::dryrun": True,
    }  # fmt: skip
    after, _, _ = sent(row, own, "")
    assert after == before


def test_fields_of_no_name_go_the_way_that_the_page_says(row: Row) -> None:
    others = page_of(row).others
    before, _, _ = sent(row, {}, "")
    after, told, _ = sent(row, {"x_vendor": 4711}, "x_vendor")
    assert before is not None
    assert after is not None
    difference = changed(before, after)
    assert (difference, told) == (({"x_vendor"}, set()) if others.action == "passed" else (set(), {"dropped"}))
