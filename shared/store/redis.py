"""Calls to Redis or Valkey: an operation's name and what to do in; its result, or a counted `StoreFailure`, out.

No retries, one hard limit of time around each whole operation (getting a connection included), a circuit breaker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.protocols import Sink
from shared.settings import Settings, SettingsError
from shared.store.breaker import Attempt, Breaker
from shared.store.metrics import BREAKER_OPEN, CALL_SECONDS, ERRORS, Operation, Reason
from shared.store.patience import within

T = TypeVar("T")

CONCURRENT_CALLS = 8
"""Calls of one process under way at once, each on a connection of its own; more would only slow each other down."""
_READ_BYTES = 256 * 1024
_SCHEMES = ("redis://", "rediss://", "unix://")
_LOG = logging.getLogger(__name__)


class StoreFailure(Exception):
    """The store did not do this; already counted. Never shown to a caller: the stores turn it into a miss or a 503."""

    def __init__(self, reason: Reason):
        self.reason: Reason = reason
        super().__init__(reason)


class RedisClient:
    """One process's way to the store. Made anywhere, used from one event loop, closed there."""

    def __init__(self, url: str, *, timeout_s: float, connect_timeout_s: float, cap: int, breaker: Breaker, sink: Sink):
        self._redis = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # ours is around the whole call; its own loses cancellations in wait_for (Python 3.11)
            # On a socket of this machine a connection is there at once or refused.
            socket_connect_timeout=None if url.startswith("unix://") else connect_timeout_s,
            socket_read_size=_READ_BYTES,
            driver_info=None,
        )
        self._timeout_s = timeout_s
        self._cap = cap
        self._breaker = breaker
        self._sink = sink
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._shown_open: bool | None = None
        self._show_breaker()

    @classmethod
    def from_settings(cls, settings: Settings, sink: Sink) -> RedisClient | None:
        """A client for `redis_url`, None where there is none. Raises `SettingsError` when it is no URL of a store."""
        if settings.redis_url is None:
            return None
        url = settings.redis_url.get_secret_value()
        if not url.startswith(_SCHEMES):
            raise SettingsError(f"SEGSERVE_REDIS_URL: must begin with one of {', '.join(_SCHEMES)}")
        return cls(
            url,
            timeout_s=settings.redis_timeout_s,
            connect_timeout_s=settings.redis_connect_timeout_s,
            cap=settings.max_stored_bytes,
            breaker=Breaker(settings.breaker_failures, settings.breaker_open_s),
            sink=sink,
        )

    async def call(self, operation: Operation, action: Callable[[Redis], Awaitable[T]], *, counted: bool = True) -> T:
        """Run `action`, all of it within the timeout. Raises `StoreFailure`, counted under `operation`. One that is not
        to be `counted` is made at rest too, where the metrics stand still.

        A crowd of our own making may add as long a wait for its turn, but never while the server does not answer.
        """
        attempt = self._breaker.begin()
        if attempt is None:
            raise self.failure(operation, "open", counted)
        began = time.perf_counter()
        try:
            async with self._turn(operation, attempt, counted) as limit_s, within(limit_s):
                result = await action(self._redis)
        except (TimeoutError, RedisTimeoutError) as error:
            raise self._lost(operation, "timeout", attempt, counted) from error
        except (OSError, RedisConnectionError) as error:
            raise self._lost(operation, "connection", attempt, counted) from error
        except RedisError as error:
            self._breaker.succeeded(attempt)
            reason: Reason = "full" if isinstance(error, OutOfMemoryError) else "refused"
            raise self.failure(operation, reason, counted) from error
        except BaseException:
            self._breaker.abandoned(attempt)
            raise
        else:
            self._breaker.succeeded(attempt)
            return result
        finally:
            if counted:
                self._sink.observe(CALL_SECONDS, time.perf_counter() - began, operation=operation)
            self._show_breaker()

    def check_size(self, operation: Operation, size: int) -> None:
        """A value beyond the cap could empty the whole store: raises `StoreFailure` before anything is sent."""
        if size > self._cap:
            raise self.failure(operation, "too_large")

    def failure(self, operation: Operation, reason: Reason, counted: bool = True) -> StoreFailure:
        """Count a failure of `operation`, and the exception to raise for it."""
        if counted:
            self._sink.count(ERRORS, operation=operation, reason=reason)
        return StoreFailure(reason)

    async def ping(self) -> float:
        """Seconds that the server took to answer. Raises `StoreFailure`."""
        began = time.perf_counter()
        await self.call("ping", lambda redis: redis.ping())
        return time.perf_counter() - began

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    @asynccontextmanager
    async def _turn(self, operation: Operation, attempt: Attempt, counted: bool) -> AsyncIterator[float]:
        """One of the slots, and the seconds left for the call: all of them, but for time spent waiting while another
        call found the server silent."""
        began = time.perf_counter()
        try:
            async with within(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise self.failure(operation, "crowded", counted) from None
        try:
            waited_s = time.perf_counter() - began
            yield self._timeout_s - waited_s if self._breaker.failed_since(attempt) else self._timeout_s
        finally:
            self._slots.release()

    def _lost(self, operation: Operation, reason: Reason, attempt: Attempt, counted: bool) -> StoreFailure:
        self._breaker.failed(attempt, refused=reason == "connection")
        return self.failure(operation, reason, counted)

    def _show_breaker(self) -> None:
        is_open = self._breaker.is_open
        if is_open == self._shown_open:
            return
        if is_open:
            _LOG.warning("The store does not answer: its calls are skipped, but for a trial now and then.")
        elif self._shown_open:
            _LOG.warning("The store answers again.")
        self._shown_open = is_open
        self._sink.gauge(BREAKER_OPEN, float(is_open))
