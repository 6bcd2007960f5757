"""A ready mock of every provider: `MockProvider`, on a real socket, in the provider's own words.

::

    async with MockProvider("anthropic") as mock:
        mock.reply("Hello")                             # what the next request is answered,
        mock.reply(tool_calls=[tool("now", {})])        # and the one after it
        mock.fail("rate_limit", retry_after=2)          # an error as Anthropic says it
        mock.fail("cut", after=3)                       # a stream that breaks after three events
        ...
        assert mock.requests[0].text == "How are you?"

``with`` in place of ``async with`` runs it in a thread, for tests without a loop. Point a client of that provider at
`base_url` with `api_key`, or a gateway at the table that `provider_table` gives. What nobody scripted gets a good
answer. A request at the wrong address, or with the wrong credential, is refused as the provider does it.
"""

from __future__ import annotations

import difflib
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

from sealgate.testing import doors, sigv4
from sealgate.testing.dialects import (
    AnthropicDialect,
    CarriedDialect,
    ConverseDialect,
    Dialect,
    GeminiDialect,
    InvokeDialect,
    TgiDialect,
)
from sealgate.testing.doors import Door
from sealgate.testing.family import FLAVOURS
from sealgate.testing.flavours import Flavour, OpenAIDialect
from sealgate.testing.received import Received
from sealgate.testing.reply import Asked, Fault, Refused, Reply, Struck
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Script, json_answer, resolve
from sealgate.testing.strikes import STRIKES, broken_off, struck
from sealgate.testing.thread import ThreadedUpstream
from sealgate.testing.upstream import ScriptedUpstream

Json = dict[str, Any]
Told: TypeAlias = Reply | Fault | Behaviour
"""What a mock can be told: an answer, a fault, or a script of one's own."""
OPENAI = "http://api.openai.com/v1"


@dataclass(frozen=True)
class Mocked:
    """One kind of provider as it is mocked: where it listens, how it speaks, and a model that it has."""

    door: Door
    dialect: Dialect
    model: str = "mock-model"
    settings: Mapping[str, str] = field(default_factory=dict)
    """What a gateway's table must say to get this variant of the kind."""


def like_openai(flavour: Flavour | None = None, model: str = "mock-model") -> Mocked:
    """A provider on OpenAI's wire: the one line that a new row of that sort needs."""
    return Mocked(doors.BEARER, OpenAIDialect(flavour), model)


