"""Gemini's answers, whole and streamed, as OpenAI's completions and chunks.

Source: ``google-genai`` (``types.GenerateContentResponse``) and ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats import ids, sse
from sealgate.providers.base import Json
from sealgate.providers.gemini_errors import refused
from sealgate.providers.gemini_shapes import (
    Candidate,
    Counts,
    Feedback,
    FunctionCall,
    Logprobs,
    Modality,
    Part,
    Response,
    Segment,
    Source,
    Token,
)
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.whole import WholeBody

SIGNED = "google-gemini-v1"
"""``format`` of the entries in ``reasoning_details`` that carry Gemini's thought signatures."""

_WORDS = {
    "stop": ("STOP",),
    "length": ("MAX_TOKENS", "CONTINUATION"),
    "content_filter": (
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR", "ESCALATION",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
    ),
}  # fmt: skip
FINISH = {word: reason for reason, words in _WORDS.items() for word in words}
BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE", "NO_IMAGE", "OTHER",
    }
)  # fmt: skip
"""Reasons that mean the model failed although the status was 200."""

_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Response, strict=False).decode
_read_list = msgspec.json.Decoder(list[Response], strict=False).decode


class Choice:
    """One candidate as it grows: what has come of it, and how it ended."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish: str | None = None
        """Why it ended. Some models say so with every event, so that only the last one counts."""
        self._calls = 0
        self._details = 0
        self._text: list[str] = []
        self._noted: set[tuple[int, int, str]] = set()
        self._empty = True

    def take(self, candidate: Candidate) -> Json | None:
        """What this adds, as ``delta`` and ``logprobs``; None where it adds nothing."""
        content = candidate.content
        delta = self._delta(content.parts) if content is not None and content.parts else {}
        if candidate.grounding_metadata is not None or candidate.citation_metadata is not None:
            delta |= self._annotations(candidate)
        if delta:
            self._empty = False
        if candidate.finish_reason:
            self.finish = FINISH.get(candidate.finish_reason) or candidate.finish_reason.lower()
            if self._empty and self.finish == "content_filter":
                delta["refusal"] = candidate.finish_message or f"The answer was withheld: {candidate.finish_reason}."
        found: Json = {"index": self.index, "delta": delta}
        if candidate.logprobs_result is not None:
            found["logprobs"] = _logprobs(candidate.logprobs_result)
        return found if len(found) > 2 or delta else None

    def _delta(self, parts: list[Part]) -> Json:
        if len(parts) == 1:
            part = parts[0]
            if part.text and not part.thought and part.thought_signature is None:
                # A piece of text and nothing else: what nearly every event is.
                self._text.append(part.text)
                return {"content": part.text}
        delta: Json = {}
        for part in parts:
            call = self._part(part, delta)
            if part.thought_signature:
                delta.setdefault("reasoning_details", []).append(self._signature(part, call))
        return delta

    def _part(self, part: Part, delta: Json) -> str | None:
        """Add a part; gives the id of the call it is.

        What the provider's own tools ran and found has no place in OpenAI's shape; the text tells of it.
        """
        if part.text:
            name = "reasoning_content" if part.thought else "content"
            delta[name] = delta.get(name, "") + part.text
            if not part.thought:
                self._text.append(part.text)
        elif part.function_call is not None and part.function_call.name:
            call = self._call(part.function_call, part.thought_signature)
            delta.setdefault("tool_calls", []).append(call)
            return str(call["id"])
        elif part.inline_data is not None and part.inline_data.data:
            url = f"data:{part.inline_data.mime_type};base64,{part.inline_data.data}"
            delta.setdefault("images", []).append({"type": "image_url", "image_url": {"url": url}})
        return None

    def _call(self, call: FunctionCall, signature: str | None) -> Json:
        arguments = _encode(call.args if call.args is not None else {}).decode()
        found: Json = {
            "index": self._calls,
            "id": call.id or f"call_{ids.uuid7_hex()}",
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }
        self._calls += 1
        if signature:
            found["extra_content"] = {"google": {"thought_signature": signature}}
        return found

    def _signature(self, part: Part, call: str | None) -> Json:
        """What has to come back with this part, in the form that OpenRouter made usual."""
        if part.thought:
            entry: Json = {"type": "reasoning.text", "text": part.text or "", "signature": part.thought_signature}
        else:
            entry = {"type": "reasoning.encrypted", "data": part.thought_signature}
        entry |= {"id": call, "format": SIGNED, "index": self._details}
        self._details += 1
        return entry

    def _annotations(self, candidate: Candidate) -> Json:
        text = "".join(self._text)
        found = []
        for start, end, source in _sources(candidate, text):
            mark = (start, end, source.uri or "")
            if source.uri and mark not in self._noted:
                self._noted.add(mark)
                place = {"start_index": start, "end_index": end, "title": source.title or "", "url": source.uri}
                found.append({"type": "url_citation", "url_citation": place})
        return {"annotations": found} if found else {}


def _sources(candidate: Candidate, text: str) -> Iterator[tuple[int, int, Source]]:
    """Each stretch of the text and what it rests on, in characters."""
    grounding, citations = candidate.grounding_metadata, candidate.citation_metadata
    places = Places(text) if grounding is not None or citations is not None else None
    if grounding is not None and places is not None:
        pages = [chunk.web for chunk in grounding.grounding_chunks or ()]
        for support in grounding.grounding_supports or ():
            place = places.of(support.segment or Segment())
            for number in support.grounding_chunk_indices or ():
                if 0 <= number < len(pages) and (page := pages[number]) is not None:
                    yield *place, page
    if citations is not None and places is not None:
        for source in citations.citation_sources or citations.citations or ():
            yield places.characters(source.start_index), places.characters(source.end_index), source


STRIDE = 4096
LOOKED_FOR = 100
"""Stretches that are looked for by their words, where their offsets are wrong; each look reads the whole text."""
_INNER = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""


class Places:
    """Google's offsets are bytes of UTF-8; ours are characters. The text is read once, however many there are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._raw = text.encode()
        self._before = [0]
        for start in range(0, len(self._raw), STRIDE):
            self._before.append(self._before[-1] + len(self._raw[start : start + STRIDE].translate(None, _INNER)))
        self._looks = LOOKED_FOR

    def of(self, segment: Segment) -> tuple[int, int]:
        start, end = self.characters(segment.start_index), self.characters(segment.end_index)
        if segment.text and self._text[start:end] != segment.text and self._looks:
            self._looks -= 1
            if (found := self._text.find(segment.text)) >= 0:
                return found, found + len(segment.text)
        return start, end

    def characters(self, offset: int | None) -> int:
        """How many whole characters there are before a byte."""
        raw, end = self._raw, min(max(0, offset or 0), len(self._raw))
        block = end // STRIDE
        begun = self._before[block] + len(raw[block * STRIDE : end].translate(None, _INNER))
        return begun - (end < len(raw) and raw[end] in _INNER)


