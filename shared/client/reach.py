"""A request without an answer in, what a person can do about it out: nothing listens, the name is unknown, TLS failed,
it took too long, or what came back is no HTTP."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from shared.errors import DeadlineExceeded, SegServeError


class ServerUnreachable(SegServeError):
    """No connection to the server, or it broke; raised by the client only."""

    code, status, default_message = "server_unreachable", 503, "The server cannot be reached."


def unanswered(error: httpx.TransportError, url: object) -> SegServeError:
    """`DeadlineExceeded` for a server that is too slow, `ServerUnreachable` for everything else, saying which it is."""
    if isinstance(error, httpx.ConnectTimeout):
        return DeadlineExceeded(f"No connection to {url} in time: its machine is away, or a firewall is between.")
    if isinstance(error, httpx.TimeoutException):
        return not_in_time(url)
    return ServerUnreachable(_told(error, url))


def not_in_time(url: object) -> DeadlineExceeded:
    """The server is there, and too slow for the client's time-out."""
    return DeadlineExceeded(f"No answer from {url} in time: it took the connection and is not done.")


def _told(error: httpx.TransportError, url: object) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"No TLS connection to {url}: its certificate is not accepted ({cause.verify_message})."
        if isinstance(cause, ssl.SSLError):
            return f"No TLS connection to {url}: perhaps it speaks plain http:// ({cause.reason or cause})."
        if isinstance(cause, ConnectionRefusedError):
            return f"No connection to {url}: nothing answers there. Is the platform up (segserve up)?"
        if isinstance(cause, socket.gaierror):
            return f"No connection to {url}: this name is not known."
    if isinstance(error, httpx.RemoteProtocolError):
        return f"No whole answer from {url}: the connection was closed, or no HTTP is spoken there ({error})."
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return f"No answer from {url}: the connection broke ({error or causes[-1]})."
    return f"No connection to {url}: {error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
