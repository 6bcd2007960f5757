"""The certificate: what is refused as one, and that a renewed one is shown without a restart."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.api.edge_server import LOOPS, Caller, Served, get

from sealgate.api.edge_rules import EdgeLimits
from sealgate.api.edge_tls import Certificate
from sealgate.errors import ConfigError

Make = Callable[..., tuple[Path, Path]]
EC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA = ("rsa:2048",)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a certificate for a name; gives the paths of certificate and key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificates, and is not installed")

    def made(name: str, *options: str, kind: tuple[str, ...] = EC) -> tuple[Path, Path]:
        cert, key = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
        command = [openssl, "req", "-x509", "-newkey", *kind, "-subj", f"/CN={name}.example", "-days", "2"]
        command += [*(options or ("-nodes",)), "-keyout", str(key), "-out", str(cert)]
        subprocess.run(command, check=True, capture_output=True)
        return cert, key

    return made


def shown(port: int, *, name: str | None = None, version: ssl.TLSVersion | None = None) -> tuple[bytes, str | None]:
    """The certificate that a new connection is shown, and the protocol agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    with context.wrap_socket(plain, server_hostname=name) as wrapped:
        return wrapped.getpeercert(binary_form=True) or b"", wrapped.selected_alpn_protocol()


def der(cert: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", [EC, RSA], ids=["the same type of key", "another type of key"])
def test_a_renewed_certificate_is_shown_to_new_connections(make: Make, loop: str, kind: tuple[str, ...]) -> None:
    cert, key = make("first")
    old = der(cert)
    with Served(EdgeLimits(), loop=loop, certificate=Certificate(str(cert), str(key))) as served:
        assert served.certificate is not None
        with served.caller(tls=True) as caller:
            assert shown(served.port) == (old, "http/1.1")
            for new, path in zip(make("second", kind=kind), (cert, key), strict=True):
                new.replace(path)
            served.certificate.renew()
            assert der(cert) != old
            assert shown(served.port)[0] == der(cert)
            assert shown(served.port, name="gate.example") == (der(cert), "http/1.1")
            caller.send(get("/echo"))
            assert caller.answer().json["scheme"] == "https"


@pytest.mark.parametrize("loop", LOOPS)
def test_the_drain_closes_an_idle_connection_over_tls(make: Make, loop: str) -> None:
    cert, key = make("first")
    with Served(EdgeLimits(), loop=loop, certificate=Certificate(str(cert), str(key))) as served:
        caller = Caller(served.port, tls=True)
        caller.send(get("/echo"))
        assert caller.answer().status == 200
    with contextlib.closing(caller):
        assert caller.ended() == "fin"


def test_a_bad_renewal_keeps_the_old_certificate(make: Make) -> None:
    cert, key = make("first")
    with Served(EdgeLimits(), certificate=Certificate(str(cert), str(key))) as served:
        assert served.certificate is not None
        old = der(cert)
        make("other")[0].replace(cert)
        with pytest.raises(ConfigError):
            served.certificate.renew()
        assert shown(served.port)[0] == old


def test_nothing_older_than_tls_1_2_is_spoken(make: Make) -> None:
    cert, key = make("first")
    with Served(EdgeLimits(), certificate=Certificate(str(cert), str(key))) as served:
        assert shown(served.port, version=ssl.TLSVersion.TLSv1_2)[1] == "http/1.1"
        assert shown(served.port, version=ssl.TLSVersion.TLSv1_3)[1] == "http/1.1"
        with pytest.raises((ssl.SSLError, ConnectionError)), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            shown(served.port, version=ssl.TLSVersion.TLSv1_1)


def test_files_that_are_not_there_are_named_with_their_setting(make: Make, tmp_path: Path) -> None:
    cert, key = map(str, make("first"))
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=rf"server\.tls_cert names the file {nowhere}, which cannot be read: No such"):
        Certificate(nowhere, key)
    with pytest.raises(ConfigError, match=rf"server\.tls_key names the file {nowhere}"):
        Certificate(cert, nowhere)


def test_files_that_do_not_go_together_are_refused(make: Make, tmp_path: Path) -> None:
    (cert, key), (_, other) = make("first"), make("second")
    (tmp_path / "text").write_text("hello")
    for pair, reason in (((cert, other), "key values mismatch"), ((tmp_path / "text", key), ""), ((key, cert), "")):
        with pytest.raises(ConfigError, match=rf"are not a certificate and its key in PEM form.*{reason}"):
            Certificate(*map(str, pair))


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(make: Make) -> None:
    cert, key = make("locked", "-passout", "pass:secret")
    with pytest.raises(ConfigError, match="has a passphrase"):
        Certificate(str(cert), str(key))
