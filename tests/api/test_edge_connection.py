"""Time, leaving, stalling, crowding and TLS: rows A1-A3, A19, A20 and G1-G7."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.api.edge_server import PATIENCE, Caller, Served, get, post, until

from sealgate.api.edge import EdgeLimits
from sealgate.api.edge_tls import Certificate

QUICK = EdgeLimits(
    header_seconds=0.15,
    body_seconds=0.3,
    body_grace_seconds=0.15,
    idle_seconds=0.3,
    write_stall_seconds=0.15,
    linger_seconds=0.15,
    handshake_seconds=0.3,
)
PATIENT = replace(
    QUICK, header_seconds=60, body_seconds=60, body_grace_seconds=60, idle_seconds=60, write_stall_seconds=60
)
"""Deadlines that do not come into play."""
SLOW = replace(PATIENT, body_seconds=1, body_grace_seconds=1, write_stall_seconds=1, bytes_per_second=100_000)
"""Deadlines of a second, which a caller who does not reach them cannot come near on a busy machine either."""


@pytest.fixture(scope="module", params=["uvloop", pytest.param("asyncio", marks=pytest.mark.long)])
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def quick(loop: str) -> Iterator[Served]:
    with Served(QUICK, loop=loop) as served:
        yield served


@pytest.fixture(scope="module")
def slow(loop: str) -> Iterator[Served]:
    with Served(SLOW, loop=loop) as served:
        yield served


@pytest.fixture(scope="module")
def patient(loop: str) -> Iterator[Served]:
    with Served(PATIENT, loop=loop) as served:
        yield served


class Stopwatch:
    def __init__(self) -> None:
        self._since = time.monotonic()

    def says(self, seconds: float) -> bool:
        """Whether so many seconds have gone by, and not many more: a busy machine may take some of its own."""
        gone = time.monotonic() - self._since
        return seconds - 0.02 <= gone <= seconds + 10


def trickle(caller: Caller, data: bytes, every: float) -> None:
    """Send byte by byte until all is sent or the server has had enough."""
    caller.socket.settimeout(every)
    for at in range(len(data)):
        try:
            caller.socket.sendall(data[at : at + 1])
            piece = caller.read()
            caller.buffer += piece
            break
        except TimeoutError:
            continue
    caller.socket.settimeout(PATIENCE)


# Receiving


def test_a1_a_head_that_trickles_is_answered_408(quick: Served) -> None:
    watch = Stopwatch()
    with quick.caller() as caller:
        head = get("/echo/a1", b"X: " + b"y" * 100)
        caller.send(head[:40])
        trickle(caller, head[40:], 0.02)
        answer = caller.answer()

        assert (answer.status, answer.code) == (408, "request_timeout")
        assert caller.ended() == "fin"
    assert watch.says(0.15)
    assert ("/echo/a1", "began") not in quick.app.journal


@pytest.mark.parametrize("start", [b"GET /ec", b"\r\n", b"G"])
def test_a1_before_the_request_line_is_whole_there_is_no_answer(quick: Served, start: bytes) -> None:
    watch, heard = Stopwatch(), len(quick.refusals)
    with quick.caller() as caller:
        caller.send(start)

        assert caller.rest() == b""
    assert watch.says(0.15)
    assert quick.refusals[heard:] == ["request_timeout"]


def test_a2_a_body_below_the_least_pace_is_answered_408(quick: Served) -> None:
    watch = Stopwatch()
    with quick.caller() as caller:
        caller.send(post("/echo/a2", b"x" * 1000)[:-1000])
        trickle(caller, b"x" * 1000, 0.02)
        answer = caller.answer()

        assert (answer.status, answer.code) == (408, "request_timeout")
        assert caller.ended() == "fin"
    assert watch.says(0.15)
    assert quick.saw("/echo/a2", "disconnect"), "the application still waits for the body"
    assert quick.saw("/echo/a2", "ended"), "the application was cancelled though it had been told"


def test_a2_chunks_that_trickle_are_answered_408(quick: Served) -> None:
    with quick.caller() as caller:
        caller.send(post("/echo", b"", b"Transfer-Encoding: chunked", length=False))
        trickle(caller, b"1\r\nx\r\n" * 100, 0.02)

        assert caller.answer().code == "request_timeout"


def test_a2_a_body_at_a_good_pace_may_take_longer_than_the_grace_but_not_for_ever(quick: Served) -> None:
    watch, piece = Stopwatch(), b"x" * 2000
    with quick.caller() as caller:
        caller.send(post("/echo", b"x" * 100_000)[:-100_000])
        trickle_pieces(caller, piece, 0.05)

        assert caller.answer().code == "request_timeout"
    assert watch.says(QUICK.body_seconds)


def trickle_pieces(caller: Caller, piece: bytes, every: float) -> None:
    caller.socket.settimeout(every)
    for _ in range(60):
        caller.socket.sendall(piece)
        try:
            caller.buffer += caller.read()
            break
        except TimeoutError:
            continue
    caller.socket.settimeout(PATIENCE)


def test_a2_after_the_answer_has_begun_a_slow_body_ends_the_connection(quick: Served) -> None:
    with quick.caller() as caller:
        caller.send(post("/stream/a2", b"x" * 10)[:-5])
        answer = caller.answer()

        assert answer.status == 200
        assert not answer.whole
    assert quick.saw("/stream/a2", "cancelled", "client_disconnected")


def test_a2_waiting_for_the_application_is_not_counted_against_the_caller(slow: Served) -> None:
    slow.app.gate.clear()
    with slow.caller() as caller:
        caller.send(post("/gate/patience", b"hello", b"Expect: 100-continue")[:-5])
        time.sleep(1.1)
        slow.app.gate.set()
        assert caller.head()[0] == 100
        caller.send(b"hello")

        assert caller.answer().json["body"] == "hello"


def test_a2_a_large_body_that_the_application_does_not_take_is_not_counted_either(slow: Served) -> None:
    slow.app.gate.clear()
    with slow.caller() as caller:
        whole = post("/gate/large", b"x" * 300_000)
        caller.send(whole[:200_000])
        time.sleep(1.1)
        slow.app.gate.set()
        caller.send(whole[200_000:])

        assert len(caller.answer().json["body"]) == 300_000


def test_a3_a_connection_that_says_nothing_is_closed(quick: Served) -> None:
    watch, heard = Stopwatch(), len(quick.refusals)
    with quick.caller() as caller:
        assert caller.rest() == b""
    assert watch.says(0.15)
    assert quick.refusals[heard:] == ["request_timeout"]


def test_an_idle_connection_is_closed_without_complaint(quick: Served) -> None:
    heard = len(quick.refusals)
    with quick.caller() as caller:
        caller.send(get("/echo"))
        caller.answer()
        watch = Stopwatch()

        assert caller.rest() == b""
    assert watch.says(QUICK.idle_seconds)
    assert len(quick.refusals) == heard


def test_a_connection_in_use_is_not_idle(quick: Served) -> None:
    """Eight requests take longer than a connection may be idle; a try in which the machine slept so long is no try."""
    assert any(_in_use(quick) for _ in range(20))


def _in_use(quick: Served) -> bool:
    """Whether all were answered; a connection may be gone only where one of them came too late."""
    with quick.caller() as caller:
        for _ in range(8):
            begun = time.monotonic()
            try:
                caller.send(get("/echo"))
                assert caller.answer().status == 200
            except (OSError, AssertionError):
                assert time.monotonic() - begun + 0.05 >= QUICK.idle_seconds
                return False
            time.sleep(0.05)
    return True


def test_a_second_request_that_trickles_is_answered_408(quick: Served) -> None:
    with quick.caller() as caller:
        caller.send(get("/echo"))
        caller.answer()
        caller.send(get("/echo/late")[:-4])

        assert caller.answer().code == "request_timeout"


def test_a_running_request_has_no_deadline_here(quick: Served) -> None:
    with quick.caller() as caller:
        caller.send(get("/hang/long"))
        caller.socket.settimeout(0.2)

        with pytest.raises(TimeoutError):
            caller.read()


# Leaving


@pytest.mark.parametrize("path", ["/hang", "/deaf", "/stream"])
@pytest.mark.parametrize("way", ["fin", "half-close", "rst"])
def test_g1_to_g4_a_caller_that_leaves_cancels_the_request_at_once(patient: Served, path: str, way: str) -> None:
    path = f"{path}/{way}"
    with patient.caller() as caller:
        caller.send(get(path))
        assert patient.saw(path, "began")
        time.sleep(0.02)
        if way == "half-close":
            caller.half_close()
        elif way == "rst":
            caller.reset()
        else:
            caller.close()
        watch = Stopwatch()

        assert patient.saw(path, "cancelled", "client_disconnected")
        assert watch.says(0)
    assert until(lambda: patient.running_tasks() == 0)
    assert patient.app.journal.count((path, "cancelled", "client_disconnected")) == 1


def test_g4_an_answer_that_is_complete_reaches_a_caller_that_has_half_closed(patient: Served) -> None:
    with patient.caller() as caller:
        caller.send(get("/big?3000000"))
        status, headers = caller.head()
        caller.half_close()

        assert (status, headers["content-length"]) == (200, "3000000")
        assert len(caller.rest()) == 3_000_000


def test_requests_waiting_behind_a_lost_one_are_never_started(patient: Served) -> None:
    with patient.caller() as caller:
        caller.send(get("/hang/first") + get("/echo/after-lost"))
        assert patient.saw("/hang/first", "began")
    assert patient.saw("/hang/first", "cancelled", "client_disconnected")
    assert ("/echo/after-lost", "began") not in patient.app.journal


def test_g7_a_caller_that_leaves_is_noticed_behind_a_pipelined_request(patient: Served) -> None:
    with patient.caller() as caller:
        caller.send(get("/hang/g7"))
        assert patient.saw("/hang/g7", "began")
        caller.send(post("/echo", b"x" * 1000))
        caller.half_close()

        assert patient.saw("/hang/g7", "cancelled", "client_disconnected")


def test_a_caller_that_leaves_after_its_answer_cancels_nothing(patient: Served) -> None:
    with patient.caller() as caller:
        caller.send(get("/watch/done"))
        assert caller.answer().body == b"ok"

    assert patient.saw("/watch/done", "http.disconnect")
    assert patient.saw("/watch/done", "ended")


# Stalling


@pytest.mark.parametrize("path", ["/flood", "/big"])
def test_g5_a_caller_that_stops_reading_is_cut(quick: Served, path: str) -> None:
    with quick.caller(receive_buffer=4096) as caller:
        caller.send(get(path + "/stall"))
        caller.head()
        watch = Stopwatch()
        if path == "/flood":
            assert quick.saw(path + "/stall", "cancelled", "client_stalled")
            assert watch.says(0.15)
        assert until(lambda: quick.open_connections() == 0)
        assert caller.ended() == "rst"


def test_g5_a_caller_that_reads_slowly_is_not_cut(slow: Served) -> None:
    size = 2_000_000
    with slow.caller() as caller:
        caller.send(get(f"/big?{size}"))
        caller.head()
        taken, watch = len(caller.buffer), time.monotonic()
        while taken < size:
            taken += len(caller.read())
            time.sleep(0.04)

        assert time.monotonic() - watch > 1
        assert taken == size


def test_a_stuck_reader_pins_little_memory(patient: Served) -> None:
    with patient.caller(receive_buffer=4096) as caller:
        caller.send(get("/flood/pin"))
        caller.head()
        assert patient.saw("/flood/pin", "began")
        time.sleep(0.05)
        connection = next(iter(patient._server.state.connections))
        sock = connection.transport.get_extra_info("socket")

        assert connection.transport.get_write_buffer_size() <= 32 * 1024 + 65536 + 16
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 256 * 1024
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16 * 1024
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


# Crowding


def test_a20_over_the_limit_a_request_is_answered_503_at_once(loop: str) -> None:
    with Served(replace(PATIENT, max_connections=2), loop=loop) as served:
        with served.caller() as one, served.caller() as two:
            for caller in (one, two):
                caller.send(get("/echo"))
                assert caller.answer().status == 200
            watch = Stopwatch()
            with served.caller() as three:
                three.send(get("/echo/never"))
                answer = three.answer()
                assert (answer.status, answer.code) == (503, "overloaded")
                assert answer.headers["retry-after"] == "1"
                assert three.ended() == "fin"
                assert watch.says(0)
            one.send(get("/echo"))
            assert one.answer().status == 200
        assert until(lambda: served.open_connections() == 0)
        assert served.ask(get("/echo")).status == 200
        assert ("/echo/never", "began") not in served.app.journal
        assert served.refusals == ["overloaded"]


def test_a20_far_over_the_limit_connections_are_reset(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.api.edge_connection.OVERFLOW", 1)
    with Served(replace(PATIENT, max_connections=1), loop=loop) as served:
        with served.caller() as one, served.caller() as two:
            one.send(get("/echo"))
            assert one.answer().status == 200
            with suppress(ConnectionResetError), served.caller() as three:  # even connecting may hear of it
                assert three.ended() == "rst"
            two.send(get("/echo"))
            assert two.answer().code == "overloaded"
        assert served.refusals == ["overloaded", "overloaded"]


def test_a20_a_crowded_connection_that_says_nothing_is_closed(loop: str) -> None:
    with Served(replace(PATIENT, max_connections=1), loop=loop) as served, served.caller() as one:
        one.send(get("/echo"))
        one.answer()
        watch = Stopwatch()
        with served.caller() as two:
            assert two.rest() == b""
        assert watch.says(0.15)


# Refusing


def test_a_refusal_reaches_a_caller_that_is_still_sending(patient: Served) -> None:
    """Closing at once would reset the connection under the answer."""
    with patient.caller() as caller:
        caller.send(post("/early/large", b"x" * 2_000_000))
        answer = caller.answer()

        assert (answer.status, answer.body) == (401, b"no")
        assert answer.headers["connection"] == "close"


def test_a_small_rest_of_a_body_is_dropped_and_the_connection_lives_on(patient: Served) -> None:
    with patient.caller() as caller:
        caller.send(post("/early/small", b"x" * 1000)[:-500])
        assert caller.answer().status == 401
        caller.send(b"x" * 500 + get("/echo/next"))

        assert caller.answer().json["path"] == "/echo/next"


def test_a_refused_caller_that_does_not_leave_is_cut(quick: Served) -> None:
    watch = Stopwatch()
    with quick.caller() as caller:
        caller.send(b"nonsense\r\n\r\n")
        caller.answer()

        assert caller.ended() == "fin"
        assert until(lambda: quick.open_connections() == 0)
    assert watch.says(0.15)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a PEM file with a key and a self-signed certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    folder: Path = tmp_path_factory.mktemp("tls")
    both = folder / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=gate.example", "-days", "2", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text((folder / "key").read_text() + (folder / "crt").read_text())
    return str(both)


@pytest.fixture(scope="module")
def secure(loop: str, certificate: str) -> Iterator[Served]:
    with Served(
        replace(PATIENT, handshake_seconds=60), loop=loop, certificate=Certificate(certificate, certificate)
    ) as served:
        yield served


def test_tls_is_served(secure: Served) -> None:
    with secure.caller(tls=True) as caller:
        caller.send(post("/echo", b"hello"))
        assert caller.answer().json["scheme"] == "https"
        caller.send(get("/echo", b"X : y"))
        assert caller.answer().code == "invalid_header"

        assert caller.ended() == "fin"


def test_a19_a_stalled_handshake_is_cut(loop: str, certificate: str) -> None:
    watch = Stopwatch()
    with (
        Served(QUICK, loop=loop, certificate=Certificate(certificate, certificate)) as served,
        served.caller() as caller,
    ):
        assert caller.ended() in ("fin", "rst")
    assert watch.says(QUICK.handshake_seconds)


def test_a19_plain_http_on_the_tls_port_is_closed(secure: Served) -> None:
    watch = Stopwatch()
    with secure.caller() as caller:
        caller.send(get("/echo"))
        assert caller.ended() in ("fin", "rst")
    assert watch.says(0)


def test_a_caller_that_leaves_over_tls_cancels_the_request(secure: Served) -> None:
    with secure.caller(tls=True) as caller:
        caller.send(get("/hang/tls"))
        assert secure.saw("/hang/tls", "began")
        time.sleep(0.02)

    assert secure.saw("/hang/tls", "cancelled", "client_disconnected")
