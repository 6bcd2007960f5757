"""Vectors for receipts: fixed keys, salts, times and bytes, and the receipts that they must give, to the byte.

``FIRST`` is a receipt of an older form, with other names, labels and ``typ``: it holds for encoding, digests, signature
and entry. ``FINAL`` holds for everything.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sealgate.formats import jws
from sealgate.receipts import receipt
from sealgate.receipts.receipt import About, Digests, Outcome, Signer, Software, Told

FINAL: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def key(name: str) -> ec.EllipticCurvePrivateKey:
    scalar = int.from_bytes(hashlib.sha256(name.encode()).digest()) % (jws.ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def signer(name: str = "gw golden receipt key 1") -> Signer:
    private = key(name)
    return receipt.signer(jws.thumbprint(jws.jwk(private.public_key())), private)


def key_set(status: str = "active", name: str = "gw golden receipt key 1") -> dict[str, Any]:
    public = jws.jwk(key(name).public_key())
    return {
        "keys": [{**public, "kid": jws.thumbprint(public), "use": "sig", "alg": "ES256", "sealgate_status": status}]
    }


def issued(vector: dict[str, Any]) -> str:
    """The receipt of a vector, made by the code that makes receipts."""
    salt = bytes.fromhex(vector["salt"])
    request, response = vector["request"].encode(), vector["response"].encode()
    sent = None if vector["sent"] is None else vector["sent"].encode()
    document = receipt.canonical_or_none(json.loads(request))
    said = None if vector["choices"] is None else receipt.canonical_or_none(vector["choices"])
    digests = Digests(
        request_wire=receipt.digest(salt, "request.wire", request),
        request_jcs=None if document is None else receipt.digest(salt, "request.jcs", document),
        forwarded=None if sent is None else receipt.digest(salt, "forwarded.wire", sent),
        rewritten=sent != request,
        response_wire=receipt.digest(salt, "response.wire", response),
        response_bytes=len(response),
        response_content=None if said is None else receipt.digest(salt, "response.content", said),
    )
    about = About(
        vector["id"], "message", "https://gw.example", vector["nonce"], salt, "/v1/chat/completions", vector["model"],
        Software("0.1.0", None, None), None if vector["log"] is None else receipt.LogTerms(*vector["log"]),
    )  # fmt: skip
    told = Told(**{**vector["told"], "outcome": Outcome(vector["told"]["outcome"])})
    return signer().sign(receipt.payload(about, told, digests, vector["iat"]))


FIRST_PAYLOAD = (
    b'{"att":{"gateway":{"type":"none"},"upstream":{"result":"not_attempted","type":"none"}},"fwd":{"rewritten":false,'
    b'"wire":"SOBecWe5ZYXw0xE0LVMmdGlH02HJdU1n6Y93jjYn8tA"},"iat":1795000000,"iss":"https://gw.example",'
    b'"jti":"rcpt_000000000000000000000001","log":{"mmd":60,"origin":"gw.example/receipts/2026"},"nonce":"n-1",'
    b'"req":{"endpoint":"/v1/chat/completions","jcs":"P1UnJPYuUfj6I_cu9lCaL-CYVgyezTXOHs_jx_z2RdM","model":"auto/auto/m",'
    b'"wire":"49Q5nhoTOtMiElVPHvuV-RcT8O87ooNo_ThJwnwNnOg"},"res":{"bytes":46,'
    b'"content":"DznIDe9lRTs8YZ0evFva6Gyopfs-tbOMaPT2lsISHUs","outcome":"complete","status":200,'
    b'"wire":"HYPyi0a_WFI6qvwWl5afoBZnRTPO5NdIetyIT5vmwa4"},"route":{"attempts":[{"outcome":"ok","route":"eu/local/m",'
    b'"status":200}],"requested":"auto/auto/m","resolved":"eu/local/m"},"salt":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",'
    b'"sys":{"build":null,"cfg":null,"sw":"gw/0.1.0"},"usage":{"completion_tokens":7,"prompt_tokens":9,"source":"upstream",'
    b'"total_tokens":16},"v":1}'
)
FIRST_SALT = bytes(range(32))
FIRST_REQUEST = b'{"model":"auto/auto/m","messages":[{"role":"user","content":"Hello!"}]}'
FIRST_RESPONSE = b'{"id":"chatcmpl-1","object":"chat.completion"}'
FIRST_CHOICES = [{"finish_reason": "stop", "index": 0, "message": {"content": "Hi", "role": "assistant"}}]
