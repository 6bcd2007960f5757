"""Addresses where no connection comes about."""

import socket
import sys
from urllib.parse import urlsplit

import pytest

from sealgate.testing import refusing, unanswering


def connect(base_url: str) -> None:
    with socket.create_connection((urlsplit(base_url).hostname, urlsplit(base_url).port), timeout=0.05):
        pass


def test_a_refusing_port_refuses():
    with refusing() as base_url:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                connect(base_url)


@pytest.mark.skipif(sys.platform != "linux", reason="what a full queue does differs between kernels")
def test_an_unanswering_port_lets_connections_run_into_their_timeout():
    with unanswering() as base_url:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                connect(base_url)
