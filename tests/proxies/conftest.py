"""What stands before the gateway in these tests, and its certificate."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.proxies.front import PROXIES, Front, front

Before = Callable[[int], Front]


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=api.example", "-days", "2", "-keyout", str(file)]
    certificate = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    file.write_text(file.read_text() + certificate)
    return file


@pytest.fixture(scope="module", params=PROXIES)
def before(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pem: Path) -> Iterator[Before]:
    """Puts the proxy before the server on a port: ``before(port)``."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(
            front(request.param, tmp_path_factory.mktemp("proxy") / request.param, port, pem)
        )
