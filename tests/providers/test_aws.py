"""What AWS's services share: signatures, credentials, frames, and what their errors say."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import threading
from binascii import crc32
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.gateway import Serve, model, provider

from sealgate.config import Provider, Secret
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.outward.client import Request
from sealgate.providers import aws
from sealgate.relay.catalog import make_account
from sealgate.testing import ScriptedUpstream, answer, bedrock_wire

KEYS = aws.Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "TOKEN")
ROOT = "https://bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x"


def frame(payload: bytes, **headers: str) -> bytes:
    """A frame with these headers; ``_`` in their names stands for ``-``."""
    return bedrock_wire.frame(payload, {":" + name.replace("_", "-"): value for name, value in headers.items()})


# Signatures


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment of the known answers."""
    import botocore.auth

    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: datetime(2026, 11, 20, 10, tzinfo=UTC))


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize(("name", "way", "signature"), [
    (CLAUDE, False, "684eab7045f7b6fcc31fe40f355328a4e90bddf56d9f94663c074b87226454b9"),
    (PROFILE, True, "7563bbbd1793e201476d64118d765dd2feee24ed5eed0cd6eaad1ecaf25f1f89"),
])  # fmt: skip
def test_a_request_is_signed_as_botocore_signs_it(name: str, way: bool, signature: str) -> None:
    """Known answers; the model's id is escaped once in the address and once more in what is signed."""
    account = make_account("b", Provider(kind="bedrock", aws_region="us-east-1"))
    url = account.kind.host.url(account, name, stream=way)
    headers = {"content-type": "application/json", "accept": "x", "user-agent": "sealgate", "traceparent": "00-1"}
    signed = aws.sign(Request("POST", url, headers, b"{}"), KEYS, "bedrock", "us-east-1")
    assert signed.headers["authorization"].endswith(f"Signature={signature}")
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token," in signed.headers["authorization"]
    assert signed.headers["x-amz-date"] == "20261120T100000Z"
    assert signed.headers["x-amz-security-token"] == "TOKEN"
    assert {name: signed.headers[name] for name in headers} == headers
    assert (signed.url, signed.body, signed.method) == (url, b"{}", "POST")


def test_headers_of_aws_are_signed_too() -> None:
    headers = {"content-type": "application/json", "x-amzn-bedrock-trace": "ENABLED"}
    signed = aws.sign(Request("POST", ROOT + "/model/x/converse", headers, b"{}"), KEYS, "bedrock", "us-east-1")
    assert "x-amzn-bedrock-trace" in signed.headers["authorization"].partition("SignedHeaders=")[2]


