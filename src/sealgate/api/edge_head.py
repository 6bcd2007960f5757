"""A request's head: read from its bytes and judged. Pure; rows A4-A6 and A8-A13 of the fault matrix.

The parser (llhttp) has seen the same bytes before and refused what is not HTTP: bare line ends, folded lines, control
characters, white space before a colon, two lengths. What is left is to cut the lines and to judge what they say.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import TypeVar

import msgspec

from sealgate.api.edge_rules import EdgeLimits, RefusedError

Pair = tuple[bytes, bytes]
T = TypeVar("T")

KNOWN_LINES = 1024
LINE_BYTES = 160

_UNDERSCORE = ord("_")
_ONCE = {b"host": "invalid_host", b"transfer-encoding": "invalid_http"}

# Every caller sends the same few lines again and again. Only these are remembered: no other may hold a secret.
_REMEMBERED = frozenset(
    b"accept accept-encoding accept-language connection content-length content-type host priority sec-fetch-mode "
    b"transfer-encoding user-agent".split()
)
_REMEMBERED_PREFIX = b"x-stainless-"


class Target:
    """A request line, judged. ``old`` means HTTP/1.0; ``raw_path`` is as sent, ``path`` with its escapes undone."""

    __slots__ = ("method", "old", "path", "query", "raw_path")

    def __init__(self, line: bytes) -> None:
        parts = line.split(b" ")
        if len(parts) != 3:  # the parser also takes HTTP/0.9, and more than one space
            raise RefusedError("invalid_http")
        method, target, version = parts
        if version not in (b"HTTP/1.0", b"HTTP/1.1"):
            raise RefusedError("invalid_http")
        if method in (b"CONNECT", b"TRACE"):
            raise RefusedError("method_not_allowed")
        # Absolute-form is for proxies; a fragment never belongs here.
        if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")) or b"#" in target:
            raise RefusedError("invalid_http")
        self.old = version == b"HTTP/1.0"
        self.method = method.decode("ascii")
        self.raw_path, _, self.query = target.partition(b"?")
        self.path = urllib.parse.unquote(self.raw_path.decode("ascii"))


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a head says. ``noted`` has each header's first value."""

    target: Target
    headers: list[Pair]
    noted: dict[bytes, bytes]
    length: int | None = 0
    """Of the body; None where it is chunked."""
    continue_due: bool = False
    """Whether the caller waits for ``100 Continue``."""


class HeadReader:
    """Reads the heads of one server's requests.

    ``hosts`` are the names served, lower case, with a port where only that port is meant; None means any.
    """

    __slots__ = ("_hosts", "_limits", "_lines", "_targets")

    def __init__(self, limits: EdgeLimits, hosts: frozenset[str] | None) -> None:
        self._limits = limits
        self._hosts = hosts
        self._targets: dict[bytes, Target] = {}
        self._lines: dict[bytes, Pair] = {}

    def read(self, raw: bytes) -> Head:
        """``raw`` ends in the empty line. Raises `RefusedError`."""
        lines = raw[:-4].split(b"\r\n")
        first = lines.pop(0)
        if len(lines) > self._limits.header_count:
            raise RefusedError("headers_too_large")
        target = self._targets.get(first) or self._target(first)
        known = self._lines.get
        headers: list[Pair] = []
        for line in lines:
            pair = known(line) or self._pair(line)
            if pair is not None:
                headers.append(pair)
        noted = dict(headers)
        if len(noted) != len(headers):
            _refuse_doubles(headers)
            noted = dict(reversed(headers))
        if b"host" not in noted and (not target.old or self._hosts is not None):
            raise RefusedError("invalid_host")
        length = _length(noted, target.old)
        # RFC 9110, 10.1.1; other expectations are ignored.
        due = b"expect" in noted and noted[b"expect"].lower() == b"100-continue" and length != 0 and not target.old
        return Head(target, headers, noted, length, due)

    def _target(self, line: bytes) -> Target:
        target = Target(line)
        if b"?" not in line and len(line) <= LINE_BYTES:  # a query may hold a secret
            _remember(self._targets, line, target)
        return target

    def _pair(self, line: bytes) -> Pair | None:
        """One header, its name in lower case; None where it is dropped. Judges the host when it first sees it."""
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if _UNDERSCORE in name:
            return None
        if name == b"host":
            code = host_code(value, self._hosts)
            if code is not None:
                raise RefusedError(code)
        pair = (name, value)
        if len(line) <= LINE_BYTES and (name in _REMEMBERED or name[: len(_REMEMBERED_PREFIX)] == _REMEMBERED_PREFIX):
            _remember(self._lines, line, pair)
        return pair


def _length(noted: dict[bytes, bytes], old: bool) -> int | None:
    coding = noted.get(b"transfer-encoding")
    if coding is None:
        return int(noted.get(b"content-length", 0))
    if old or coding.lower() != b"chunked":
        raise RefusedError("invalid_http")
    return None


def _remember(known: dict[bytes, T], line: bytes, meaning: T) -> None:
    if len(known) >= KNOWN_LINES:
        known.clear()
    known[line] = meaning


_HOST = re.compile(rb"(?P<name>[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?")


def host_code(value: bytes, hosts: frozenset[str] | None) -> str | None:
    """The code a ``Host`` value is refused with, or None where it is good (rows A8, A9).

    Stricter than RFC 3986, which lets sub-delimiters and percent escapes into a name that nobody resolves.
    """
    match = _HOST.fullmatch(value)
    if match is None or int((match["port"] or b":0")[1:]) > 65535:
        return "invalid_host"
    if hosts is None:
        return None
    name, whole = match["name"].decode().lower().rstrip("."), value.decode().lower()
    return None if name in hosts or whole in hosts else "misdirected_request"


def _refuse_doubles(headers: list[Pair]) -> None:
    """Two of some headers break the message itself; of others the application is the judge."""
    names = [name for name, _ in headers]
    for name, code in _ONCE.items():
        if names.count(name) > 1:
            raise RefusedError(code)
