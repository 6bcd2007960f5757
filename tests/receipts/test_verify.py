"""Checking receipts: what passes, what fails, and what is not checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.receipts import golden

from sealgate.formats import canonical, jws
from sealgate.receipts.verify import Documents, Expected, Verdict, verify

WHOLE, STREAM, REFUSED = golden.FINAL
KEYS = golden.key_set()


def marks(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.mark for check in verdict.checks}


def failed(verdict: Verdict) -> str:
    """Which check failed, and why."""
    [found] = [f"{check.name}: {check.text}" for check in verdict.checks if check.mark == "FAIL"]
    return found


def resigned(change: Any, vector: dict[str, Any] = WHOLE) -> str:
    """The vector's receipt with another payload, signed by the same key."""
    claims = json.loads(jws.parse(vector["jws"]).payload)
    return golden.signer().sign(canonical.encode(change(claims)))


@pytest.mark.parametrize("vector", golden.FINAL, ids=lambda vector: vector["name"])
def test_a_receipt_passes_with_what_was_sent_and_got(vector: dict[str, Any]) -> None:
    response = (vector["response"] + vector["end"]).encode()
    documents = Documents(vector["request"].encode(), response)
    verdict = verify(
        vector["jws"], KEYS, Expected("https://gw.example", vector["id"], vector["nonce"], 1.8e9), documents
    )
    assert verdict.ok, verdict.checks
    assert (verdict.level, verdict.leaf) == (0, vector["leaf"].encode())
    assert marks(verdict)["request"] == "PASS"
    assert marks(verdict)["response"] == ("----" if "error" in vector["end"] and not vector["response"] else "PASS")


@pytest.mark.parametrize("vector", golden.FINAL, ids=lambda vector: vector["name"])
def test_what_was_not_checked_never_reads_as_passed(vector: dict[str, Any]) -> None:
    verdict = verify(vector["jws"], KEYS)
    shown = marks(verdict)
    assert [name for name, mark in shown.items() if mark == "PASS"] == ["form", "key", "signature", "payload"]
    assert all(shown[name] == "----" for name in ("request", "response", "log", "witnesses", "gateway", "upstream"))
    texts = {check.name: check.text for check in verdict.checks}
    assert texts["witnesses"] == "unwitnessed"
    assert texts["gateway"] == texts["upstream"] == "not attested"


def flipped(token: str, bits: range) -> Iterator[str]:
    """The token with one bit of one character turned over, for each character and each of these bits."""
    for place in range(len(token)):
        for bit in bits:
            yield token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]


def test_p26_and_row_h20_any_changed_character_fails() -> None:
    for token in flipped(REFUSED["jws"], range(1)):
        verdict = verify(token, KEYS)
        assert (verdict.ok, verdict.claims) == (False, None), token


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("vector", golden.FINAL, ids=lambda vector: vector["name"])
def test_p26_and_row_h20_any_flipped_bit_fails(vector: dict[str, Any]) -> None:
    for token in flipped(vector["jws"], range(8)):
        verdict = verify(token, KEYS)
        assert (verdict.ok, verdict.claims) == (False, None), token


def test_row_h20_each_byte_of_the_payload_is_signed() -> None:
    """Whatever is put there instead, canonical or not."""
    taken = jws.parse(WHOLE["jws"])
    head, _, signature = WHOLE["jws"].split(".")
    for place in range(len(taken.payload)):
        changed = bytearray(taken.payload)
        changed[place] ^= 1
        assert not verify(f"{head}.{jws.b64(bytes(changed))}.{signature}", KEYS).ok


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "form: a compact JWS has three parts"),
        (WHOLE["jws"].rpartition(".")[0] + ".", "signature: "),
        (WHOLE["jws"].rpartition(".")[0], "form: "),
        (".".join([jws.b64(b'{"alg":"none","kid":"k","typ":"receipt+jwt"}'), *WHOLE["jws"].split(".")[1:]]), "form: "),
        (".".join([jws.b64(b'{"alg":"ES256","jku":"x","kid":"k","typ":"receipt+jwt"}'), "e30", "AA"]), "form: "),
        (".".join([jws.b64(b'{"alg":"ES256","kid":"k","typ":"JWT"}'), "e30", "AA"]), "form: "),
        (golden.signer("another key").sign(jws.parse(WHOLE["jws"]).payload), "key: "),
    ],
)
def test_row_h20_stripped_foreign_and_extended_receipts_fail_and_say_why(token: str, why: str) -> None:
    assert failed(verify(token, KEYS)).startswith(why)