def _logprobs(found: Logprobs) -> Json:
    tops = found.top_candidates or []
    content = []
    for position, chosen in enumerate(found.chosen_candidates or ()):
        top = tops[position].candidates if position < len(tops) else None
        content.append({**_token(chosen), "top_logprobs": [_token(each) for each in top or ()]})
    return {"content": content, "refusal": None}


def _token(token: Token) -> Json:
    text = token.token or ""
    return {"token": text, "logprob": token.log_probability or 0.0, "bytes": list(text.encode())}


def usage(counts: Counts) -> Json | None:
    """OpenAI's usage. Thoughts count as completion, and what the provider's own tools read counts as prompt."""
    if counts.prompt_token_count is None:
        return None
    prompt = counts.prompt_token_count + (counts.tool_use_prompt_token_count or 0)
    answer, thoughts = counts.candidates_token_count or 0, counts.thoughts_token_count or 0
    # Most models count thoughts beside the answer, some inside of it; the total tells.
    inside = thoughts <= answer and counts.total_token_count == prompt + answer
    found: Json = {"prompt_tokens": prompt, "completion_tokens": answer if inside else answer + thoughts}
    if cached := counts.cached_content_token_count:
        found["prompt_tokens_details"] = {"cached_tokens": cached}
    if heard := _sound(counts.prompt_tokens_details):
        found.setdefault("prompt_tokens_details", {})["audio_tokens"] = heard
    if thoughts:
        found["completion_tokens_details"] = {"reasoning_tokens": thoughts}
    if spoken := _sound(counts.candidates_tokens_details):
        found.setdefault("completion_tokens_details", {})["audio_tokens"] = spoken
    return found


def _sound(details: list[Modality] | None) -> int:
    return sum(each.token_count or 0 for each in details if each.modality == "AUDIO") if details else 0


class Answer:
    """One answer: its choices, each as far as it has come."""

    def __init__(self) -> None:
        self._choices: dict[int, Choice] = {}

    def take(self, response: Response) -> Iterator[Json]:
        """What this adds, as a chunk without finish reasons.

        Raises `UpstreamError` for an error in its place, and, after what there was of content, for a failed choice.
        """
        if response.error is not None:
            raise refused(response.error)
        candidates = response.candidates or ()
        choices = []
        for candidate in candidates:
            if (added := self._choice(candidate.index or 0).take(candidate)) is not None:
                choices.append(added)
        if not candidates and (feedback := response.prompt_feedback) is not None and feedback.block_reason:
            choices += self._blocked(feedback)
        chunk: Json = {"choices": choices}
        if response.model_version is not None:
            chunk["model"] = response.model_version
        if (counts := response.usage_metadata) is not None and (found := usage(counts)) is not None:
            chunk["usage"] = found
        yield chunk
        for candidate in candidates:
            if candidate.finish_reason in BROKEN:
                said = f": {candidate.finish_message}" if candidate.finish_message else ""
                raise UpstreamError(Failure.SERVER_ERROR, f"the answer ended with {candidate.finish_reason}{said}")

    def finishes(self) -> list[Json]:
        """How the choices ended, those that did."""
        return [
            {"index": choice.index, "delta": {}, "finish_reason": choice.finish}
            for choice in self._choices.values()
            if choice.finish is not None
        ]

    def _choice(self, index: int) -> Choice:
        found = self._choices.get(index)
        if found is None:
            found = self._choices[index] = Choice(index)
        return found

    def _blocked(self, feedback: Feedback) -> list[Json]:
        """A prompt that was refused: an answer, since the next route would be asked the same."""
        choice = self._choice(0)
        if choice.finish is not None:
            return []
        choice.finish = "content_filter"
        said = feedback.block_reason_message or f"The prompt was blocked: {feedback.block_reason}."
        return [{"index": 0, "delta": {"refusal": said}}]


