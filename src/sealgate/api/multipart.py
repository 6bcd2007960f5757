"""``multipart/form-data`` (RFC 7578), read under limits while it comes: the one place that parses it.

The whole body goes into the spool as it came, once; the file is a range of it. Content-Transfer-Encoding is not
decoded (RFC 7578, 4.7, deprecates it), a part's name for the file is a hint and never a path.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sealgate.api.call import Call, ClientGoneError
from sealgate.errors import Problem, StorageError
from sealgate.storage.spool import Spool

MAX_PARTS = 64
MAX_PART_HEADERS = 8
MAX_HEADER_BYTES = 4096
MAX_FIELD_BYTES = 64 * 1024
MAX_BESIDE = 1024 * 1024
"""Bytes of a body that are not the file: other fields, heads of parts, what stands before and behind."""
MAX_BOUNDARY = 70
"""RFC 2046, 5.1.1."""
MAX_NAME = 128

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(slots=True)
class Form:
    """A form that was read. ``body`` is all of it as it came, ``file`` a range of that."""

    body: memoryview = field(default_factory=lambda: memoryview(b""))
    file: memoryview | None = None
    filename: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    """Names and values in the order in which they came."""


@asynccontextmanager
async def form(call: Call, folder: Path, limit: int) -> AsyncIterator[Form]:
    """The form in a request's body, with at most one file, in the field ``file``, of at most ``limit`` bytes.

    Raises `Problem`, and `ClientGoneError` where the body never ends. Whatever happens, nothing stays on the disk.
    """
    reader = Reader(boundary(call), limit)
    declared = call.header(b"content-length")
    if declared is not None and int(declared) > limit + MAX_BESIDE:
        raise _too_large(limit)
    spool: Spool | None = None
    try:
        spool = Spool(folder)
        while True:
            message = await call.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if piece := message.get("body", b""):
                reader.feed(piece)
                await spool.write(piece)
            if not message.get("more_body"):
                break
        found = reader.end()
        found.body = await spool.read()
        if reader.place is not None:
            found.file = found.body[reader.place : reader.place + reader.length]
        yield found
    except StorageError as error:
        raise Problem("storage_unavailable", "The upload could not be kept.") from error
    finally:
        if spool is not None:
            spool.close()


def boundary(call: Call) -> bytes:
    """What separates the parts. Raises `Problem`: 415 for another type of body, 400 without a proper boundary."""
    if (call.header(b"content-encoding") or b"identity").lower() != b"identity":
        raise Problem("unsupported_encoding")
    given = call.header(b"content-type") or b""
    kind, options = parse_options_header(given)
    if kind.lower() != b"multipart/form-data":
        raise Problem("unsupported_media_type", "This endpoint reads multipart/form-data.")
    found = options.get(b"boundary", b"")
    if len(found) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(found):
        raise Problem("invalid_multipart", "The Content-Type has no proper boundary.")
    return found


class Reader:
    """Follows a body through the parser. Raises `Problem` as soon as a limit is passed."""

    def __init__(self, separator: bytes, limit: int) -> None:
        self.place: int | None = None
        """Where the file begins in the body."""
        self.length = 0
        self._limit = limit
        self._form = Form()
        self._parts = 0
        self._seen = 0
        self._piece = b""
        self._ended = False
        self._name = b""
        self._value = bytearray()
        self._disposition: bytes | None = None
        self._part: str | None = None
        self._is_file = False
        handlers: dict[str, Callable[..., Any]] = {
            "on_part_begin": self._part_begins,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_header_begin": self._header_begins,
            "on_header_field": partial(self._header, True),
            "on_header_value": partial(self._header, False),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_finished,
            "on_end": self._over,
        }
        self._parser = MultipartParser(
            separator,
            handlers,  # type: ignore[arg-type]
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> None:
        self._piece = piece
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _malformed("it does not have the form of parts between boundaries") from None
        self._seen += len(piece)
        if self._seen - self.length > MAX_BESIDE:
            raise _malformed(f"more than {MAX_BESIDE} bytes of it are not the file")

    def end(self) -> Form:
        """The body has ended. Raises `Problem` where its last boundary has not come."""
        if not self._ended:
            raise _malformed("its last boundary is missing")
        return self._form

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._disposition = self._part = None
        self._is_file = False
        self._value = bytearray()

    def _header_begins(self) -> None:
        self._name, self._value = b"", bytearray()

    def _header(self, is_name: bool, data: bytes, start: int, end: int) -> None:
        if is_name:
            self._name += data[start:end]
        else:
            self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            if self._disposition is not None:
                raise _malformed("a part has two names")
            self._disposition = bytes(self._value)

    def _headers_finished(self) -> None:
        self._value = bytearray()
        self._part, filename = _named(self._disposition)
        self._is_file = filename is not None or self._part == "file"
        if not self._is_file:
            return
        if self._part != "file":
            raise Problem("invalid_parameter", "Only the field 'file' holds a file.", param=self._part)
        if self.place is not None:
            raise Problem("invalid_multipart", "The form has two files.", param="file")
        self._form.filename = filename or ""
        self.place, self.length = -1, 0

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise _malformed(f"a field is longer than {MAX_FIELD_BYTES} bytes")
            return
        # What looked like the beginning of a boundary at the end of the last piece comes from the parser's own copy.
        at = self._seen + start if data is self._piece else self._seen - (end - start)
        if self.place == -1:
            self.place = at
        elif self.place is None or at != self.place + self.length:
            raise _malformed("its file is not in one piece")
        self.length += end - start
        if self.length > self._limit:
            raise _too_large(self._limit)

    def _part_ends(self) -> None:
        if self._is_file:
            self.place = 0 if self.place == -1 else self.place
            return
        assert self._part is not None
        try:
            self._form.fields.append((self._part, self._value.decode()))
        except UnicodeDecodeError:
            raise Problem("invalid_parameter", f"{self._part} is not UTF-8.", param=self._part) from None

    def _over(self) -> None:
        self._ended = True


def _named(disposition: bytes | None) -> tuple[str, str | None]:
    """The field's name, and that of its file. Raises `Problem`."""
    if disposition is None:
        raise _malformed("a part has no Content-Disposition")
    if b"*=" in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", disposition):
        # RFC 7578, 4.2: it must not be used; readers that prefer it would see another name than those that do not.
        raise _malformed("a part's name is written in the extended form")
    kind, options = parse_options_header(disposition)
    name = options.get(b"name")
    if kind.lower() != b"form-data" or not name or len(name) > MAX_NAME:
        raise _malformed("a part has no proper name")
    filename = options.get(b"filename")
    try:
        return name.decode(), None if filename is None else filename.decode("utf-8", "replace")
    except UnicodeDecodeError:
        raise _malformed("a part's name is not UTF-8") from None


def _malformed(how: str) -> Problem:
    return Problem("invalid_multipart", f"The body is no proper form: {how}.")


def _too_large(limit: int) -> Problem:
    return Problem("request_too_large", f"The file is larger than {limit} bytes.", param="file")
