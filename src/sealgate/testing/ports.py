"""Places where nobody answers: what a connection meets before any server can be scripted."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A ``base_url`` that refuses connections: its port is taken, but nobody listens.

    >>> with refusing() as base_url:
    ...     base_url.startswith("http://127.0.0.1:")
    True
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield _base_url(taken)


@contextlib.contextmanager
def unanswering() -> Iterator[str]:
    """A ``base_url`` whose connections never come to be: each SYN is dropped, so a client meets its connect timeout.

    The listener's queue is full and never emptied; Linux then drops what comes.
    """
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A queue of length 0 holds one connection; the second waits half open, and says so to nobody.
        for _ in range(2):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield _base_url(listener)


def _base_url(taken: socket.socket) -> str:
    return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
