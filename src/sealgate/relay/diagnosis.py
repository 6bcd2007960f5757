"""What a failed check says to an operator: one sentence that names what to do, never a secret."""

from __future__ import annotations

from urllib.parse import urlsplit

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Account
from sealgate.relay.verdict import sanitise

UNCONNECTED = frozenset({Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS, Failure.POOL})
"""Failures before anything could be asked."""
REFUSED = frozenset({Failure.INVALID_REQUEST, Failure.UNPROCESSABLE, Failure.REQUEST_TOO_LARGE, Failure.UNSUPPORTED})
WEB_PAGE = "answers with a web page, not an API; check base_url, which usually ends in /v1"

_SENTENCES = {
    Failure.UNREACHABLE: "cannot be reached at {place}; check base_url, and that the server runs",
    Failure.CONNECT_TIMEOUT: "cannot be reached: {place} takes no connection in time; check base_url and the firewall",
    Failure.TLS: "{place} shows a certificate that is not accepted; where it is your own authority's, set ca_file",
    Failure.POOL: "could not be asked: this process has no file descriptor left; raise the limit (ulimit -n)",
    Failure.CREDENTIAL: "the key is refused; check api_key, whether it has expired, and what it may be used for",
    Failure.QUOTA: "the quota is gone; pay or raise the limit at the provider, or set another key",
    Failure.RATE_LIMITED: "the rate limit of this key is reached; ask again later, or set another key",
    Failure.OVERLOADED: "is overloaded at the moment; ask again later",
    Failure.SERVER_ERROR: "fails by its own fault; ask again later, and look at the server where it is yours",
    Failure.REDIRECT: "answers with a redirect, which is never followed; set base_url to where it leads",
    Failure.TIMEOUT: "too slow: connected, but no answer came in time",
    Failure.TOO_LARGE: "sends more than anybody reads; check base_url",
    Failure.CONTEXT_LENGTH: "says that one word is too long for it; check what the server was started with",
    Failure.RESET: "breaks the connection before its answer is whole",
}
_SENTENCES[Failure.STALLED] = _SENTENCES[Failure.TIMEOUT]
_SENTENCES[Failure.TRUNCATED] = _SENTENCES[Failure.RESET]
_SENTENCES |= dict.fromkeys(REFUSED, "takes the key but refuses a plain request")

OTHER_NAME = "{place} shows the certificate of another name; check base_url for a typing error"
WITHOUT_KEY = "asks for a key, and none is set; set api_key"
UNSIGNED = "refuses the credentials that this machine has, or there are none"
NO_API = "does not answer as its API does, or is a web page; check kind and base_url, which usually ends in /v1"
NOWHERE = "answers {status} without saying why; check base_url, which usually ends in /v1, and the model's name"
GONE = "has no model {model}, or this key may not use it"


def sentence(error: UpstreamError, account: Account, model: str | None = None) -> str:
    """What is wrong and what to do about it; the provider's own words at the end, without secrets and addresses."""
    pattern = _sentence(error, account, model)
    said = pattern.format(place=urlsplit(account.base_url).netloc, status=error.status, model=repr(model))
    own = sanitise(error.text, account.secrets).strip()
    details = [f"{error.status}"] if error.status not in (None, 200) and "{status}" not in pattern else []
    details += [own] if own else []
    return f"{said} ({': '.join(details)})" if details else said


def _sentence(error: UpstreamError, account: Account, model: str | None) -> str:
    failure, text = error.failure, error.text.lower()
    if failure is Failure.MODEL_GONE:
        return GONE if error.text and model is not None else NOWHERE
    if failure is Failure.TLS and "mismatch" in text:
        return OTHER_NAME
    if failure is Failure.CREDENTIAL and not account.secrets:
        return WITHOUT_KEY if account.kind.host.signer(account) is None else UNSIGNED
    if failure is Failure.BAD_RESPONSE and "text/html" in text:
        return WEB_PAGE
    return _SENTENCES.get(failure, NO_API)
