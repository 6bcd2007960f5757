"""Whether a request carries a valid signature of AWS (Signature Version 4), checked as AWS does: by making it again.

Source: the IAM user guide, "Create a signed AWS API request". Only the standard library is used, so that the gateway's
signer, which is botocore's, is judged by another hand.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote

from sealgate.testing.received import Received

ACCESS_KEY = "AKIAMOCKMOCKMOCKMOCK"
SECRET_KEY = "mock-secret-of-the-tests-of-sealgate-000"  # noqa: S105 - nobody's
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/, ]+)/(?P<day>\d{8})/(?P<region>[^/, ]+)/(?P<service>[^/, ]+)/aws4_request"
    r", ?SignedHeaders=(?P<headers>[^, ]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def complaint(received: Received, service: str, region: str, *, secret: str = SECRET_KEY) -> str | None:
    """Why AWS would refuse the signature, as a sentence; None where it is valid."""
    found = _AUTHORIZATION.fullmatch(received.headers.get("authorization", ""))
    if found is None:
        return "Missing Authentication Token"
    if found["key"] != ACCESS_KEY:
        return "The security token included in the request is invalid."
    if (found["service"], found["region"]) != (service, region):
        return f"Credential should be scoped to correct service and region: '{service}' in '{region}'."
    at = received.headers.get("x-amz-date", "")
    signed = found["headers"].split(";")
    if not at.startswith(found["day"]) or not {"host", "x-amz-date"} <= set(signed):
        return "The signature must cover the headers host and x-amz-date, and its day must be that of x-amz-date."
    scope = f"{found['day']}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(_canonical(received, signed).encode()).hexdigest()
    made = _sign(_key(secret, *scope.split("/")), f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}").hex()
    if not hmac.compare_digest(made, found["signature"]):
        return "The request signature we calculated does not match the signature you provided."
    return None


def _canonical(received: Received, signed: list[str]) -> str:
    """The canonical request. Every service but S3 takes the path as sent, encoded once more."""
    path, _, query = received.path.partition("?")
    headers = "".join(f"{name}:{' '.join(received.headers.get(name, '').split())}\n" for name in signed)
    body = hashlib.sha256(received.body).hexdigest()
    pairs = "&".join(sorted(query.split("&"))) if query else ""
    return "\n".join([received.method, quote(path, safe="/-_.~"), pairs, headers, ";".join(signed), body])


def _key(secret: str, *scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = _sign(key, part)
    return key


def _sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
