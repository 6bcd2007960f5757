"""Whatever fits the OpenAPI document, and whatever does not, is answered as it says (P21: never a 500).

Requests are made from the document by Schemathesis, for every operation in it, so new ones are covered by being there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.gateway import PEPPER, Serve, Template, Threaded
from tests.matrix.makers import MAKERS, kind_of

from sealgate.config import Auth, Provider, Responses, Secret
from sealgate.errors import CODES, TYPES

Operation = Any  # Schemathesis gives these no public type
Case = Any
CREDENTIALS = {"authorization", "x-api-key"}
CHECKS = [
    status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance,
    negative_data_rejection,
]  # fmt: skip
LONG_SECONDS = 30.0
"""For the long loop, after which it ends with the operation it is at."""


@pytest.fixture(scope="module")
def gateway(gateway_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    """Model ``m``: the sandbox, and as many keys as anybody wants to make."""
    from tests.gateway import model

    serve = Serve(gateway_template, tmp_path_factory.mktemp("gateways"))
    auth = Auth(pepper=Secret(PEPPER), max_active_keys=1_000_000)
    sandbox = {"sandbox": Provider(kind="sandbox", region="local")}
    tables: dict[str, Any] = {"auth": auth, "responses": Responses(keep_days=1)}
    with serve.in_thread(sandbox, {"m": model("sandbox", upstream_model="sandbox")}, **tables) as found:
        yield found


@pytest.fixture(scope="module")
def operations(gateway: Threaded) -> list[Operation]:
    schema = schemathesis.openapi.from_dict(requests.get(f"{gateway.origin}/openapi.json", timeout=30).json())
    schema.config.update(base_url=gateway.origin)
    return [found.ok() for found in schema.get_all_operations()]


def probe(gateway: Threaded, operation: Operation, mode: GenerationMode, examples: int) -> None:
    """Send so many requests to one operation, each as an administrator, a customer or nobody, and hold the answers."""

    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        case=operation.as_strategy(generation_mode=mode), meant=st.booleans(), who=st.sampled_from(["admin", "key", ""])
    )
    def ask(case: Case, meant: bool, who: str) -> None:
        for name in [name for name in case.headers if name.lower() in CREDENTIALS]:
            del case.headers[name]
        if meant and mode is GenerationMode.POSITIVE:
            aim(gateway, operation, case)
        key = {"admin": gateway.admin_key, "key": gateway.key}.get(who)
        response = case.call(headers={"authorization": f"Bearer {key}"} if key else {}, timeout=20)
        case.validate_response(response, checks=CHECKS)
        hold(response)

    ask()


def aim(gateway: Threaded, operation: Operation, case: Case) -> None:
    """Let a request name what there is, so that it gets further than to what there is not."""
    if isinstance(case.body, dict) and ("messages" in case.body or operation.path.endswith("/responses")):
        case.body["model"] = "m"
    maker = MAKERS.get(kind_of(operation.path))
    for name in case.path_parameters:
        case.path_parameters[name] = gateway.run(maker(gateway.running, "default")).id if maker else "m"


def hold(response: Any) -> None:
    """An answer is 200, or an error that the table of codes declares with this very status."""
    if response.status_code == 200:
        return
    error = response.json()["error"]
    code = CODES[error["code"]]
    assert response.status_code != 500, error
    assert response.status_code in (code.status, *([422] if code.status == 400 else [])), error
    if response.json().get("type") == "error":  # Anthropic's envelope has types of its own, and no status
        assert response.json()["request_id"] in response.headers["x-request-id"]
    else:
        assert error["type"] == TYPES.get(response.status_code, "invalid_request_error")
        assert error["status"] == response.status_code
    assert ("detail" in response.json()) == (response.status_code == 422 and "upstream" not in error["code"])
    assert len(response.headers["x-request-id"]) <= 128


def modes(operation: Operation) -> list[GenerationMode]:
    """What does not fit can be made only where something is to fit."""
    takes = operation.body or operation.query or operation.headers or operation.path_parameters
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes else [GenerationMode.POSITIVE]


def test_p21_every_operation_answers_as_the_document_says(gateway: Threaded, operations: list[Operation]) -> None:
    """In short: what fits under one mount, what does not under the other."""
    assert len(operations) > 15
    for operation in operations:
        mode = modes(operation)[-1] if operation.path.startswith("/api/") else GenerationMode.POSITIVE
        probe(gateway, operation, mode, 2)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_p21_every_operation_answers_as_the_document_says_for_half_a_minute(
    gateway: Threaded, operations: list[Operation]
) -> None:
    began = time.monotonic()
    rounds = 0
    while time.monotonic() - began < LONG_SECONDS:
        for operation in operations:
            for mode in modes(operation):
                if rounds == 0 or time.monotonic() - began < LONG_SECONDS:
                    probe(gateway, operation, mode, 5)
        rounds += 1
