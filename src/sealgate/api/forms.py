"""JSON bodies at the door: read once, checked whole, and refused in the dialect of the mount they came to.

Under ``/v1`` a body of the wrong form is 400 with ``error``; under ``/api/v1`` it is 422 with ``error`` and with
``detail``, which lists every place that is wrong. What is no JSON at all is 400 under both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import msgspec

from sealgate.api.call import IN_API, JSON, Call
from sealgate.errors import Detail, Problem
from sealgate.relay import form
from sealgate.relay.request import decode_object

MAX_BYTES = 64 * 1024
"""Of a form: an account call has no business being longer."""
SYNTAX_CODES = frozenset({"invalid_json", "invalid_encoding"})
"""Errors about bytes rather than form: 400 under both mounts."""

T = TypeVar("T", bound=msgspec.Struct)


async def read(call: Call, kind: type[T]) -> T:
    """The body as ``kind``. Raises `Problem`, with every wrong place in its details."""
    in_api = call.mount == IN_API
    require_json(call, lenient=in_api)
    body = await call.body(MAX_BYTES)
    with in_dialect(call):
        fields = decode_object(body)
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError:
            raise problem_with(form.places(fields, kind)) from None


def problem_with(details: list[Detail]) -> Problem:
    """``invalid_parameter``, told by the first of the places."""
    param = form.dotted(details[0].loc)
    return Problem("invalid_parameter", f"{param}: {details[0].msg}.", param=param, details=details)


@contextmanager
def in_dialect(call: Call) -> Iterator[None]:
    """What is refused inside as a wrong form (400) is refused in the dialect of the call's mount."""
    try:
        yield
    except Problem as problem:
        if call.mount == IN_API:
            raise in_s3_form(problem) from None
        raise


def in_s3_form(problem: Problem) -> Problem:
    """The same problem as 422 with details, if it is about the form of a body."""
    return as_unprocessable(problem) if problem.status == 400 and problem.code.name not in SYNTAX_CODES else problem


def as_unprocessable(problem: Problem) -> Problem:
    """The same problem as 422, with a list of details."""
    problem.code = replace(problem.code, status=422)
    if not problem.details:
        problem.details = (Detail((problem.param,) if problem.param else (), problem.message),)
    return problem


def require_json(call: Call, *, lenient: bool) -> None:
    """415 for a body that is compressed or says it is something else (rows C10, C11)."""
    if (call.noted.get(b"content-encoding") or b"identity").lower() != b"identity":
        raise Problem("unsupported_encoding")
    given = call.noted.get(b"content-type") or b""
    if given == JSON:
        return
    kind = given.partition(b";")[0].strip().lower()
    if kind == JSON or kind.endswith(b"+json") or (lenient and kind in (b"", b"text/plain")):
        return
    raise Problem("unsupported_media_type")
