"""The worked examples of CONTRIBUTING: a provider that is one row, and a wire that is one file."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import test_answers as answers
from tests.conformance import test_failures as failures
from tests.conformance import test_parameters as parameters
from tests.conformance.matrix import adjusted, good, running
from tests.gateway import Serve

from sealgate.cli import provider_pages
from sealgate.providers import hosted
from sealgate.providers.table import KINDS
from sealgate.testing import MOCKS, family, like_openai
from sealgate.testing.mock import Mocked

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROW, LINE, TABLE = (
    block for block in re.findall(r"^```(?:python|markdown)\n(.*?)^```$", PAGE, re.M | re.S)[:3]
)  # fmt: skip
WIRE, WIRE_TEST = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)[2:]


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The row and its mock, added as the page says."""
    kind = eval(ROW, vars(hosted).copy())
    flavours = eval(f"{{{LINE}}}", vars(family).copy())
    monkeypatch.setitem(KINDS, "acme", kind)
    mocked: Mocked = like_openai(flavours["acme"])
    monkeypatch.setitem(MOCKS, "acme", mocked)
    return kind


def test_the_row_of_the_page_works_with_its_one_line(acme: Any, serve: Serve) -> None:
    """The behaviours are those of every other row, and its page says what the row does."""
    with running(serve, ["acme", "compatible"]) as matrix:
        row = matrix.rows["acme"]
        for stream in (False, True):
            for behaviour in (
                answers.test_a_plain_answer_comes_as_it_was_said,
                answers.test_a_call_without_arguments_has_an_empty_object,
                answers.test_a_refusal_is_told_and_is_no_failure,
            ):
                behaviour(row, stream)
            failures.test_a_refusal_has_the_same_code_wherever_it_comes_from(row, "quota", stream)
            failures.test_a_route_that_fails_is_left_for_the_next(row, "overload", stream)
        parameters.test_every_hint_is_passed_on_or_told(row)
        row.mock.forget()
        parameters.test_an_image_as_data_arrives_or_is_refused(row)
        reply = good(row.ask(top_k=4711))
        assert row.asked.body["k"] == 4711
        assert adjusted(reply)["top_k"] == {"renamed"}
        assert row.mock.complaints == []
    page = provider_pages.page(acme)
    assert all(line in page.splitlines() for line in TABLE.splitlines())
    assert "ACME_API_KEY" in page


def test_the_wire_of_the_page_passes_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sealgate.providers.acme")
    exec(WIRE, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found: dict[str, Any] = {}
    exec(WIRE_TEST, found)
    tests = [value for name, value in found.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
    whole = found["AcmeWire"]().reader({}, stream=False)
    whole.feed(b'{"text": "Hello", "end": "length", "tokens": [3, 2]}')
    [answer] = whole.end()
    assert answer["choices"][0] == {"index": 0, "message": {"content": "Hello"}, "finish_reason": "length"}