MOCKS: dict[str, Mocked] = {
    **{name: like_openai(flavour) for name, flavour in FLAVOURS.items()},
    "azure": Mocked(doors.AZURE, OpenAIDialect(FLAVOURS["azure"])),
    "anthropic": Mocked(doors.ANTHROPIC, AnthropicDialect(), "claude-sonnet-4-5"),
    "google": Mocked(doors.STUDIO, GeminiDialect(), "gemini-2.5-flash"),
    "vertex": Mocked(doors.VERTEX, GeminiDialect(), "gemini-2.5-flash"),
    "bedrock": Mocked(doors.CONVERSE, ConverseDialect(), "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "sagemaker": Mocked(doors.SAGEMAKER, CarriedDialect(Flavour())),
    "azure/deployment": Mocked(doors.OLDER_AZURE, OpenAIDialect(FLAVOURS["azure"])),
    "vertex/anthropic": Mocked(
        doors.CLAUDE_ON_VERTEX, AnthropicDialect(), "claude-sonnet-4-5@20250929", {"api_model": "anthropic"}
    ),
    "vertex/openai": Mocked(
        doors.OPEN_ON_VERTEX, OpenAIDialect(Flavour()), "meta/llama-4-maverick", {"api_model": "openai"}
    ),
    "bedrock/anthropic": Mocked(
        doors.INVOKE, InvokeDialect(), "anthropic.claude-sonnet-4-5-20250929-v1:0", {"api_model": "anthropic"}
    ),
    "sagemaker/tgi": Mocked(doors.SAGEMAKER, TgiDialect(), settings={"carries": "tgi"}),
}
"""Every kind by its name, and its variants as ``kind/variant``."""


class MockProvider:
    """A provider of some kind that does what it is told, and remembers what it was asked.

    ``kind`` is one of `MOCKS`: those of a gateway's configuration, and variants such as ``vertex/anthropic``.
    ``faults`` strike the first requests, one each; then `reply` and `fail` say what comes, then ``default``.
    ``signed`` is for AWS: a signature is demanded, by the keys in `environment`, where else a key as bearer does.
    Raises `ValueError` for a kind that is none.
    """

    def __init__(
        self,
        kind: str = "openai",
        *,
        model: str | None = None,
        faults: Iterable[Fault | Refused | Struck] = (),
        default: Told | None = None,
        signed: bool = False,
        port: int = 0,
    ) -> None:
        if kind not in MOCKS:
            close = difflib.get_close_matches(kind, MOCKS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(MOCKS))}"
            raise ValueError(f"there is no mock of {kind!r}; {hint}")
        self.kind, _, self.variant = kind.partition("/")
        self.mocked = MOCKS[kind]
        self.model = model or self.mocked.model
        """The provider's own name of a model; it answers to any."""
        self.api_key = f"mock-key-{secrets.token_hex(8)}"
        self.default: Told = Reply() if default is None else default
        self.requests: list[Asked] = []
        """Every request for an answer, in the order they were complete, and whether it was refused or not."""
        self.complaints: list[str] = []
        """Why requests were refused at the door: a wrong credential, address, or form."""
        self.upstream = ScriptedUpstream(port=port, handler=self._handle)
        """What it stands on: connections, who left when, and everything that was sent."""
        self._signed = signed
        self._told: deque[Told] = deque(Fault(each) if isinstance(each, str) else each for each in faults)
        self._thread: ThreadedUpstream | None = None

    async def __aenter__(self) -> Self:
        await self.upstream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.upstream.__aexit__(kind, exc, trace)

    def __enter__(self) -> Self:
        self._thread = ThreadedUpstream(self.upstream)
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._thread.__exit__(kind, exc, trace)

    # Where it is

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT``: what clients take that know the rest of the address, as Anthropic's and AWS's."""
        return self.upstream.origin

    @property
    def base_url(self) -> str:
        """What a client of this provider takes as its ``base_url``."""
        return self.origin + self.mocked.door.base

    @property
    def environment(self) -> dict[str, str]:
        """Credentials by the names under which AWS's libraries look for them; empty where no signature is wanted."""
        if not self._signed:
            return {}
        return {
            "AWS_ACCESS_KEY_ID": sigv4.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": sigv4.SECRET_KEY,
            "AWS_REGION": doors.REGION,
        }

    def provider_table(self) -> dict[str, str]:
        """The table ``[providers.NAME]`` of a gateway's configuration.

        OpenAI's own rules hold at its own address only, so its mock is reached as a proxy.
        """
        place = {"base_url": self.base_url}
        if self.kind == "openai":
            place = {"base_url": OPENAI, "proxy": self.origin}
        key = {} if self._signed else {"api_key": self.api_key}
        return {"kind": self.kind, **place, **key, **self.mocked.door.settings, **self.mocked.settings}

    def toml(self, name: str = "mock") -> str:
        """A whole ``sealgate.toml``: this provider, and a model of the same name that it serves."""
        lines = [f"[providers.{name}]"]
        lines += [f'{key} = "{value}"' for key, value in self.provider_table().items()]
        route = f'{{ provider = "{name}", model = "{self.model}" }}'
        return "\n".join([*lines, "", f"[models.{name}]", f"routes = [{route}]", ""])

    # What it will say

    def reply(self, text: str | None = None, **fields: Any) -> None:
        """Answer the next request that has no answer yet. ``fields`` are those of `Reply`."""
        self._told.append(Reply(text, **fields))

    def fail(self, name: Refused | Struck, **fields: Any) -> None:
        """Fail the next request that has no answer yet. ``fields`` are those of `Fault`."""
        self._told.append(Fault(name, **fields))

    def enqueue(self, *told: Told) -> None:
        """Say these to the next requests, one each: replies, faults, scripts of one's own."""
        self._told.extend(told)

    def forget(self) -> None:
        """Forget what was told and asked, for the next test with the same mock."""
        self._told.clear()
        self.requests.clear()
        self.complaints.clear()
        self.upstream.requests.clear()

    # What it does

    def _handle(self, received: Received) -> Behaviour:
        door = self.mocked.door
        asked = self._asked(received)
        complaint = door.complaint(received, self.api_key)
        if complaint is None and self._signed and not received.headers.get("authorization", "").startswith("AWS4"):
            complaint = "A signature is wanted."
        if complaint is not None:
            return self._refuse(asked, Fault("auth"), complaint)
        if door.lists(received):
            return json_answer(self._listed())
        if door.entry(received) is None:
            return self._refuse(asked, Fault("not_found"), f"Nothing is at {received.method} {received.path}.")
        if not isinstance(asked.body, dict) or (said := door.also and door.also(received)):
            why = "The body is not a JSON object." if not isinstance(asked.body, dict) else str(said)
            return self._refuse(asked, Fault("bad_request"), why)
        self.requests.append(asked)
        return self.script(asked, self._told.popleft() if self._told else self.default)

    def script(self, asked: Asked, told: Told) -> Script:
        """What is played for one request."""
        dialect = self.mocked.dialect
        if isinstance(told, Reply):
            return dialect.answer(asked, told)
        if not isinstance(told, Fault):
            return resolve(told, asked.received)
        good = dialect.answer(asked, told.reply)
        if told.name in STRIKES:
            return struck(told.name, asked.received, good, told.after)
        if told.after is None or not asked.stream:
            return dialect.refusal(asked, told)
        return broken_off(good, told.after, Chunk(dialect.broken(asked, told)), LAST_CHUNK)

    def _refuse(self, asked: Asked, fault: Fault, complaint: str) -> Script:
        self.complaints.append(complaint)
        return self.mocked.dialect.refusal(asked, fault)

    def _asked(self, received: Received) -> Asked:
        entry = self.mocked.door.entry(received)
        body = received.json
        model, stream = (entry.model, entry.stream) if entry else (None, None)
        return Asked(received, model or received.model, received.streams if stream is None else stream, body)

    def _listed(self) -> Json:
        names: Sequence[str] = (self.model,)
        if self.mocked.door is doors.STUDIO:
            return {"models": [{"name": f"models/{name}"} for name in names]}
        return {"object": "list", "data": [{"id": name, "object": "model", "type": "model"} for name in names]}
