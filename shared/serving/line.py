"""A straight line to a replica on this machine: calls and answers as pickled frames over a Unix socket.

Both ends are processes of one user: the socket lies in a folder that nobody else may enter, so what comes is unpickled
as Ray unpickles what comes under its token. A frame is the length of its payload, the number of its call, and the
payload; a call whose payload is empty is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import struct
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

from shared.errors import InternalError, SegServeError

HEAD = struct.Struct("<IQ")
PREFIX, SOCKET = "segserve-line-", "line.sock"
Method = Callable[..., Awaitable[Any]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica's line ends: the node, by Ray's id, and the socket's path there."""

    node: str
    path: str


class LineLost(Exception):
    """The other end is gone, with the calls that were under way."""


class _End(asyncio.Protocol):
    """One end of a line: bytes in, `taken` called with each frame."""

    def __init__(self) -> None:
        self._arrived = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        arrived, at = self._arrived, 0
        arrived += data
        while len(arrived) - at >= HEAD.size:
            length, number = HEAD.unpack_from(arrived, at)
            begin, end = at + HEAD.size, at + HEAD.size + length
            if len(arrived) < end:
                break
            self.taken(number, bytes(arrived[begin:end]))
            at = end
        del arrived[:at]

    def taken(self, number: int, payload: bytes) -> None:
        """A frame has come."""
        raise NotImplementedError

    def send(self, number: int, payload: bytes) -> None:
        """Put a frame on its way, if anybody is there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(HEAD.pack(len(payload), number) + payload)

    def close(self) -> None:
        """End the line, after what is on its way."""
        if self._transport is not None:
            self._transport.close()


class Line(_End):
    """The caller's end. Belongs to the event loop that opened it."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.lost = False

    @property
    def under_way(self) -> int:
        """Calls that have no answer yet."""
        return len(self._waiting)

    @classmethod
    async def opened(cls, address: Address) -> Line:
        """Raises `OSError` where nobody listens."""
        _, line = await asyncio.get_running_loop().create_unix_connection(cls, address.path)
        return line

    async def call(self, method: str, *arguments: object) -> Any:
        """What the replica's `method` gives, refusals as values; `InternalError` for anything else that it raised. A
        caller that is cancelled ends the replica's work. Raises `LineLost`."""
        if self.lost:
            raise LineLost
        number, payload = next(self._numbers), pickle.dumps((method, arguments), pickle.HIGHEST_PROTOCOL)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send(number, payload)
        try:
            return await future
        finally:
            if self._waiting.pop(number, None) is not None:
                self.send(number, b"")

    def taken(self, number: int, payload: bytes) -> None:
        """An answer has come; that of a call that was cancelled is for nobody."""
        if number in self._waiting:
            answer = pickle.loads(payload)  # noqa: S301 - before it is taken out: one that fails here is lost like the line
            future = self._waiting.pop(number)
            if not future.done():
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio."""
        self.lost = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LineLost())


class LineServer:
    """The replica's end: `methods` by name, to be called from this machine."""

    def __init__(self, methods: Mapping[str, Method], node: str) -> None:
        self._methods, self._node = methods, node
        self._opening: asyncio.Task[Address | None] | None = None
        self._server: asyncio.Server | None = None
        self._folder: Path | None = None

    async def address(self) -> Address | None:
        """Where to call: listens from the first time on, until the process ends. None where it cannot."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    def close(self) -> None:
        """Take no new line; those that there are go on."""
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            rmtree(self._folder, ignore_errors=True)

    async def _open(self) -> Address | None:
        try:
            sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            path = str(self._folder / SOCKET)
            self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Served(self._methods), path)
        except OSError:
            logger.warning("no straight line to this replica: all calls go by Serve", exc_info=True)
            return None
        return Address(self._node, path)


class _Served(_End):
    """One caller's line, at the replica."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        super().__init__()
        self._methods = methods
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def taken(self, number: int, payload: bytes) -> None:
        """A call has come, or the end of one that nobody waits for."""
        if payload:
            method, arguments = pickle.loads(payload)  # noqa: S301
            self._tasks[number] = work = asyncio.create_task(self._answer(number, method, arguments))
            # Not at the end of the work: one that is cancelled before it begins has no end of its own.
            work.add_done_callback(lambda _: self._tasks.pop(number, None))
        elif (task := self._tasks.get(number)) is not None:
            task.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio: the caller has gone."""
        for task in self._tasks.values():
            task.cancel()

    async def _answer(self, number: int, method: str, arguments: tuple[object, ...]) -> None:
        try:
            try:
                answer = await self._methods[method](*arguments)
            except SegServeError as error:
                answer = error
            payload = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except Exception:
            logger.exception("%s failed", method)
            payload = pickle.dumps(InternalError(), pickle.HIGHEST_PROTOCOL)
        self.send(number, payload)


def sweep() -> None:
    """Remove what replicas that were killed have left behind."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        match = re.fullmatch(rf"{PREFIX}(\d+)-.*", left.name)
        if match is None:
            continue
        try:
            if left.stat().st_uid == os.getuid():
                os.kill(int(match[1]), 0)
        except ProcessLookupError:
            rmtree(left, ignore_errors=True)
        except OSError:  # somebody else's, or gone: a neighbour that starts sweeps too
            continue
