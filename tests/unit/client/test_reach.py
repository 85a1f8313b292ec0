"""Why there is no answer, told apart: real sockets, and what httpx makes of them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from services.cli import main
from shared.client.reach import unanswered


@contextmanager
def answering(sent: bytes | None) -> Iterator[str]:
    """A server that reads once, sends these bytes and closes; None: it says nothing until the block ends."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    if sent is None:
                        ended.wait()
                    else:
                        connection.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def why(url: str, timeout: float = 60) -> tuple[str, str]:
    """Code and message of a request that gets no answer."""
    with pytest.raises(httpx.TransportError) as caught:
        httpx.get(url, timeout=timeout, trust_env=False)
    error = unanswered(caught.value, url)
    return error.code, error.message


def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_refused_connection() -> None:
    code, message = why(f"http://{nobody()}")
    assert code == "server_unreachable"
    assert "nothing answers there" in message


def test_an_answer_that_does_not_come() -> None:
    with answering(None) as there:
        code, message = why(f"http://{there}", timeout=0.2)
    assert code == "deadline_exceeded"
    assert "No answer" in message
    assert "in time" in message


@pytest.mark.parametrize(
    "sent", [b"", b"220 mail.example.org ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
def test_an_answer_that_is_broken(sent: bytes) -> None:
    with answering(sent) as there:
        code, message = why(f"http://{there}")
    assert code == "server_unreachable"
    assert "No whole answer" in message


def test_tls_where_none_is_spoken() -> None:
    with answering(b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n") as there:
        code, message = why(f"https://{there}")
    assert code == "server_unreachable"
    assert "perhaps it speaks plain http://" in message


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "its certificate is not accepted"),
        (socket.gaierror(-2, "Name or service not known"), "this name is not known"),
    ],
)
def test_a_certificate_and_a_name(cause: OSError, said: str) -> None:
    error = httpx.ConnectError("failed")
    error.__cause__ = cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "self-signed certificate"
    assert said in unanswered(error, "https://somewhere").message


def test_the_command_line_tells_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    def told(url: str) -> str:
        assert main(["models", "--url", url]) == 1
        return " ".join(capsys.readouterr().out.split())

    assert "nothing answers there" in told(f"http://{nobody()}")
    with answering(b"") as there:
        assert "No whole answer" in told(f"http://{there}")
    with answering(b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n") as there:
        assert "No TLS connection" in told(f"https://{there}")
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>") as there:
        assert "no SegServe server" in told(f"http://{there}")
    assert "http://a:b is no address" in told("http://a:b")
