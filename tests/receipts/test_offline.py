"""The check as a program: what it reads, what it prints, how it exits."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Serve
from tests.receipts import golden

from sealgate.receipts import offline
from sealgate.receipts.offline import FAILED, OK, UNUSABLE, Inquiry
from sealgate.testing import answer

WHOLE, STREAM, REFUSED = golden.FINAL


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Everything a caller may have kept of an exchange."""
    answer_of_the_api = {"id": WHOLE["id"], "receipt": WHOLE["jws"], "log": {"state": "pending"}}
    contents = {
        "bare": WHOLE["jws"] + "\n",
        "fetched": json.dumps(answer_of_the_api),
        "foreign": json.dumps({**answer_of_the_api, "id": "other"}),
        "broken": "{",
        "jwks": json.dumps(golden.key_set()),
        "revoked": json.dumps(golden.key_set("revoked")),
        "request": WHOLE["request"],
        "response": WHOLE["response"],
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: str(tmp_path / name) for name in contents}


def run(receipt: str, **given: Any) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    code = offline.run(Inquiry(receipt, **given), out, errors)
    return code, out.getvalue(), errors.getvalue()


@pytest.mark.parametrize("form", ["bare", "fetched"])
def test_a_receipt_is_taken_bare_and_as_the_api_gives_it(files: dict[str, str], form: str) -> None:
    code, out, errors = run(
        files[form], jwks=files["jwks"], request=files["request"], response=files["response"], nonce="n-1"
    )
    assert (code, errors) == (OK, ""), out
    lines = out.splitlines()
    assert [line[:4] for line in lines if line[4:6] == "  "][:4] == ["PASS"] * 4
    assert "PASS  nonce      n-1" in lines
    assert lines[-2].startswith("PASS: L0 signed; not shown to be logged, unwitnessed, not attested.")


def test_row_h20_what_is_not_attested_and_not_witnessed_is_shown_as_plainly_as_what_passed(
    files: dict[str, str],
) -> None:
    _, out, _ = run(files["bare"], jwks=files["jwks"])
    lines = out.splitlines()
    assert "----  witnesses  unwitnessed" in lines
    assert "----  gateway    not attested" in lines
    assert "----  upstream   not attested" in lines
    assert any(line.startswith("----  request    not checked") for line in lines)
    assert "does not prove which model or weights answered" in lines[-1]
    for claim in ("tamper-proof", "non-repudiable", "verified enclave"):
        assert claim not in out


@pytest.mark.parametrize(
    ("receipt", "given", "said"),
    [
        ("bare", {"jwks": "revoked"}, "FAIL: this is not a receipt of a key that was given."),
        ("foreign", {"jwks": "jwks"}, "but not everything that was checked agrees with it."),
        ("bare", {"jwks": "jwks", "request": "response"}, "but not everything that was checked agrees with it."),
    ],
)
def test_a_failure_is_said_and_exits_with_1(
    files: dict[str, str], receipt: str, given: dict[str, str], said: str
) -> None:
    code, out, _ = run(files[receipt], **{name: files[file] for name, file in given.items()})
    assert code == FAILED
    assert said in out


@pytest.mark.parametrize(
    ("receipt", "given", "said"),
    [
        ("bare", {}, "No keys to check with."), ("nowhere", {"jwks": "jwks"}, "cannot be read"),
        ("broken", {"jwks": "jwks"}, "neither a compact JWS nor"), ("bare", {"jwks": "bare"}, "is no JSON document"),
        ("bare", {"jwks_url": "file:///etc/passwd"}, "an https or http address"),
        ("bare", {"jwks_url": "http://127.0.0.1:9/"}, "cannot be fetched"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_exits_with_2(
    files: dict[str, str], receipt: str, given: dict[str, str], said: str
) -> None:
    code, out, errors = run(
        files.get(receipt, receipt), **{name: files.get(value, value) for name, value in given.items()}
    )
    assert (code, out) == (UNUSABLE, "")
    assert said in errors


def test_what_a_receipt_says_cannot_steer_a_terminal() -> None:
    claims = {**json.loads(golden.jws.parse(WHOLE["jws"]).payload), "routed_model": "\x1b[2Jeu/x", "iat": 10**15}
    token = golden.signer().sign(golden.receipt.canonical.encode(claims))
    from sealgate.receipts import report
    from sealgate.receipts.verify import verify

    text = "\n".join(report.lines(verify(token, golden.key_set())))
    assert "\x1b" not in text
    assert "?[2Jeu/x" in text


def test_the_keys_are_fetched_where_that_is_asked_for(serve: Serve, tmp_path: Path) -> None:
    """With the file as the API gave it, against the gateway that gave it."""
    from openai import OpenAI

    with serve.in_thread({"acme": answer("Hi")}) as gateway:
        client = OpenAI(base_url=gateway.base_url, api_key=gateway.key)
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
        row = gateway.row()
        stored = client.get(f"/receipts/{row.receipt_id}", cast_to=object)
        (tmp_path / "receipt.json").write_text(json.dumps(stored))
        code, out, _ = run(
            str(tmp_path / "receipt.json"),
            jwks_url=f"{gateway.origin}/.well-known/jwks.json",
            issuer="http://127.0.0.1",
        )
    assert code == OK, out
