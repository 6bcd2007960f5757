"""From the body of an Anthropic request to an `Ask`: OpenAI's shape for whoever answers, and the body itself beside it.

Routes whose wire is Anthropic's own are given what the caller wrote; see `sealgate.providers.anthropic_native`. All
others get the translation made here, and ``Native.lost`` says what of the request it does not hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sealgate.errors import Problem
from sealgate.formats.carried import opened
from sealgate.providers.anthropic_messages import detail
from sealgate.providers.base import Adjustment, Json, Native, Prompt
from sealgate.relay.ask import Ask
from sealgate.relay.messages_checks import check_budget, check_names, check_turns, is_base64
from sealgate.relay.messages_shapes import CountRequest, MessagesRequest
from sealgate.relay.request import DATA_URL, decode_object, episode, is_plain_https, model_named, typed_as

OWN = frozenset({"model", "stream", "region", "provider", "failover", "session_id", "episode_id", "betas"})
"""Fields that are the gateway's own business."""
WALLED = ("inference_geo", "service_tier", "speed")
"""What callers may not set, since prices hang on it."""
PROVIDERS_OWN = ("container", "mcp_servers", "fallbacks")
"""Fields without which the answer would be another one, and that only providers of this API know."""
BETAS = (
    "advanced-tool-use-", "claude-code-", "compact-", "computer-use-", "context-management-", "effort-",
    "extended-cache-ttl-", "fine-grained-tool-streaming-", "interleaved-thinking-", "max-tokens-", "output-128k-",
    "pdfs-", "prompt-caching-", "redact-thinking-", "search-results-", "structured-outputs-", "token-counting-",
    "token-efficient-tools-", "tool-examples-", "tool-search-tool-", "web-fetch-", "web-search-",
)  # fmt: skip
"""Beginnings of the betas that go on to providers: those that set no price, and reach nothing of the account's."""
SHORT_BUDGET, MEDIUM_BUDGET = 4096, 16384
"""Tokens of thinking below which an effort is low, and medium."""
ERROR_MARK = "Error: "

NAMES = {
    ".function.parameters": ".input_schema",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}
"""Fields of the translation, as callers know them."""

