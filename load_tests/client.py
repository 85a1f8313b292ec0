"""Prepared requests in, latencies out: callers in a closed loop over keep-alive HTTP/1.1, as lean as Python can be.

A request is bytes made beforehand, an answer is parsed by httptools. What the generator itself costs is measured and
reported with every figure, because on one machine it is taken from the server.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop

TIMEOUT_S = 120.0
"""Longest that one answer may take; later is an error and a new connection."""
REST_S = 0.05
"""A caller's pause after an error, so that one without a server does not spin."""
LEAST = 2
"""Each caller asks at least so often, however short the window is: a slow server must fill its queue."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and what they are: every caller takes the next of `requests`, over and over."""

    host: str
    port: int
    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """What the callers saw: milliseconds of each answer of status 200, and what went wrong instead, by kind."""

    callers: int
    seconds: float
    """From the beginning to the last answer or error: the time after a server died counts too."""
    latencies_ms: tuple[float, ...]
    errors: Mapping[str, int] = field(default_factory=dict)
    client_cpu_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return len(self.latencies_ms) / self.seconds if self.seconds > 0 else 0.0

    @property
    def client_ms(self) -> float:
        """CPU milliseconds that the generator spent on a request."""
        asked = len(self.latencies_ms) + sum(self.errors.values())
        return 1000 * self.client_cpu_s / asked if asked else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Of the latencies; not a number when there was no good answer."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else float("nan")


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Target:
    """A target of one POST request."""
    return posts(url, [body], headers)


def posts(url: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Target:
    """A target of POST requests that differ in their bodies."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    fields = [f"{key}: {value}" for key, value in {"Host": f"{host}:{port}", **headers}.items()]
    head = "\r\n".join([f"POST {path or '/'} HTTP/1.1", *fields])
    requests = (f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies)
    return Target(host, port, tuple(requests))


class Connection(asyncio.Protocol):
    """One caller's connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        self._transport, self.usable = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio."""
        self._fail(exc or ConnectionResetError("closed by the server"))

    def on_body(self, body: bytes) -> None:
        """From the parser."""
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """From the parser."""
        answer = Answer(self._parser.get_status_code(), b"".join(self._chunks))
        self._chunks = []
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        self.usable = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error)

    def close(self) -> None:
        """No more requests on it."""
        self.usable = False
        if self._transport:
            self._transport.close()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises `OSError`, `TimeoutError` or the parser's error."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            return await self._waiting


async def connected(target: Target) -> Connection:
    """A new connection. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, target.host, target.port)
    return connection


class _Run:
    """The state that the callers of one window share."""

    def __init__(self, target: Target, callers: int, seconds: float, least: int) -> None:
        self._target, self._callers, self._least = target, callers, least * callers
        self._begun = time.perf_counter()
        self._until = self._begun + seconds
        self._asked, self._last = 0, self._begun
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()

    def _more(self) -> bool:
        return time.perf_counter() < self._until or self._asked < self._least

    async def caller(self) -> None:
        """One caller: ask, wait, ask again."""
        connection: Connection | None = None
        while self._more():
            request = self._target.requests[self._asked % len(self._target.requests)]
            self._asked += 1
            begun = time.perf_counter()
            try:
                if connection is None or not connection.usable:
                    connection = await connected(self._target)
                answer = await connection.ask(request)
            except (OSError, TimeoutError, httptools.HttpParserError) as error:
                self._last = time.perf_counter()
                self._errors[type(error).__name__] += 1
                if connection:
                    connection.close()
                await asyncio.sleep(REST_S)
                continue
            self._last = time.perf_counter()
            if answer.status == 200:
                self._latencies.append((self._last - begun) * 1000)
            else:
                self._errors[str(answer.status)] += 1
        if connection:
            connection.close()

    async def window(self) -> Window:
        """All callers, until the time is up and every request is answered."""
        cpu = time.process_time()
        await asyncio.gather(*(self.caller() for _ in range(self._callers)))
        spent = time.process_time() - cpu
        return Window(self._callers, self._last - self._begun, tuple(self._latencies), dict(self._errors), spent)


def load(target: Target, callers: int, seconds: float, least: int = LEAST) -> Window:
    """Let `callers` ask without a pause for `seconds`, and `least` times each; requests under way are waited for."""

    async def run() -> Window:
        return await _Run(target, callers, seconds, least).window()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def ask_once(target: Target) -> Answer:
    """One request on a connection of its own. Raises `OSError`, `TimeoutError` or the parser's error."""

    async def run() -> Answer:
        connection = await connected(target)
        try:
            return await connection.ask(target.requests[0])
        finally:
            connection.close()

    return asyncio.run(run())
