"""Many images of one request in, an entry for each out, stored and embedded while the body is still coming.

At most `AT_ONCE` images are in memory: reading waits while so many are at work. One that is bad fails alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.gateway.context import Gateway
from services.gateway.errors import fields
from services.gateway.middleware import stopped
from services.gateway.uploads import identify, measure
from shared.calls import Caller, EmbedCall
from shared.errors import Overloaded, SegServeError
from shared.protocols import PromptableService
from shared.store.images import ImageRecord

AT_ONCE = 8
"""Images of one upload that are stored and embedded at the same time."""
REPORT_S = 0.5
"""At most so often progress is told while the body is still coming: a client that sends does not read yet."""
Entry = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Report:
    """How far an upload is. `entry` is that of image number `index`, once the whole body was read."""

    index: int
    entry: Entry | None
    done: int
    failed: int
    total: int | None
    """None while images may still come."""


@dataclass(slots=True)
class Bulk:
    """One upload of several images; `entries` holds what became of each, by its number, once `reports` is through."""

    here: Gateway
    caller: Caller
    services: Mapping[str, PromptableService]
    entries: dict[int, Entry] = field(default_factory=dict)
    _working: set[asyncio.Task[None]] = field(default_factory=set)
    _told: set[int] = field(default_factory=set)

    async def reports(self, images: AsyncIterator[bytes]) -> AsyncGenerator[Report, None]:
        """Works through the images. Raises what reading them raises; closing it ends the work."""
        count, spoken = 0, time.monotonic()
        try:
            async for data in images:
                await self._until_fewer_than(AT_ONCE)
                self._working.add(asyncio.create_task(self._work(count, data)))
                count += 1
                if time.monotonic() - spoken > REPORT_S:
                    spoken = time.monotonic()
                    yield self._report(-1, None, None)
            while self._working or len(self._told) < count:
                for index in sorted(self.entries.keys() - self._told):
                    self._told.add(index)
                    yield self._report(index, self.entries[index], count)
                if self._working:
                    await self._until_fewer_than(len(self._working))
        finally:
            for task in self._working:  # all of them, before any is waited for
                task.cancel()
            for task in self._working:
                await stopped(task)

    def _report(self, index: int, entry: Entry | None, total: int | None) -> Report:
        failed = sum("error" in each for each in self.entries.values())
        return Report(index, entry, len(self.entries), failed, total)

    async def _until_fewer_than(self, limit: int) -> None:
        while len(self._working) >= limit:
            done, self._working = await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _work(self, index: int, data: bytes) -> None:
        try:
            self.entries[index] = await self._patiently(data)
        except SegServeError as error:
            self.entries[index] = {"error": fields(error)}

    async def _patiently(self, data: bytes) -> Entry:
        """A busy model is waited for as long as it says, until the deadline: the caller asked for many at once."""
        while True:
            try:
                return await kept(self.here, self.caller, data, self.services)
            except Overloaded as error:
                pause_s = error.retry_after_s or 1.0
                if time.time() + pause_s > self.caller.deadline:
                    raise
                await asyncio.sleep(pause_s)


async def kept(here: Gateway, caller: Caller, data: bytes, services: Mapping[str, PromptableService]) -> Entry:
    """Store one image, then embed it with each model: its entry."""
    header = measure(data, here).header
    image_id = await identify(data)
    stored = await here.images.put(caller.tenant, data, header.width, header.height, image_id)
    call = EmbedCall(image_id, data, caller)
    found = await all_of(*(service.embed(call) for service in services.values()))
    embeddings = {name: answer.tier for name, answer in zip(services, found, strict=True)}
    return {**record_fields(stored), "embeddings": embeddings}


async def all_of(*work: Coroutine[Any, Any, Result]) -> list[Result]:
    """What each gives, in order. Raises the first failure, and then none of the others goes on."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def record_fields(record: ImageRecord) -> Entry:
    """What an answer says of a stored image."""
    return {
        "image_id": record.image_id,
        "width": record.width,
        "height": record.height,
        "expires_at": record.expires_at,
    }