_EFFORTS = {"max": "xhigh"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TRANSLATED = frozenset(
    {"max_tokens", "messages", "metadata", "output_config", "output_format", "stop_sequences", "system", "temperature",
     "thinking", "tool_choice", "tools", "top_k", "top_p"}
)  # fmt: skip
_LOST = {
    "cache_control": "providers of other APIs have caches of their own",
    "citations": "only Anthropic's API cites",
}

_encode = msgspec.json.Encoder().encode


def read_messages(
    body: bytes,
    default_model: str | None = None,
    trace: Mapping[str, str] | None = None,
    betas: Sequence[str] = (),
) -> Ask:
    """Parse and check the body of ``/v1/messages``. Raises `Problem`; nothing here does I/O."""
    fields = decode_object(body)
    return _ask(fields, typed_as(MessagesRequest, fields), len(body), default_model, trace, betas)


def read_count(
    body: bytes,
    default_model: str | None = None,
    trace: Mapping[str, str] | None = None,
    betas: Sequence[str] = (),
) -> Ask:
    """The same of ``/v1/messages/count_tokens``."""
    fields = decode_object(body)
    typed = typed_as(CountRequest, fields)
    whole = MessagesRequest(
        messages=typed.messages, model=typed.model, region=typed.region, provider=typed.provider, max_tokens=1
    )
    return _ask({**fields, "max_tokens": 1}, whole, len(body), default_model, trace, betas)


def _ask(
    fields: Json,
    typed: MessagesRequest,
    size: int,
    default_model: str | None,
    trace: Mapping[str, str] | None,
    betas: Sequence[str],
) -> Ask:
    model = model_named(typed.model, default_model)
    check_budget(typed, betas)
    check_turns(fields["messages"])
    given = {name: value for name, value in fields.items() if value is not None}
    read = _Reading(given)
    carried = read.chat()
    walled = [name for name in WALLED if name in given]
    refused = [beta for beta in betas if not beta.startswith(BETAS)]
    said = [Adjustment(name, "dropped", "callers may not set this") for name in walled]
    said += [Adjustment("anthropic-beta", "dropped", f"{beta[:64]} is not passed on") for beta in refused]
    native = Native(
        body={name: value for name, value in given.items() if name not in OWN and name not in WALLED},
        betas=tuple(beta for beta in betas if beta not in refused),
        lost=tuple(read.lost),
        only=read.only,
    )
    return Ask(
        named=typed,
        model=model,
        type="chat",
        prompt=Prompt(carried, bool(typed.stream), {}, {}, trace or {}, native=native),
        episode_id=episode(typed.episode_id),
        session_id=typed.session_id,
        include_usage=True,
        media_param=read.by_url,
        adjustments=said,
        size=size - read.media_size,
        max_tokens=typed.max_tokens,
        stops=typed.stop_sequences or (),
        names=_names(given),
        fields=fields,
    )


def _names(given: Json) -> Mapping[str, str]:
    told = {}
    if "output_format" in given:
        told["response_format"] = "output_format"
    if "thinking" in given and "effort" not in given.get("output_config", {}):
        told["reasoning_effort"] = "thinking"
    return {**NAMES, **told} if told else NAMES


class _Reading:
    """One request while it is translated. Raises `Problem` for what is wrong in it beyond its form."""

    def __init__(self, given: Json) -> None:
        self.lost: dict[Adjustment, None] = {}
        self.only: str | None = None
        """The first place that only a provider of this API understands."""
        self.by_url: str | None = None
        self.media_size = 0
        self._given = given

    def chat(self) -> Json:
        """The request in OpenAI's shape."""
        given = self._given
        self._beyond()
        fields: Json = {"messages": list(self._messages()), "max_tokens": max(1, given["max_tokens"])}
        for name in ("temperature", "top_p", "top_k"):
            if name in given:
                fields[name] = given[name]
        if given.get("stop_sequences"):
            fields["stop"] = given["stop_sequences"]
        if (user := (given.get("metadata") or {}).get("user_id")) is not None:
            fields["user"] = user
        self._tools(fields)
        self._effort(fields)
        self._form(fields)
        return fields

    def _beyond(self) -> None:
        """Fields that have no place in OpenAI's shape."""
        given = self._given
        if given["max_tokens"] == 0:
            self._need("max_tokens")
        for name in sorted(given.keys() - _TRANSLATED - OWN):
            if name in WALLED:
                continue
            if name in PROVIDERS_OWN:
                self._need(name)
            else:
                self._lose(name, _LOST.get(name, "only Anthropic's API knows it"))

    def _need(self, place: str) -> None:
        self.only = self.only or place

    def _lose(self, name: str, why: str) -> None:
        self.lost[Adjustment(name, "dropped", why)] = None

    def _marks(self, block: Json) -> None:
        """What a block says besides, and nobody else reads."""
        for name, why in _LOST.items():
            if (said := block.get(name)) and said != {"enabled": False}:
                self._lose(name, why)

    # Messages

    def _messages(self) -> Iterator[Json]:
        if system := self._given.get("system"):
            yield {"role": "system", "content": self._plain(system)}
        for index, turn in enumerate(self._given["messages"]):
            at, content = f"messages[{index}].content", turn["content"]
            if isinstance(content, str):
                yield {"role": turn["role"], "content": content}
            elif turn["role"] == "assistant":
                yield self._said(content, at)
            elif turn["role"] == "system":
                yield {"role": "system", "content": self._plain(content, at)}
            else:
                yield from self._heard(content, at)

    def _plain(self, content: Any, at: str = "system") -> str:
        """Text alone, of a text or of blocks. Raises `Problem` for any other block."""
        if isinstance(content, str):
            return content
        for place, block in enumerate(content):
            if block.get("type") != "text":
                raise Problem("invalid_messages", f"{at}[{place}]: instructions are text.", param=f"{at}[{place}]")
            self._marks(block)
        return "\n\n".join(block["text"] for block in content)

    def _said(self, blocks: list[Json], at: str) -> Json:
        """What the model said before."""
        texts: list[str] = []
        calls: list[Json] = []
        thoughts: list[str] = []
        details: list[Json] = []
        for place, block in enumerate(blocks):
            self._marks(block)
            match block["type"]:
                case "text":
                    texts.append(block["text"])
                case "tool_use":
                    function = {"name": block["name"], "arguments": _encode(block["input"]).decode()}
                    calls.append({"id": block["id"], "type": "function", "function": function})
                case "thinking" | "redacted_thinking":
                    thoughts.append(block.get("thinking") or "")
                    kept = opened(block.get("signature") or block.get("data") or "")
                    if kept is not None:
                        details += kept
                    elif block.get("signature") or block.get("data"):
                        details.append(detail(block, len(details)))
                case _:
                    self._need(f"{at}[{place}]")
        message: Json = {"role": "assistant", "content": "".join(texts) or None}
        if thought := "".join(thoughts):
            message["reasoning_content"] = thought
        if details:
            message["reasoning_details"] = details
        if calls:
            message["tool_calls"] = calls
        if message["content"] is None and not calls:
            message["content"] = ""
        return message

    def _heard(self, blocks: list[Json], at: str) -> Iterator[Json]:
        """A user's turn: the results of tools first, each a message of its own; what they show, with the rest."""
        parts: list[Json] = []
        for place, block in enumerate(blocks):
            if block["type"] == "tool_result":
                yield self._result(block, f"{at}[{place}]", parts)
        for place, block in enumerate(blocks):
            if block["type"] != "tool_result":
                parts += self._part(block, f"{at}[{place}]")
        if not parts:
            return
        if all(part["type"] == "text" for part in parts):
            yield {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}
        else:
            yield {"role": "user", "content": parts}

    def _result(self, block: Json, at: str, shown: list[Json]) -> Json:
        self._marks(block)
        content = block.get("content") or ""
        if isinstance(content, list):
            content = self._result_text(content, block["tool_use_id"], f"{at}.content", shown)
        if block.get("is_error") and not content.startswith(ERROR_MARK):
            content = ERROR_MARK + content
            self.lost[Adjustment("is_error", "emulated", f"the tool's result begins with {ERROR_MARK!r}")] = None
        return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}

    def _result_text(self, blocks: list[Json], call: str, at: str, shown: list[Json]) -> str:
        texts: list[str] = []
        media: list[Json] = []
        for place, block in enumerate(blocks):
            for part in self._part(block, f"{at}[{place}]"):
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    media.append(part)
        if media:
            said = f"What the tool call {call} has shown:"
            shown += [{"type": "text", "text": said}, *media]
            self.lost[Adjustment("tool_result", "emulated", "pictures and files are sent behind the results")] = None
            texts = texts or ["(shown below)"]
        return "\n\n".join(texts)

    def _part(self, block: Json, at: str) -> Sequence[Json]:
        self._marks(block)
        match block["type"]:
            case "text":
                return ({"type": "text", "text": block["text"]},) if block["text"] else ()
            case "image":
                return (self._image(block["source"], f"{at}.source"),)
            case "document":
                return self._document(block, f"{at}.source")
            case "search_result":
                said = "\n".join([block["title"], block["source"], *(each["text"] for each in block["content"])])
                return ({"type": "text", "text": said},)
            case _:
                self._need(at)
                return ()

    def _image(self, source: Json, at: str) -> Json:
        if source["type"] == "base64":
            return {"type": "image_url", "image_url": {"url": self._data_url(source, at)}}
        if source["type"] == "url":
            return {"type": "image_url", "image_url": {"url": self._https(source["url"], at)}}
        self._need(at)
        return {"type": "text", "text": ""}

    def _document(self, block: Json, at: str) -> Sequence[Json]:
        source, title = block["source"], block.get("title")
        named = {"filename": title or "document.pdf"}
        about = [text for text in (title, block.get("context")) if text]
        match source["type"]:
            case "base64":
                return ({"type": "file", "file": {"file_data": self._data_url(source, at), **named}},)
            case "text":
                return ({"type": "text", "text": "\n".join([*about, source["data"]])},)
            case "content":
                inner = source["content"]
                if isinstance(inner, str):
                    return ({"type": "text", "text": "\n".join([*about, inner])},)
                parts = [part for i, each in enumerate(inner) for part in self._part(each, f"{at}.content[{i}]")]
                return [*({"type": "text", "text": text} for text in about), *parts]
            case _:
                self._need(at)  # by URL or by id: nobody else fetches it
                return ()

    def _data_url(self, source: Json, at: str) -> str:
        self.media_size += len(source["data"])
        head = f"data:{source['media_type']};base64,"
        if not DATA_URL.fullmatch(head):
            raise Problem("invalid_media", f"{at}.media_type is no media type.", param=at)
        if not is_base64(source["data"]):
            raise Problem("invalid_media", f"{at}.data is no base64.", param=f"{at}.data")
        return f"{head}{source['data']}"

    def _https(self, url: str, at: str) -> str:
        if not is_plain_https(url):
            raise Problem("media_url_not_allowed", "Media must be base64 or a plain https URL.", param=at)
        self.by_url = self.by_url or f"{at}.url"
        return url

    # Tools, thinking, form

    def _tools(self, fields: Json) -> None:
        offered, choice = self._given.get("tools"), self._given.get("tool_choice")
        if not offered:
            if choice is not None and choice["type"] in ("any", "tool"):
                raise Problem("invalid_parameter", "tool_choice needs tools.", param="tool_choice")
            return
        check_names(offered)
        tools = [tool for place, each in enumerate(offered) if (tool := self._tool(each, f"tools[{place}]"))]
        if not tools:
            return
        fields["tools"] = tools
        if choice is not None:
            named = choice["type"] == "tool"
            fields["tool_choice"] = (
                {"type": "function", "function": {"name": choice["name"]}} if named else _CHOICES[choice["type"]]
            )
            if choice.get("disable_parallel_tool_use"):
                fields["parallel_tool_calls"] = False

    def _tool(self, tool: Json, at: str) -> Json | None:
        self._marks(tool)
        if tool.get("type") not in (None, "custom"):
            self._need(at)
            return None
        for name in ("name", "input_schema"):
            if tool.get(name) is None:
                raise Problem("invalid_parameter", f"{at}.{name}: this field is required.", param=f"{at}.{name}")
        function: Json = {"name": tool["name"], "parameters": tool["input_schema"]}
        for name in ("description", "strict"):
            if tool.get(name) is not None:
                function[name] = tool[name]
        return {"type": "function", "function": function}

    def _effort(self, fields: Json) -> None:
        """How much to think, in the one word that OpenAI has for it."""
        thinking = self._given.get("thinking") or {}
        effort = (self._given.get("output_config") or {}).get("effort")
        if thinking.get("type") == "enabled":
            tokens = thinking["budget_tokens"]
            effort = effort or ("low" if tokens < SHORT_BUDGET else "medium" if tokens < MEDIUM_BUDGET else "high")
            said = f"sent as reasoning_effort {effort}"
            self.lost[Adjustment("thinking", "renamed", said)] = None
        elif thinking.get("type") in ("adaptive", "between_tools"):
            effort = effort or "medium"
            self.lost[Adjustment("thinking", "renamed", f"sent as reasoning_effort {effort}")] = None
        elif thinking:
            self._lose("thinking", "a model thinks as its provider lets it where nothing is asked for")
        if effort:
            fields["reasoning_effort"] = _EFFORTS.get(effort, effort)

    def _form(self, fields: Json) -> None:
        wanted = (self._given.get("output_config") or {}).get("format") or self._given.get("output_format")
        if wanted is None:
            return
        form: Json = {"name": "answer", "schema": wanted["schema"]}
        if is_closed(wanted["schema"]):
            form["strict"] = True
        fields["response_format"] = {"type": "json_schema", "json_schema": form}


def is_closed(schema: Any) -> bool:
    """Whether every object in a schema names all there may be, and requires it: what OpenAI's strict mode takes."""
    if isinstance(schema, list):
        return all(map(is_closed, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        named: Collection[str] = properties if isinstance(properties, dict) else ()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or set(named) != set(required or ()):
            return False
    return all(map(is_closed, schema.values()))
