"""The testing kit: providers that do what they are told, clients that may do anything, time that jumps.

For the tests of applications that talk to language models, with or without the gateway in between, and for the
gateway's own. Nothing here is mocked: everything is real bytes on real loopback sockets.

=====================  ============================================================================================
`MockProvider`         a provider of any kind, in its own words: `Reply`, `Fault`, and everything it was asked
`ScriptedUpstream`     a provider on OpenAI's wire; `answer`, `error` and the faults are its scripts
`RawClient`            an HTTP client without a library: trickles, half-closes, resets, stops reading
`ToxicProxy`           latency, slicing, bandwidth, cuts and resets between two honest ends
`Issuer`               an OpenID Connect issuer: real tokens, and every kind of bad one
`JumpingClock`, `run`  an event loop on which minutes of waiting pass at once
=====================  ============================================================================================

Start with ``docs/testing.md``. Only the standard library and msgspec are needed, and joserfc for `Issuer`.
"""

from sealgate.testing.catalogue import CATALOGUE, by_model_name
from sealgate.testing.clock import JumpingClock, ManualClock, run
from sealgate.testing.embedding_wire import embedded, vector_of
from sealgate.testing.events import Comment, Event, EventReader
from sealgate.testing.faults import (
    after_done,
    bad_chunk,
    bare,
    cut_after,
    cut_at,
    dressed,
    empty,
    endless,
    gzip_body,
    gzip_bomb,
    html,
    huge_body,
    huge_head,
    huge_line,
    many_headers,
    no_done,
    not_json,
    odd_indexes,
    redirect,
    reset,
    role_only_then_cut,
    shifting_ids,
    short_body,
    silent,
    stale_reuse,
    stall_after,
    status_204,
    truncated,
    with_1xx,
    wrong_content_type,
)
from sealgate.testing.issuer import Issuer
from sealgate.testing.mock import MOCKS, Mocked, MockProvider, like_openai
from sealgate.testing.openai_wire import Answer, answer, tool, watermarks
from sealgate.testing.ports import refusing, unanswering
from sealgate.testing.rawclient import Piece, RawClient, RawResponse, http_request
from sealgate.testing.received import Received
from sealgate.testing.refusals import SHAPES, Shape, error, error_first, error_mid, quota
from sealgate.testing.reply import Asked, Fault, Reply, Usage
from sealgate.testing.script import (
    LAST_CHUNK,
    Behaviour,
    Chunk,
    Fin,
    Hang,
    Rst,
    Script,
    Send,
    Sleep,
    Step,
    WaitFor,
    Yield,
    chunk,
    delayed,
    head,
    json_answer,
    sse,
    whole,
    wire,
)
from sealgate.testing.splits import at, at_random, awkward, every, glued, split
from sealgate.testing.thread import ThreadedUpstream
from sealgate.testing.toxic import ToxicProxy, Toxics
from sealgate.testing.upstream import ScriptedUpstream

__all__ = [
    "CATALOGUE",
    "LAST_CHUNK",
    "MOCKS",
    "SHAPES",
    "Answer",
    "Asked",
    "Behaviour",
    "Chunk",
    "Comment",
    "Event",
    "EventReader",
    "Fault",
    "Fin",
    "Hang",
    "Issuer",
    "JumpingClock",
    "ManualClock",
    "MockProvider",
    "Mocked",
    "Piece",
    "RawClient",
    "RawResponse",
    "Received",
    "Reply",
    "Rst",
    "Script",
    "ScriptedUpstream",
    "Send",
    "Shape",
    "Sleep",
    "Step",
    "ThreadedUpstream",
    "ToxicProxy",
    "Toxics",
    "Usage",
    "WaitFor",
    "Yield",
    "after_done",
    "answer",
    "at",
    "at_random",
    "awkward",
    "bad_chunk",
    "bare",
    "by_model_name",
    "chunk",
    "cut_after",
    "cut_at",
    "delayed",
    "dressed",
    "embedded",
    "empty",
    "endless",
    "error",
    "error_first",
    "error_mid",
    "every",
    "glued",
    "gzip_body",
    "gzip_bomb",
    "head",
    "html",
    "http_request",
    "huge_body",
    "huge_head",
    "huge_line",
    "json_answer",
    "like_openai",
    "many_headers",
    "no_done",
    "not_json",
    "odd_indexes",
    "quota",
    "redirect",
    "refusing",
    "reset",
    "role_only_then_cut",
    "run",
    "shifting_ids",
    "short_body",
    "silent",
    "split",
    "sse",
    "stale_reuse",
    "stall_after",
    "status_204",
    "tool",
    "truncated",
    "unanswering",
    "vector_of",
    "watermarks",
    "whole",
    "wire",
    "with_1xx",
    "wrong_content_type",
]
