"""What the vendors' own libraries say of a request body: judges that know nothing of the gateway.

AWS's service model knows each field of Converse and its type; OpenAI's and Anthropic's SDKs name each field that a
request may have. The other vendors' are not installed here.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_type_hints

import anthropic.types
import botocore.session
import botocore.validate
from openai.types.chat import completion_create_params
from tests.conformance.matrix import Json, Row

OURS = {"x_vendor", "x_extra", "xExtra"}
"""Fields by which the tests see what becomes of fields that nobody knows."""


def complaints(row: Row, body: Json, model: str | None) -> list[str]:
    """What is wrong with a body, in the words of who would refuse it."""
    body = {name: value for name, value in body.items() if name not in OURS}
    match row.mock.kind, row.mock.variant:
        case "bedrock", "":
            return _converse({**body, "modelId": model})
        case ("openai", _) | ("azure", _):
            return sorted(body.keys() - _names_of_openai())
        case ("anthropic", _) | (_, "anthropic"):
            extra = set() if row.mock.kind == "anthropic" else {"anthropic_version"}
            return sorted(body.keys() - _names_of_anthropic() - extra)
        case _:
            return []


@cache
def _shape() -> Any:
    session = botocore.session.Session()
    return session.get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def _converse(body: Json) -> list[str]:
    report = botocore.validate.ParamValidator().validate(body, _shape())
    return [report.generate_report()] if report.has_errors() else []


@cache
def _names_of_openai() -> frozenset[str]:
    return frozenset(inspect.get_annotations(completion_create_params.CompletionCreateParamsBase)) | {"stream"}


@cache
def _names_of_anthropic() -> frozenset[str]:
    base = anthropic.types.message_create_params.MessageCreateParamsBase
    # The SDK is of the version that has no sampling any more; the gateway sends the older one, which has.
    return frozenset(get_type_hints(base)) | {"stream", "temperature", "top_p", "top_k"}