@pytest.mark.parametrize(
    "keys",
    [
        None, [], {}, {"keys": None}, {"keys": []}, {"keys": [1]}, golden.key_set("revoked"), golden.key_set("strange"),
        {"keys": [{**KEYS["keys"][0], "x": KEYS["keys"][0]["y"]}]},
        {"keys": [*KEYS["keys"], *golden.key_set("revoked")["keys"]]}, {"keys": [*KEYS["keys"], *KEYS["keys"]]},
        {"keys": [{**KEYS["keys"][0], "use": "enc"}]}, {"keys": [{**KEYS["keys"][0], "alg": "ES384"}]},
        {"keys": [{**golden.key_set("revoked")["keys"][0], "sealgate_revoked_at": {"gw.example/receipts": "9"}}]},
        {"keys": [{**golden.key_set(name="another key")["keys"][0], "kid": KEYS["keys"][0]["kid"]}]},
    ],
)  # fmt: skip
def test_a_key_that_is_not_there_or_revoked_or_called_wrongly_does_not_count(keys: Any) -> None:
    assert failed(verify(WHOLE["jws"], keys)).startswith("key: ")


def test_a_retired_key_still_counts_for_old_receipts() -> None:
    assert verify(WHOLE["jws"], golden.key_set("retired")).ok


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: {name: value for name, value in claims.items() if name != "salt"},
        lambda claims: {**claims, "iat": "1795000000"}, lambda claims: {**claims, "failover": 0},
        lambda claims: {**claims, "salt": "AA"}, lambda claims: {**claims, "schema_version": "2.0.0"},
        lambda claims: {**claims, "response": {}}, lambda claims: {**claims, "iat": True}, lambda _: [],
        lambda claims: {**claims, "response": {**claims["response"], "outcome": "fine"}},
        lambda claims: {**claims, "receipt_type": "letter"}, lambda claims: {**claims, "iat": -1},
        lambda claims: {**claims, "usage_source": "guessed"},
    ],
)  # fmt: skip
def test_a_payload_that_is_no_receipts_fails_although_it_is_signed(change: Any) -> None:
    assert failed(verify(resigned(change), KEYS)).startswith("payload: ")


@pytest.mark.parametrize("payload", [b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b"1.0", b"", b"[" * 9999])
def test_a_payload_that_is_not_canonical_fails_although_it_is_signed(payload: bytes) -> None:
    assert failed(verify(golden.signer().sign(payload), KEYS)).startswith("payload: ")


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (Expected(issuer="https://other.example"), "issuer"), (Expected(id="other"), "id"),
        (Expected(nonce="n-2"), "nonce"), (Expected(now=1794000000.0), "time"),
    ],
)  # fmt: skip
def test_another_issuer_id_nonce_or_a_receipt_from_the_future_fails(expected: Expected, why: str) -> None:
    verdict = verify(WHOLE["jws"], KEYS, expected)
    assert failed(verdict).startswith(f"{why}: ")
    assert not verdict.ok
    assert verdict.level == 0, "the signature counts all the same"


def test_the_same_document_in_other_bytes_passes_and_is_said_to_be_other_bytes() -> None:
    request = json.dumps(json.loads(WHOLE["request"]), indent=1, sort_keys=True).encode()
    response = json.dumps(json.loads(WHOLE["response"]), indent=1).encode()
    verdict = verify(WHOLE["jws"], KEYS, documents=Documents(request, response))
    assert verdict.ok, verdict.checks
    texts = {check.name: check.text for check in verdict.checks}
    assert "other bytes" in texts["request"]
    assert "other bytes" in texts["response"]


def test_a_streams_events_pass_without_their_comments_by_what_they_say() -> None:
    events = STREAM["response"].replace(": keep-alive\n\n", "") + STREAM["end"]
    verdict = verify(STREAM["jws"], KEYS, documents=Documents(response=events.encode()))
    assert marks(verdict)["response"] == "PASS"


