"""What the load generator makes of a server that dies under it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from load_tests.client import REST_S, load, post


@contextmanager
def dying(answers: int) -> Iterator[str]:
    """The URL of a server that gives so many answers to its first caller, then is gone."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(answers):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()


def test_the_time_after_a_servers_death_counts() -> None:
    with dying(answers=5) as url:
        window = load(post(url, b"", {}), callers=1, seconds=0, least=25)
    assert len(window.latencies_ms) == 5
    assert sum(window.errors.values()) == 20
    waited_s = 19 * REST_S  # between the errors
    assert window.seconds >= 0.98 * waited_s
    assert window.per_second <= 5.2 / waited_s
