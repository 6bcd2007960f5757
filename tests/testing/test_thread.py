"""The upstream in a thread, for synchronous code."""

import contextlib
import socket
import threading
import urllib.request

import pytest

from sealgate.testing import Hang, Received, ScriptedUpstream, WaitFor, answer, json_answer


def post(base_url: str, body: bytes = b'{"model":"m"}') -> bytes:
    request = urllib.request.Request(f"{base_url}/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


def test_plain_code_can_ask_and_look():
    with ScriptedUpstream.in_thread(default=answer("from a thread")) as upstream:
        assert b"from a thread" in post(upstream.base_url)
        (received,) = upstream.wait_for_requests(1)
        assert received.model == "m"
        assert upstream.accepted == 1
        assert upstream.base_url == f"{upstream.origin}/v1" == f"http://{upstream.host}:{upstream.port}/v1"


def test_scripts_and_handlers_can_be_set_while_it_runs():
    with ScriptedUpstream.in_thread() as upstream:
        assert upstream.handler is None
        upstream.handler = lambda received: answer("handled")
        upstream.enqueue(answer("queued"))
        upstream.on_model("named", answer("named"))
        assert b"queued" in post(upstream.base_url)
        assert b"handled" in post(upstream.base_url)
        assert b"named" in post(upstream.base_url, b'{"model":"named"}')


def test_a_script_can_be_held_until_the_test_says_go():
    go, got = threading.Event(), []
    with ScriptedUpstream.in_thread() as upstream:
        upstream.enqueue([WaitFor(go), *json_answer("went")])
        asking = threading.Thread(target=lambda: got.append(post(upstream.base_url)))
        asking.start()
        upstream.wait_for_requests(1)
        assert not got
        go.set()
        asking.join()
    assert got == [b'"went"']


def test_waiting_in_vain_is_a_timeout_here_too():
    with ScriptedUpstream.in_thread() as upstream, pytest.raises(TimeoutError, match="0 of 1"):
        upstream.wait_for_requests(1, timeout=0.01)


def test_a_mistake_in_a_handler_reaches_the_thread_that_wrote_it():
    def handler(received: Received) -> None:
        raise AssertionError("unexpected request")

    def scene() -> None:
        with ScriptedUpstream.in_thread(handler=handler) as upstream, contextlib.suppress(OSError):
            post(upstream.base_url)

    with pytest.raises(AssertionError, match="unexpected request"):
        scene()


def test_a_port_that_is_taken_is_an_error_in_the_thread_that_asked():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="address already in use"):
            ScriptedUpstream.in_thread(port=taken.getsockname()[1]).__enter__()


def test_leaving_does_not_wait_for_scripts_that_hang():
    with (
        ScriptedUpstream.in_thread(default=[Hang()]) as upstream,
        socket.create_connection((upstream.host, upstream.port)) as peer,
    ):
        peer.sendall(b"POST /chat/completions HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        upstream.wait_for_requests(1)
        assert upstream.open_connections == 1
    assert upstream.open_connections == 0


def test_a_leaving_client_is_seen_here_too():
    with ScriptedUpstream.in_thread(default=[Hang()]) as upstream:
        with socket.create_connection((upstream.host, upstream.port)) as peer:
            peer.sendall(b"POST /chat/completions HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
            upstream.wait_for_requests(1)
        left = upstream.wait_peer_left(0)
        assert (left.peer_left_how, left.abandoned) == ("fin", True)
