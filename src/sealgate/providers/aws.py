"""What AWS's services have in common: signatures, credentials that expire, the binary event stream, errors.

Everything AWS-specific that has to be exact is botocore's (the optional extra ``aws``): the chain of credentials, the
signature (Signature Version 4), the frames of ``application/vnd.amazon.eventstream``. It is imported when an account
needs it. Source: botocore's ``auth.py``, ``credentials.py``, ``eventstream.py`` and the service models
``bedrock-runtime`` and ``sagemaker-runtime``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Request
from sealgate.providers.base import Account, Json, Signer
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.statuses import by_status

EVENT_STREAM = "application/vnd.amazon.eventstream"
EXTRA = ("aws", "botocore.eventstream")

LOAD_SECONDS = 10.0
"""How long a request waits for credentials."""
RETRY_SECONDS = 5.0
"""How long a search is not repeated: whether it found none, or some that are due for renewal already."""
REREAD_SECONDS = 600.0
"""After this long credentials that do not say when they expire are read again: a file may have been written anew."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Keys(NamedTuple):
    """One set of credentials; ``ends`` says whether they should be renewed soon, or are over."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "Keys(...)"


class Credentials(NamedTuple):
    """Keys, and questions about them that never block: renew soon? over?"""

    keys: Keys
    renew: Callable[[], bool]
    over: Callable[[], bool]
    region: str | None

    def __repr__(self) -> str:
        return "Credentials(...)"


def find_credentials() -> Credentials | None:
    """What botocore's chain finds: environment, profile, SSO, web identity, container, instance. Blocks; may raise."""
    # Imported here, aside, because it takes half a second.
    import botocore.auth  # type: ignore[import-untyped]
    import botocore.awsrequest  # type: ignore[import-untyped]  # noqa: F401
    from botocore.session import Session  # type: ignore[import-untyped]

    session = Session()
    found = session.get_credentials()
    if found is None:
        return None
    frozen = found.get_frozen_credentials()
    due = monotonic() + REREAD_SECONDS
    needed = getattr(found, "refresh_needed", None)
    return Credentials(
        Keys(frozen.access_key, frozen.secret_key, frozen.token),
        renew=(lambda: needed(300)) if needed else (lambda: monotonic() > due),
        over=(lambda: needed(10)) if needed else (lambda: False),
        region=session.get_config_variable("region"),
    )


class CredentialStore:
    """The credentials of this process, found in a thread of their own and renewed before they end.

    A request waits only while there are none at all, and not longer than ``patience`` seconds.
    """

    def __init__(self, find: Callable[[], Credentials | None] | None = None, patience: float = LOAD_SECONDS) -> None:
        self._find = find or find_credentials
        self._patience = patience
        self._current: Credentials | None = None
        self._loading: asyncio.Future[Credentials | None] | None = None
        self._quiet_until = 0.0
        """No search before this moment while there are credentials: a machine's own are renewed late."""
        self._failed_until = 0.0
        self._why = ""

    async def get(self) -> Credentials:
        """Valid credentials. Raises `UpstreamError` with CREDENTIAL; its text names no secret."""
        current, now = self._current, monotonic()
        if current is not None and not current.over():
            if now >= self._quiet_until and current.renew():
                self._begin()
            return current
        if self._loading is None and now < self._failed_until:
            raise UpstreamError(Failure.CREDENTIAL, self._why)
        try:
            async with asyncio.timeout(self._patience):
                found = await asyncio.shield(self._begin())
        except TimeoutError:
            raise UpstreamError(Failure.CREDENTIAL, "AWS credentials did not come in time") from None
        if found is None:
            raise UpstreamError(Failure.CREDENTIAL, self._why)
        return found

    def _begin(self) -> asyncio.Future[Credentials | None]:
        """The search that is under way, or a new one."""
        if self._loading is None:
            loop = asyncio.get_running_loop()
            self._loading = loop.create_future()
            # A thread of its own: what hangs in it must not keep the process from ending.
            threading.Thread(target=self._search, args=(loop,), name="aws-credentials", daemon=True).start()
        return self._loading

    def _search(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            found, why = self._find(), "there are no AWS credentials (environment, profile, role of the machine)"
        except Exception as error:  # whatever botocore or a plugin of it meets
            found, why = None, f"AWS credentials could not be loaded: {type(error).__name__}"
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._arrived, found, why)

    def _arrived(self, found: Credentials | None, why: str) -> None:
        loading, self._loading = self._loading, None
        self._quiet_until = monotonic() + RETRY_SECONDS
        if found is None:
            self._why, self._failed_until = why, self._quiet_until
        else:
            self._current = found
        if loading is not None and not loading.done():
            loading.set_result(found)