@pytest.mark.parametrize("end", ["message_stop", "response.completed"])
def test_the_terminal_event_of_another_dialect_is_no_part_of_the_digest(end: str) -> None:
    before = 'event: ping\ndata: {"type":"ping"}\n\n'
    token = golden.issued({**STREAM, "response": before})
    body = f'{before}event: {end}\ndata: {{"type":"{end}"}}\n\n'
    assert marks(verify(token, KEYS, documents=Documents(response=body.encode())))["response"] == "PASS"
    assert marks(verify(token, KEYS, documents=Documents(response=body[5:].encode())))["response"] == "FAIL"


@pytest.mark.parametrize(
    ("vector", "request_body", "response_body", "why"),
    [
        (WHOLE, WHOLE["request"].replace("0.7", "0.8"), None, "request: another request was received"),
        (WHOLE, "not JSON", None, "request: other bytes"), (WHOLE, '{"a":1,"a":1}', None, "request: other bytes"),
        (REFUSED, REFUSED["request"] + " ", None, "request: "),
        (WHOLE, None, WHOLE["response"].replace('"Hi"', '"Ho"'), "response: another answer was sent"),
        (WHOLE, None, "not JSON", "response: "), (WHOLE, None, "[]", "response: "), (WHOLE, None, "", "response: "),
        (STREAM, None, STREAM["response"].replace('"i"', '"o"'), "response: another answer was sent"),
        (REFUSED, None, WHOLE["response"].replace("0001", "0003"), "response: another answer was sent"),
    ],
)  # fmt: skip
def test_another_request_or_answer_fails(
    vector: dict[str, Any], request_body: str | None, response_body: str | None, why: str
) -> None:
    documents = Documents(*(None if body is None else body.encode() for body in (request_body, response_body)))
    assert failed(verify(vector["jws"], KEYS, documents=documents)).startswith(why)


@pytest.mark.parametrize(
    "forged",
    [
        WHOLE["response"].replace('"Hi"', '"Ho","content":"Hi"'),
        '{"choices":[{"index":0,"message":{"content":"Ho"}}],' + WHOLE["response"][1:],
        STREAM["response"].replace('"i"', '"o","content":"i"'),
    ],
)
def test_an_answer_that_reads_differently_to_different_people_fails(forged: str) -> None:
    """Which of two members of one name counts is up to the reader."""
    vector = STREAM if forged.startswith(("data:", ":")) else WHOLE
    assert forged != vector["response"]
    assert failed(verify(vector["jws"], KEYS, documents=Documents(response=forged.encode()))).startswith("response: ")


ERROR = b'data: {"error":{"message":"forged"}}\n\n'


@pytest.mark.parametrize(
    ("end", "mark", "says"),
    [
        (b"data: [DONE]\n\n", "PASS", "these bytes were sent; the outcome"),
        (b"", "PASS", "these bytes were sent; the outcome"),
        (ERROR, "PASS", "before the event that ended them, which was not checked"),
        (b'data: {"type":"message_stop"}\n\n', "PASS", "these bytes were sent; the outcome"),
        (b'data: {"type":"message_stop","x":1}\n\n', "PASS", "before the event that ended them, which was not checked"),
        (b'data: {"error":{},"choices":[{"index":0,"delta":{"content":"forged"}}]}\n\n', "FAIL", "another answer"),
        (b'data: {"choices":[{"index":0,"delta":{"content":"forged"}}]}\n' + ERROR, "FAIL", "another answer"),
        (b'data: {"choices":[{"index":0,"delta":{"content":"forged"}}]}\n\n' + ERROR, "FAIL", "another answer"),
    ],
)
def test_what_ends_a_stream_is_told_apart_from_what_was_checked(end: bytes, mark: str, says: str) -> None:
    verdict = verify(STREAM["jws"], KEYS, documents=Documents(response=STREAM["response"].encode() + end))
    check = next(each for each in verdict.checks if each.name == "response")
    assert (check.mark, says in check.text) == (mark, True), check


@pytest.mark.parametrize(("said", "mark"), [("Hi", "PASS"), ("forged", "FAIL")])
def test_a_last_event_that_repeats_the_answer_must_repeat_what_was_sent(said: str, mark: str) -> None:
    """It is in no digest, and it is what SDKs give their users."""
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    before = f"event: response.output_item.done\ndata: {json.dumps(done)}\n\n"
    last = {**item, "content": [{"type": "output_text", "text": said}]}
    end = {"type": "response.completed", "response": {"object": "response", "output": [last]}}
    token = golden.issued({**STREAM, "response": before})
    body = f"{before}event: response.completed\ndata: {json.dumps(end)}\n\n"
    assert marks(verify(token, KEYS, documents=Documents(response=body.encode())))["response"] == mark


