"""The matrix is started once; a test that takes ``row`` runs for every row.

In the quick part for one row of each wire, and for every one where a test is marked `EVERY`; the rest is long.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import openai
import pytest
from tests.conformance.judges import complaints
from tests.conformance.matrix import NAMES, QUICK, Matrix, Row, running
from tests.gateway import Serve, Template


@pytest.fixture(scope="session")
def matrix(gateway_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with running(Serve(gateway_template, tmp_path_factory.mktemp("matrix"))) as found:
        yield found


@pytest.fixture(scope="session")
def sdk(matrix: Matrix) -> Iterator[openai.OpenAI]:
    """OpenAI's official client of the gateway; the world's certificates are not loaded for it."""
    http = openai.DefaultHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    gateway = matrix.gateway
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in NAMES])
def row(matrix: Matrix, request: pytest.FixtureRequest) -> Iterator[Row]:
    """One row; what its mock was told and asked before is forgotten.

    What the mock complains of fails the test, and so does what a vendor's own library says of any request.
    """
    found = matrix.rows[request.param]
    mock = found.mock
    mock.forget()
    yield found
    assert mock.complaints == []
    for asked in mock.requests:
        assert complaints(found, asked.body, asked.model) == []