def test_an_id_is_one_segment_of_the_path() -> None:
    account = make_account("b", Provider(kind="bedrock", aws_region="eu-west-1"))
    url = account.kind.host.url(account, PROFILE, stream=False)
    assert url == (
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/"
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-x/converse"
    )
    with pytest.raises(UpstreamError):
        account.kind.host.url(account, "..", stream=False)


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "service"), [("bedrock", "bedrock"), ("sagemaker", "sagemaker")])
async def test_what_arrives_is_what_was_signed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, kind: str, service: str
) -> None:
    """The signature holds for the bytes on the wire: path, host, headers and body."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    async with ScriptedUpstream(default=answer("Hi")) as upstream:
        row = provider(upstream.origin, kind=kind, api_key=(), aws_region="us-west-2")
        async with serve({"acme": row}, {"m": model("acme", upstream_model=PROFILE)}) as gateway:
            await gateway.chat()
    [received] = upstream.requests
    import botocore.auth

    when = datetime.strptime(received.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: when)
    again = Request(
        "POST",
        f"http://{received.headers['host']}{received.path}",
        {"content-type": received.headers["content-type"]},
        received.body,
    )
    assert received.headers["authorization"] == aws.sign(again, KEYS, service, "us-west-2").headers["authorization"]
    assert f"/us-west-2/{service}/aws4_request" in received.headers["authorization"]
    assert "%2F" in received.path


@pytest.mark.anyio
async def test_without_credentials_nothing_is_sent_and_the_next_route_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "find_credentials", lambda: None)
    async with ScriptedUpstream() as one, ScriptedUpstream(handler=bedrock_wire.converse("Hi")) as two:
        rows = {
            "mine": provider(one.origin, kind="bedrock", api_key=(), aws_region="us-west-2"),
            "backup": provider(two.origin, kind="bedrock"),
        }
        async with serve(rows) as gateway:
            assert (await gateway.chat()).text == "Hi"
        async with serve({"mine": rows["mine"]}) as gateway:
            alone = await gateway.chat()
        assert (alone.status, alone.json["error"]["code"]) == (502, "upstream_auth_failed")
    assert one.requests == []


def test_a_key_is_sent_as_bearer_and_nothing_is_signed() -> None:
    account = make_account("b", Provider(kind="bedrock", aws_region="us-east-1", api_key=(Secret("k"),)))
    assert account.fixed_headers[0][True]["authorization"] == "Bearer k"
    assert account.kind.host.signer(account) is None


def test_the_region_is_asked_for_where_there_is_no_address() -> None:
    with pytest.raises(ConfigError, match="needs 'aws_region'"):
        make_account("b", Provider(kind="bedrock"))


@pytest.mark.parametrize("kind", ["bedrock", "sagemaker"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.eventstream", None)
    with pytest.raises(ConfigError, match=r"pip install 'sealgate\[aws\]'"):
        make_account("b", Provider(kind=kind, aws_region="us-east-1"))


# Credentials


def found(*, renew: bool = False, over: bool = False, region: str | None = None) -> aws.Credentials:
    return aws.Credentials(KEYS, lambda: renew, lambda: over, region)


@pytest.mark.anyio
async def test_the_chain_finds_credentials_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    given = await aws.CredentialStore().get()
    assert given.keys == aws.Keys("AKIA1", "s3cret", None)
    assert given.region == "eu-north-1"
    assert (given.renew(), given.over()) == (False, False)
    assert "s3cret" not in repr(given) + repr(given.keys)


@pytest.mark.anyio
async def test_credentials_are_searched_once_for_all_who_wait_and_never_on_the_loop() -> None:
    threads: list[str] = []

    def find() -> aws.Credentials:
        threads.append(threading.current_thread().name)
        return found()

    store = aws.CredentialStore(find)
    given = await asyncio.gather(*(store.get() for _ in range(5)))
    assert threads == ["aws-credentials"]
    assert {each.keys for each in given} == {KEYS}
    await store.get()
    assert len(threads) == 1


@pytest.mark.anyio
async def test_credentials_that_end_soon_are_renewed_aside_while_they_still_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws, "RETRY_SECONDS", 0.0)
    fresh = found()
    queue = [found(renew=True), fresh]
    done = threading.Event()

    def find() -> aws.Credentials:
        if len(queue) == 1:
            done.wait(5)
        return queue.pop(0)

    store = aws.CredentialStore(find)
    older = await store.get()
    assert await store.get() is older, "nobody waits for the new ones"
    done.set()
    for _ in range(200):
        if (current := await store.get()) is fresh:
            break
        await asyncio.sleep(0.005)
    assert current is fresh


@pytest.mark.anyio
async def test_credentials_that_come_due_for_renewal_are_not_searched_for_again_and_again() -> None:
    """As a machine's own are, until its service renews them."""
    calls: list[None] = []

    def find() -> aws.Credentials:
        calls.append(None)
        return found(renew=True)

    store = aws.CredentialStore(find)
    for _ in range(5):
        await store.get()
        await asyncio.sleep(0)
    assert len(calls) == 1


@pytest.mark.anyio
async def test_credentials_that_are_over_are_waited_for() -> None:
    fresh = found()
    queue = [found(renew=True, over=True), fresh]
    store = aws.CredentialStore(lambda: queue.pop(0))
    await store.get()
    assert await store.get() is fresh


def _no_route() -> aws.Credentials:
    raise OSError("s3cret in a message")


@pytest.mark.anyio
@pytest.mark.parametrize(("find", "says"), [(lambda: None, "no AWS credentials"), (_no_route, "OSError")])
async def test_without_credentials_the_route_is_refused_and_no_secret_is_told(find: Any, says: str) -> None:
    """The search is not repeated for each request: it may take seconds."""
    calls: list[None] = []

    def counted() -> aws.Credentials | None:
        calls.append(None)
        result: aws.Credentials | None = find()
        return result

    store = aws.CredentialStore(counted)
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await store.get()
        assert caught.value.failure is Failure.CREDENTIAL
        assert says in caught.value.text
        assert "s3cret" not in caught.value.text
    assert len(calls) == 1


