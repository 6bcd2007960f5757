"""The matrix is started once; a test that takes ``row`` runs for every row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.matrix import NAMES, Matrix, Row, running
from tests.gateway import Serve, Template


@pytest.fixture(scope="session")
def matrix(gateway_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with running(Serve(gateway_template, tmp_path_factory.mktemp("matrix"))) as found:
        yield found


@pytest.fixture(params=NAMES)
def row(matrix: Matrix, request: pytest.FixtureRequest) -> Iterator[Row]:
    """One row; what its mock was told and asked before is forgotten, and what it complains of fails the test."""
    found = matrix.rows[request.param]
    mock = found.mock
    mock.forget()
    yield found
    assert mock.complaints == []
