"""nginx and HAProxy as they are installed, with the configurations of ``docs/proxies``, on loopback."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "proxies"
PROXIES = ("nginx", "haproxy")

NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    {temp}
    include {folder}/sealgate.conf;
}}
"""
TEMP = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE


@dataclass(frozen=True)
class Front:
    """A proxy that listens with TLS on ``port``."""

    name: str
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def connect(self, *, source: str = "127.0.0.1", seconds: float = 10) -> http.client.HTTPSConnection:
        """A connection over HTTP/1.1 from that address."""
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=seconds, context=TRUSTING, source_address=(source, 0)
        )

    def socket(self, seconds: float) -> ssl.SSLSocket:
        return TRUSTING.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=seconds))


@contextmanager
def front(name: str, folder: Path, backend: int, pem: Path) -> Iterator[Front]:
    """Start that proxy before the server on port ``backend``. ``pem`` holds certificate and key. Skips without it."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = (_nginx if name == "nginx" else _haproxy)(folder, port, backend, pem)
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen([program, *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        _wait_until_listening(port, process, folder)
        yield Front(name, port)
    finally:
        process.terminate()
        process.wait(60)


def _nginx(folder: Path, port: int, backend: int, pem: Path) -> list[str]:
    temp = " ".join(f"{each}_temp_path {folder}/{each};" for each in TEMP)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, temp=temp))
    (folder / "sealgate.conf").write_text(
        _put(
            (DOCS / "nginx.conf").read_text(),
            {
                "listen 443 ": f"listen 127.0.0.1:{port} ",
                "127.0.0.1:3000;": f"127.0.0.1:{backend};",
                "/etc/ssl/sealgate.pem;": f"{pem};",
                "/etc/ssl/sealgate.key;": f"{pem};",
            },
        )
    )
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def _haproxy(folder: Path, port: int, backend: int, pem: Path) -> list[str]:
    text = _put(
        (DOCS / "haproxy.cfg").read_text(),
        {
            "bind :443 ": f"bind 127.0.0.1:{port} ",
            "127.0.0.1:3000 ": f"127.0.0.1:{backend} ",
            "/etc/haproxy/sealgate.pem ": f"{pem} ",
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    return ["-db", "-f", str(folder / "haproxy.cfg")]


def _put(text: str, places: dict[str, str]) -> str:
    """The documented configuration with this test's ports and files in it, and nothing else changed."""
    for documented, here in places.items():
        assert text.count(documented) == 1, documented
        text = text.replace(documented, here)
    return text


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(500):
        if process.poll() is not None:
            raise AssertionError("".join(path.read_text() for path in folder.glob("*.txt")))
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("the proxy does not listen")