@pytest.mark.anyio
async def test_a_search_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def find() -> aws.Credentials:
        release.wait(5)
        return found()

    store = aws.CredentialStore(find, patience=0.02)
    with pytest.raises(UpstreamError) as caught:
        await store.get()
    assert (caught.value.failure, caught.value.text) == (Failure.CREDENTIAL, "AWS credentials did not come in time")
    release.set()
    for _ in range(200):
        if store._current is not None:
            break
        await asyncio.sleep(0.005)
    assert (await store.get()).keys == KEYS, "what comes late is used by the next one"


@pytest.mark.anyio
async def test_without_any_region_nothing_is_signed() -> None:
    signer = aws.SigV4Signer("bedrock", None, aws.CredentialStore(found))
    with pytest.raises(UpstreamError, match="aws_region"):
        await signer.sign(Request("POST", ROOT, {}, b""), 0)
    known = aws.SigV4Signer("bedrock", None, aws.CredentialStore(lambda: found(region="eu-west-3")))
    signed = await known.sign(Request("POST", ROOT, {"content-type": "x"}, b""), 0)
    assert "/eu-west-3/bedrock/" in signed.headers["authorization"]


# Frames

KNOWN = bytes.fromhex(
    "0000009800000057715b77ef0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d7479"
    "70650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22636f6e74656e74426c6f63"
    "6b496e646578223a20302c202264656c7461223a207b2274657874223a20224869227d7d28f0287b"
)


def test_a_known_frame_is_read_wherever_it_is_cut() -> None:
    for cut in range(len(KNOWN) + 1):
        reader = aws.FrameReader()
        frames = [*reader.feed(KNOWN[:cut]), *reader.feed(KNOWN[cut:] + KNOWN)]
        assert frames == [("contentBlockDelta", b'{"contentBlockIndex": 0, "delta": {"text": "Hi"}}')] * 2


@pytest.mark.parametrize("place", [3, 9, 20, 100, 150])
def test_a_frame_whose_checksum_is_wrong_breaks_the_stream(place: int) -> None:
    broken = bytearray(KNOWN)
    broken[place] ^= 1
    with pytest.raises(UpstreamError) as caught:
        list(aws.FrameReader().feed(bytes(broken) + KNOWN))
    assert caught.value.failure is Failure.BAD_STREAM


def test_a_frame_that_promises_too_much_is_not_waited_for() -> None:
    prelude = struct.pack(">II", 2**31, 0)
    with pytest.raises(UpstreamError) as caught:
        list(aws.FrameReader().feed(prelude + struct.pack(">I", crc32(prelude))))
    assert caught.value.failure is Failure.BAD_STREAM


def test_what_came_before_a_failure_in_the_same_piece_is_not_lost() -> None:
    stream = aws.FrameReader().feed(
        KNOWN + frame(b'{"message":"Slow down"}', message_type="exception", exception_type="throttlingException")
    )
    assert next(stream).event == "contentBlockDelta"
    with pytest.raises(UpstreamError) as caught:
        next(stream)
    assert (caught.value.failure, caught.value.text) == (Failure.RATE_LIMITED, "Slow down")


@pytest.mark.parametrize(("name", "body", "failure"), [
    ("throttlingException", {"message": "x"}, Failure.RATE_LIMITED),
    ("internalServerException", {"message": "x"}, Failure.SERVER_ERROR),
    ("modelStreamErrorException", {"message": "x"}, Failure.SERVER_ERROR),
    ("modelStreamErrorException", {"message": "x", "originalStatusCode": 429}, Failure.RATE_LIMITED),
    ("validationException", {"message": "x"}, Failure.INVALID_REQUEST),
    ("validationException", {"message": "Input is too long for requested model."}, Failure.CONTEXT_LENGTH),
    ("serviceUnavailableException", {"message": "x"}, Failure.OVERLOADED),
    ("modelTimeoutException", {"message": "x"}, Failure.TIMEOUT),
    ("ModelStreamError", {"Message": "x", "ErrorCode": "ModelInvocationTimeExceeded"}, Failure.TIMEOUT),
    ("ModelStreamError", {"Message": "x", "ErrorCode": "StreamBroken"}, Failure.SERVER_ERROR),
    ("InternalStreamFailure", {"Message": "x"}, Failure.SERVER_ERROR),
    ("somethingNew", {"message": "x"}, Failure.SERVER_ERROR),
])  # fmt: skip
def test_a_stream_may_fail_in_a_frame(name: str, body: dict[str, Any], failure: Failure) -> None:
    with pytest.raises(UpstreamError) as caught:
        list(aws.FrameReader().feed(frame(json.dumps(body).encode(), message_type="exception", exception_type=name)))
    assert caught.value.failure is failure
    assert caught.value.text


