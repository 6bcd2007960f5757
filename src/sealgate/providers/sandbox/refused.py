"""What the sandbox says no with: the error body an OpenAI-compatible server would send."""

from __future__ import annotations

import msgspec


class RefusedError(Exception):
    """The request cannot be answered. ``param`` names the field, ``code`` is a short stable word."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str = "invalid_value", status: int = 400
    ) -> None:
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        super().__init__(message)

    def body(self) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}`` as JSON."""
        return error_body(self.message, "invalid_request_error", self.code, self.param)


class UnsupportedError(Exception):
    """A schema, a regular expression or a grammar that cannot be satisfied, or not by this generator."""


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """An error in OpenAI's shape (https://developers.openai.com/docs/guides/error-codes)."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
