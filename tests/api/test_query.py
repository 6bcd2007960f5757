"""Query strings: one value for a name, whole numbers within bounds."""

from __future__ import annotations

import pytest

from sealgate.api.query import Query
from sealgate.errors import Problem


def test_values_and_numbers_are_read() -> None:
    query = Query(b"a=x&n=7&empty=")
    assert (query.text("a"), query.text("b"), query.text("empty")) == ("x", None, "")
    assert (query.number("n", 1, 0, 9), query.number("m", 1, 0, 9)) == (7, 1)


@pytest.mark.parametrize("text", [b"n=10", b"n=-1", b"n=", b"n=x", b"n=1&n=1", b"n=" + b"1" * 17])
def test_other_numbers_are_refused_with_their_place(text: bytes) -> None:
    with pytest.raises(Problem) as refused:
        Query(text).number("n", 1, 0, 9)
    assert (refused.value.param, refused.value.details[0].place) == ("n", "query")


def test_a_query_of_too_many_fields_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        Query(b"&".join(b"n=1" for _ in range(101)))
    assert refused.value.status == 400