def test_an_error_without_a_model_says_why_in_its_headers() -> None:
    broken = frame(b"", message_type="error", error_code="InternalFailure", error_message="It broke")
    with pytest.raises(UpstreamError) as caught:
        list(aws.FrameReader().feed(broken))
    assert (caught.value.failure, caught.value.text) == (Failure.SERVER_ERROR, "It broke")


# Errors


@pytest.mark.parametrize(("status", "name", "text", "failure"), [
    (400, "ValidationException", "The provided model identifier is invalid.", Failure.MODEL_GONE),
    (400, "ValidationException", "Invocation of model ID x with on-demand throughput isn't supported.",
     Failure.MODEL_GONE),
    (400, "ValidationException", "prompt is too long: 210000 tokens > 200000 maximum", Failure.CONTEXT_LENGTH),
    (400, "ValidationException", "Input Tokens Exceeded: Number of input tokens exceeds maximum length",
     Failure.CONTEXT_LENGTH),
    (400, "ValidationException", "This model doesn't support the s3Uri field.", Failure.INVALID_REQUEST),
    (400, "ServiceQuotaExceededException", "x", Failure.QUOTA),
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", Failure.RATE_LIMITED),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", Failure.QUOTA),
    (429, "ModelNotReadyException", "x", Failure.OVERLOADED),
    (403, "AccessDeniedException", "You don't have access to the model.", Failure.CREDENTIAL),
    (403, "UnrecognizedClientException:http://internal.amazon.com/coral/", "x", Failure.CREDENTIAL),
    (403, "ExpiredTokenException", "x", Failure.CREDENTIAL),
    (400, "com.amazon.coral.service#InvalidSignatureException", "x", Failure.CREDENTIAL),
    (404, "ResourceNotFoundException", "This model version has reached the end of its life.", Failure.MODEL_GONE),
    (408, "ModelTimeoutException", "x", Failure.TIMEOUT),
    (424, "ModelErrorException", "x", Failure.SERVER_ERROR),
    (500, "InternalServerException", "x", Failure.SERVER_ERROR),
    (503, "ServiceUnavailableException", "x", Failure.OVERLOADED),
    (400, "ValidationError", "x", Failure.INVALID_REQUEST),
    (530, "InternalDependencyException", "x", Failure.SERVER_ERROR),
    (503, "ServiceUnavailable", "x", Failure.OVERLOADED),
    (429, "", "x", Failure.RATE_LIMITED),
    (400, "", "x", Failure.INVALID_REQUEST),
    (418, "", "x", Failure.INVALID_REQUEST),
    (502, "", "x", Failure.SERVER_ERROR),
    (204, "", "x", Failure.BAD_RESPONSE),
])  # fmt: skip
def test_an_error_is_known_by_its_name_then_by_its_status(status: int, name: str, text: str, failure: Failure) -> None:
    in_header = aws.failure(status, {"x-amzn-errortype": name}, json.dumps({"message": text}).encode())
    in_body = aws.failure(status, {}, json.dumps({"__type": name, "Message": text}).encode())
    for error in (in_header, in_body):
        assert (error.failure, error.text, error.status) == (failure, text, status)


@pytest.mark.parametrize(("status", "text", "failure"), [
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512.", Failure.CONTEXT_LENGTH),
    (422, "bad", Failure.UNPROCESSABLE), (400, "bad", Failure.INVALID_REQUEST), (429, "busy", Failure.RATE_LIMITED),
    (500, "oops", Failure.SERVER_ERROR), (401, "who", Failure.SERVER_ERROR), (404, "what", Failure.SERVER_ERROR),
])  # fmt: skip
def test_a_models_own_error_is_judged_by_the_status_its_server_gave(status: int, text: str, failure: Failure) -> None:
    body = {"Message": "Received an error from primary", "OriginalStatusCode": status, "OriginalMessage": text}
    for own in (text, json.dumps({"error": text, "error_type": "x"}), json.dumps({"error": {"message": text}})):
        body["OriginalMessage"] = own
        error = aws.failure(424, {"x-amzn-errortype": "ModelError"}, json.dumps(body).encode())
        assert (error.failure, error.text, error.status) == (failure, text, 424)


def test_a_redirect_is_not_followed_and_a_wait_is_told() -> None:
    assert aws.failure(307, {}, b"").failure is Failure.REDIRECT
    assert aws.failure(429, {"retry-after": "7"}, b"<html>").retry_after == 7
    assert aws.failure(429, {"retry-after": "Sat, 21 Nov"}, b"").retry_after is None
