"""Calls that leave Serve's way once the replicas are known: Serve's own part of a click costs as much CPU as half of
its decoding.

The first call goes by the handle, so the router decides which replica has it; that replica says where its line ends,
and calls take the line for a while: those on one key (`Straight`), or, once there is a line to every replica, all
(`Spread`). What Serve must see or survive stays its own: a replica that
scales by its requests gives no line, and a call whose line is lost goes by the handle, since every call is idempotent.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import get_runtime_context, serve
from ray.serve.handle import DeploymentHandle

from shared.errors import SegServeError
from shared.serving.line import Address, Line, LineLost, LineServer, Method
from shared.serving.remote import Superseded, call, limit

logger = logging.getLogger(__name__)

PLACE_S = 10.0
"""How long calls on a key take the line that its replica told of; then the router is asked again."""
PLACES = 4096
"""Keys whose place is known at once."""


@dataclass(frozen=True, slots=True)
class Introduced:
    """An answer that came by the handle, and where the replica may be called straight."""

    answer: Any
    address: Address | None


class Introduction:
    """In a replica: its answers by the handle, each with the address of its line."""

    def __init__(self, name: str, method: Method) -> None:
        self._method = method
        self._line = LineServer({name: method}, get_runtime_context().get_node_id())
        # Serve counts the calls under way at its handles and replicas, and scales by their number.
        self._scales = serve.get_replica_context()._deployment_config.autoscaling_config is not None

    async def answer(self, *arguments: object) -> Introduced | SegServeError:
        """The method's answer, introduced; a refusal as it is."""
        found = await self._method(*arguments)
        if isinstance(found, SegServeError):
            return found
        return Introduced(found, None if self._scales else await self._line.address())

    def close(self) -> None:
        """Give the line's socket back: the replica ends."""
        self._line.close()


class Lines:
    """The lines from this process, each opened once."""

    def __init__(self, node: str | None = None) -> None:
        self._node = node
        self._open: dict[str, Line] = {}

    async def to(self, address: Address | None) -> Line | None:
        """The line to this address; None where it ends on another node or nobody listens."""
        if address is None or address.node != self._here():
            return None
        self._open = {path: line for path, line in self._open.items() if not line.lost}
        if address.path not in self._open:
            try:
                line = await Line.opened(address)
            except OSError as error:
                logger.info("no line to %s (%s)", address.path, error)
                return None
            if self._open.setdefault(address.path, line) is not line:
                line.close()  # two asked at once
        return self._open[address.path]

    def _here(self) -> str:
        if self._node is None:
            self._node = get_runtime_context().get_node_id()
        return self._node


class _Way:
    """A method of a deployment, by the handle or by a line."""

    def __init__(self, handle: DeploymentHandle[Any], method: str, introduction: str, lines: Lines) -> None:
        """`introduction` names the replica's method that answers with `Introduction.answer`."""
        self._handle, self._method, self._introduction, self._lines = handle, method, introduction, lines

    async def _by_line(self, line: Line, request: object, deadline: float) -> tuple[bool, Any]:
        """Whether the line gave the replica's answer, and that. Raises the refusals of one that is not superseded."""
        try:
            async with limit(deadline):
                answer = await line.call(self._method, request)
        except LineLost:
            logger.warning("the line of a replica of %s is lost: by Serve once more", self._handle)
            return False, None
        if isinstance(answer, SegServeError) and not isinstance(answer, Superseded):
            raise answer
        return not isinstance(answer, SegServeError), answer

    async def _by_handle(self, request: object, deadline: float, key: str = "") -> tuple[Any, Line | None]:
        """The answer, and the line to the replica that gave it, where there is one."""
        found = await call(self._handle, self._introduction, request, deadline=deadline, key=key)
        return found.answer, await self._lines.to(found.address)


class Straight(_Way):
    """`remote.call` for one method of a deployment, by the line where there is one: each key has a replica."""

    def __init__(self, handle: DeploymentHandle[Any], method: str, introduction: str, lines: Lines) -> None:
        super().__init__(handle, method, introduction, lines)
        self._places: OrderedDict[str, tuple[Line, float]] = OrderedDict()

    async def call(self, request: object, *, deadline: float, key: str) -> Any:
        """The replica's answer by `deadline` (Unix seconds). Raises `SegServeError` only."""
        line = self._place(key)
        if line is not None:
            answered, answer = await self._by_line(line, request, deadline)
            if answered:
                return answer
            self._places.pop(key, None)
        answer, line = await self._by_handle(request, deadline, key)
        if line is not None:
            self._places[key] = line, time.monotonic() + PLACE_S
            while len(self._places) > PLACES:
                self._places.popitem(last=False)
        return answer

    def _place(self, key: str) -> Line | None:
        found = self._places.get(key)
        if found is None:
            return None
        line, until = found
        if line.lost or time.monotonic() > until:
            del self._places[key]
            return None
        return line


class Spread(_Way):
    """`remote.call` for one method of a deployment, which any of its replicas answers: by the line with the fewest
    calls under way, but only while there is a line to each. Else those without would have nothing to do."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        method: str,
        introduction: str,
        lines: Lines,
        replicas: Callable[[], int],
    ) -> None:
        """`replicas` says how many run."""
        super().__init__(handle, method, introduction, lines)
        self._replicas = replicas
        self._until: dict[Line, float] = {}

    async def call(self, request: object, *, deadline: float) -> Any:
        """A replica's answer by `deadline` (Unix seconds). Raises `SegServeError` only."""
        line = self._least_busy()
        if line is not None:
            answered, answer = await self._by_line(line, request, deadline)
            if answered:
                return answer
            self._until.pop(line, None)
        answer, line = await self._by_handle(request, deadline)
        if line is not None:
            self._until[line] = time.monotonic() + PLACE_S
        return answer

    def _least_busy(self) -> Line | None:
        now = time.monotonic()
        self._until = {line: until for line, until in self._until.items() if not line.lost and now < until}
        if len(self._until) < max(1, self._replicas()):
            return None
        return min(self._until, key=lambda line: line.under_way)