def of_endpoint(endpoint: str, choices: Any, response: str) -> str:
    """A receipt of another endpoint than chat."""
    token = golden.issued({**WHOLE, "choices": choices, "response": response})
    claims = json.loads(jws.parse(token).payload)
    claims["request"]["endpoint"] = endpoint
    return golden.signer().sign(canonical.encode(claims))


VECTORS = [{"index": 0, "embedding": [0.5, -1.25]}, {"index": 1, "embedding": [2.0, 3.5]}]
PACKED = [{"index": 0, "embedding": "AAAAPwAAoL8="}, {"index": 1, "embedding": "AAAAQAAAYEA="}]
HEARD = [{"index": 0, "text": "Hello."}]


@pytest.mark.parametrize(
    ("endpoint", "sent", "given", "mark"),
    [
        ("/v1/embeddings", VECTORS, {"data": VECTORS[::-1]}, "PASS"),
        ("/v1/embeddings", PACKED, {"data": PACKED}, "PASS"),
        ("/v1/embeddings", PACKED, {"data": VECTORS}, "PASS"),
        ("/v1/embeddings", VECTORS, {"data": [VECTORS[0], {"index": 1, "embedding": [2.0, 3.25]}]}, "FAIL"),
        ("/v1/embeddings", VECTORS, {"data": [VECTORS[0]]}, "FAIL"),
        ("/v1/embeddings", VECTORS, {"vectors": []}, "FAIL"),
        ("/v1/embeddings", PACKED, {"data": [{"index": 0, "embedding": [1e300]}]}, "FAIL"),
        ("/api/v1/audio/transcriptions", HEARD, {"text": "Hello.", "usage": None}, "PASS"),
        ("/v1/audio/translations", HEARD, {"text": "Hello!"}, "FAIL"),
        ("/v1/audio/translations", HEARD, [], "FAIL"),
        ("/v1/unknown", HEARD, {"text": "Hello."}, "FAIL"),
    ],
)
def test_the_objects_of_an_sdk_pass_at_every_endpoint(endpoint: str, sent: Any, given: Any, mark: str) -> None:
    verdict = verify(of_endpoint(endpoint, sent, "{}"), KEYS, documents=Documents(response=json.dumps(given).encode()))
    assert marks(verdict)["response"] == mark, verdict.checks


def test_a_transcript_in_pieces_is_what_they_say_together() -> None:
    pieces = [{"type": "transcript.text.delta", "delta": each} for each in ("Hel", "lo.")]
    for events in (pieces, [*pieces, {"type": "transcript.text.done", "text": "Hello."}]):
        body = "".join(f"data: {json.dumps(each)}\n\n" for each in events)
        token = of_endpoint("/v1/audio/transcriptions", HEARD, "{}")
        assert marks(verify(token, KEYS, documents=Documents(response=body.encode())))["response"] == "PASS"


def test_the_text_of_an_error_is_never_passed() -> None:
    for body in (REFUSED["end"].encode(), b'{"error":{"message":"forged"}}'):
        assert marks(verify(REFUSED["jws"], KEYS, documents=Documents(response=body)))["response"] == "----"
    answer = b'{"error":null,"content":[{"type":"text","text":"forged"}]}'
    assert marks(verify(REFUSED["jws"], KEYS, documents=Documents(response=answer)))["response"] == "FAIL"


def test_an_answer_that_names_another_receipt_fails() -> None:
    response = WHOLE["response"].replace("000000000001", "000000000009").encode()
    verdict = verify(WHOLE["jws"], KEYS, documents=Documents(response=response))
    assert failed(verdict).startswith("response: it names another receipt")


def test_attestation_evidence_is_not_passed_unread() -> None:
    evidence = {"type": "tdx", "evidence_sha256": "00"}
    verdict = verify(resigned(lambda claims: {**claims, "router_attestation": evidence}), KEYS)
    assert {check.name: (check.mark, check.text) for check in verdict.checks}["gateway"] == (
        "----", "not checked, nothing here reads evidence of type 'tdx'",
    )  # fmt: skip
    assert verdict.level == 0