class StreamReader:
    """``data:`` events, each a whole response with what is new; or, where a server knows no events, one JSON array.

    There is no end marker, and a choice may say more than once that it has ended, so finish reasons wait for the end
    of the body.
    """

    done = False

    def __init__(self) -> None:
        self._answer = Answer()
        self._head = b""
        self._split: Callable[[bytes], list[bytes]] | None = None

    def feed(self, piece: bytes) -> Iterable[Json]:
        if self._split is None:
            self._head = piece = self._head + piece
            self._split = _splitter(piece)
            if self._split is None:
                return ()
        try:
            documents = self._split(piece)
        except sse.LineTooLongError as error:
            raise UpstreamError(Failure.BAD_STREAM, str(error)) from None
        return self._chunks(documents) if documents else ()

    def end(self) -> Iterable[Json]:
        finishes = self._answer.finishes()
        return ({"choices": finishes},) if finishes else ()

    def _chunks(self, documents: Iterable[bytes]) -> Iterator[Json]:
        """One by one, so that what came before an error in the same piece is not lost."""
        for document in documents:
            try:
                response = _read(document)
            except UNREADABLE:
                raise UpstreamError(Failure.BAD_STREAM, "an event is no answer of Gemini's") from None
            yield from self._answer.take(response)


def _splitter(head: bytes) -> Callable[[bytes], list[bytes]] | None:
    """How a body is cut into documents, by the first byte that says something; None before that has come.

    A brace alone is what an error that is no event begins with.
    """
    first = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not first:
        return None
    if first in b"[{":
        return ArrayReader().feed
    events = sse.EventReader()
    return lambda piece: [event.data for event in events.feed(piece)]


class ArrayReader:
    """The elements of a JSON array of objects, each as soon as it is whole, from bytes split anywhere."""

    _SIGNS = re.compile(rb'\\.|["{}]', re.DOTALL)

    def __init__(self) -> None:
        self._held = b""
        self._seen = 0
        """How much of it has been looked at."""
        self._depth = 0
        self._quoted = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes. Raises `UpstreamError` for an element without end."""
        held = self._held + piece
        found: list[bytes] = []
        start = 0
        for sign in self._SIGNS.finditer(held, self._seen):
            match sign[0]:
                case b'"':
                    self._quoted = not self._quoted
                case b"{" if not self._quoted:
                    if self._depth == 0:
                        start = sign.start()
                    self._depth += 1
                case b"}" if not self._quoted:
                    self._depth -= 1
                    if self._depth == 0:
                        found.append(held[start : sign.end()])
                        start = sign.end()
        self._held = held[start:] if self._depth else b""
        if len(self._held) > sse.MAX_LINE:
            raise UpstreamError(Failure.BAD_STREAM, "an element of the array is too long")
        self._seen = len(self._held) - _open_escapes(self._held)
        return found


def _open_escapes(text: bytes) -> int:
    """1 where the text ends between a backslash and what it escapes."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2


class WholeReader(WholeBody):
    """One JSON document: a response, or an array of responses that belong together."""

    def end(self) -> Iterable[Json]:
        answer = Answer()
        found: Json = {}
        choices: dict[int, Json] = {}
        for response in _documents(self.body):
            for chunk in answer.take(response):
                for choice in chunk.pop("choices"):
                    _add(choices, choice)
                found |= chunk
        for choice in answer.finishes():
            _add(choices, choice)
        if not choices:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no candidates")
        return ({**found, "choices": [choices[index] for index in sorted(choices)]},)


def _documents(body: bytes) -> list[Response]:
    try:
        if body.lstrip()[:1] == b"[":
            return _read_list(body)
        return [_read(body)]
    except UNREADABLE:
        raise UpstreamError(Failure.BAD_RESPONSE, "the body is no answer of Gemini's") from None


def _add(choices: dict[int, Json], chunk: Json) -> None:
    """Add one chunk of a choice to its message."""
    index = chunk["index"]
    empty = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
    choice = choices.setdefault(index, empty)
    message = choice["message"]
    for name, value in chunk["delta"].items():
        message[name] = value if message.get(name) is None else message[name] + value
    choice["finish_reason"] = chunk.get("finish_reason")
    if (logprobs := chunk.get("logprobs")) is not None:
        before = choice.get("logprobs")
        content = logprobs["content"] if before is None else before["content"] + logprobs["content"]
        choice["logprobs"] = {**logprobs, "content": content}