class SigV4Signer:
    """Signature Version 4 over method, URL, content type, AWS's own headers and the body."""

    def __init__(self, service: str, region: str | None, store: CredentialStore) -> None:
        self._service = service
        self._region = region
        self._store = store

    async def sign(self, request: Request, key: int) -> Request:  # noqa: ARG002
        found = await self._store.get()
        region = self._region or found.region
        if region is None:
            raise UpstreamError(Failure.CREDENTIAL, "no AWS region is known: set aws_region")
        return sign(request, found.keys, self._service, region)


def sign(request: Request, keys: Keys, service: str, region: str) -> Request:
    """The request with its signature, at this moment.

    Only what AWS demands is signed: a proxy may change the other headers.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials  # type: ignore[import-untyped]

    signed = {
        name: value
        for name, value in request.headers.items()
        if name.lower() == "content-type" or name.lower().startswith("x-amz")
    }
    draft = AWSRequest(method=request.method, url=request.url, headers=signed, data=request.body)
    SigV4Auth(ReadOnlyCredentials(*keys), service, region).add_auth(draft)
    given = {name.lower(): value for name, value in draft.headers.items()}
    return replace(request, headers={**request.headers, **given})


class AwsHost:
    """What the hosts on AWS share: a signature, or a key. Their paths are their own."""

    def __init__(self, service: str) -> None:
        self.service = service

    def credential(self, secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"}

    def signer(self, account: Account) -> Signer | None:
        if account.secrets:
            return None
        return SigV4Signer(self.service, account.aws_region, CredentialStore())


# The event stream


class Frame(NamedTuple):
    """One message: the name of an event, and what it carries."""

    event: str
    payload: bytes


class FrameReader:
    """Frames out of pieces that may be cut anywhere. Raises `UpstreamError`, also for the failures among them."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]

        self._buffer: Any = EventStreamBuffer()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Frames one by one, so that what came before a failure in the same piece is not lost."""
        buffer = self._buffer
        buffer.add_data(piece)
        while True:
            try:
                message = buffer.next()
            except StopIteration:
                return
            except Exception as error:  # struct.error and botocore's own, which have no common base
                raise UpstreamError(Failure.BAD_STREAM, f"a frame is broken: {type(error).__name__}") from None
            headers = message.headers
            if headers.get(":message-type", "event") != "event":
                raise _failed(headers, message.payload)
            yield Frame(headers.get(":event-type", ""), message.payload)


def _failed(headers: Mapping[str, Any], payload: bytes) -> UpstreamError:
    """A frame that says that the stream has failed: a modelled exception, or an error without a model."""
    name = str(headers.get(":exception-type") or headers.get(":error-code") or "")
    document = read_object(payload)
    text = words(document) or str(headers.get(":error-message") or "")
    return exception(name, text, None, document)


# Errors

CREDENTIAL_ERRORS = frozenset(
    {
        "AccessDenied", "ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "InvalidSignature",
        "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "RequestExpired", "SignatureDoesNotMatch",
        "UnrecognizedClient",
    }
)  # fmt: skip

BY_NAME = {
    **dict.fromkeys(CREDENTIAL_ERRORS, Failure.CREDENTIAL),
    "Throttling": Failure.RATE_LIMITED,
    "TooManyRequests": Failure.RATE_LIMITED,
    "RequestLimitExceeded": Failure.RATE_LIMITED,
    "ServiceQuotaExceeded": Failure.QUOTA,
    "ModelNotReady": Failure.OVERLOADED,
    "ServiceUnavailable": Failure.OVERLOADED,
    "ResourceNotFound": Failure.MODEL_GONE,
    "ModelTimeout": Failure.TIMEOUT,
    "InternalServer": Failure.SERVER_ERROR,
    "InternalFailure": Failure.SERVER_ERROR,
    "InternalDependency": Failure.SERVER_ERROR,
    "InternalStreamFailure": Failure.SERVER_ERROR,
    "ModelError": Failure.SERVER_ERROR,
    "ModelStreamError": Failure.SERVER_ERROR,
    "Conflict": Failure.SERVER_ERROR,
}
"""The service models' exceptions, without the endings ``Exception`` and ``Error``, whatever their status."""

