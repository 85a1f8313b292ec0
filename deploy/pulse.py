"""Whether a process that serves gRPC still answers: one that hangs is there, and listens, and never does.

gRPC's own health service is asked, which Ray's GCS and raylet have, without the token. What is said does not matter,
only that something is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

HEALTH = "/grpc.health.v1.Health/Check"
ASK_EVERY_S = 5.0
"""Pause between an answer and the next question."""
AWAY_S = 5.0
"""Whoever looks less often than this was stopped, suspended or starved, and so may be what was asked."""
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Pulse:
    """One process at `address` (host:port), asked in the background; `look` is called about once a second."""

    def __init__(
        self,
        address: str,
        silent_s: float,
        every_s: float = ASK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
        self._check = self._channel.unary_unary(HEALTH)
        self._silent_s, self._every_s, self._clock = silent_s, every_s, clock
        self._seen = self._heard = clock()
        self._asked: grpc.Future | None = None

    def hangs(self) -> bool:
        """Whether it has not answered for `silent_s` seconds during which we were there to hear it."""
        now = self._clock()
        if now - self._seen > AWAY_S:
            self._start_over(now)
        self._seen = now
        if self._asked is not None and self._asked.done():
            answered = self._asked.code() not in NO_ANSWER
            self._asked = None
            if answered:
                self._heard = now
                return False
        if self._asked is None and now - self._heard >= self._every_s:
            self._asked = self._check.future(b"", timeout=2 * self._silent_s)
        return now - self._heard >= self._every_s + self._silent_s

    def _start_over(self, now: float) -> None:
        """As if it had just answered; what was asked before is forgotten."""
        if self._asked is not None:
            self._asked.cancel()
        self._asked, self._heard = None, now