TOO_LONG = (
    "is too long", "too many input tokens", "too many tokens in", "input tokens exceed", "context length",
    "context window", "maximum context", "context limit", "`max_new_tokens` must be", "`inputs` must have less",
)  # fmt: skip
NO_MODEL = (
    "model identifier is invalid", "on-demand throughput isn", "end of its life", "doesn't support the converse",
    "not supported in this region",
)  # fmt: skip
_NO_ENDPOINT = re.compile(r"\bendpoint \S+ of account \d+ not found", re.IGNORECASE)
"""How SageMaker says that there is no such endpoint."""
"""What is said under the one name ``ValidationException``: only its words tell these from a faulty request."""


def failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """What an error answer of AWS says about a route."""
    if 300 <= status < 400:
        return UpstreamError(Failure.REDIRECT, status=status)
    document = read_object(body)
    name = headers.get("x-amzn-errortype") or document.get("__type") or document.get("code") or ""
    found = exception(str(name), words(document), status, document)
    found.retry_after = _seconds(headers.get("retry-after"))
    return found


def exception(name: str, text: str, status: int | None, document: Json) -> UpstreamError:
    """An exception by its name, then by its status; ``document`` may hold the status that the model's server gave."""
    own = name.partition(":")[0].rpartition("#")[2].removesuffix("Exception")
    own = own[:1].upper() + own[1:]
    if own not in BY_NAME:
        own = own.removesuffix("Error")
    found = BY_NAME.get(own)
    lowered = text.lower()
    if own == "Validation":
        found = _validation(lowered)
    elif found is Failure.RATE_LIMITED and "per day" in lowered:
        found = Failure.QUOTA  # a daily quota: waiting a moment does not help
    elif own in ("ModelError", "ModelStreamError"):
        found, text = _inner(document, text)
    if found is None:
        found = by_status(status)
    return UpstreamError(found, text, status=status)


def _validation(text: str) -> Failure:
    if any(sign in text for sign in TOO_LONG):
        return Failure.CONTEXT_LENGTH
    if any(sign in text for sign in NO_MODEL) or _NO_ENDPOINT.search(text):
        return Failure.MODEL_GONE
    return Failure.INVALID_REQUEST


def _inner(document: Json, text: str) -> tuple[Failure, str]:
    """What the model's own server said, where the service repeats it."""
    said = document.get("OriginalMessage") or document.get("originalMessage")
    inner = document.get("OriginalStatusCode") or document.get("originalStatusCode")
    words_of_it = _plain(said) if isinstance(said, str) and said else text
    if document.get("ErrorCode") == "ModelInvocationTimeExceeded":
        return Failure.TIMEOUT, words_of_it
    if not isinstance(inner, int) or inner >= 500 or inner in (401, 403, 404):
        return Failure.SERVER_ERROR, words_of_it
    if any(sign in words_of_it.lower() for sign in TOO_LONG):
        return Failure.CONTEXT_LENGTH, words_of_it
    return by_status(inner), words_of_it


def _plain(said: str) -> str:
    """The sentence in what a model's own server said, where that is an error document as OpenAI's or TGI's are."""
    error = read_object(said.encode()).get("error")
    found = error.get("message") if isinstance(error, dict) else error
    return found if isinstance(found, str) and found else said


def read_object(body: bytes) -> Json:
    """The JSON object in a body, or an empty one."""
    try:
        return _decode(body)
    except UNREADABLE:
        return {}


def words(document: Json) -> str:
    """The message of an error, however it is spelled."""
    said: Iterable[Any] = (document.get(name) for name in ("message", "Message", "originalMessage", "OriginalMessage"))
    return next((each for each in said if isinstance(each, str) and each), "")


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
