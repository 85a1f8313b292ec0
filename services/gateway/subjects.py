"""The image that prompts are about: sent, or known by its id alone; kept for later prompts while one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from services.gateway.context import Gateway
from services.gateway.uploads import Image, identify
from shared.calls import Caller
from shared.errors import SegServeError
from shared.store.images import Known, Unknown


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that prompts are about. `size` is (width, height) of the upright image, or the largest there may be."""

    image_id: str
    size: tuple[int, int]
    image: Image | None
    stored: bool | None = None
    """`PromptCall.stored`."""

    @property
    def data(self) -> bytes | None:
        """The encoded image, where it was sent."""
        return None if self.image is None else self.image.data


async def subject_of(here: Gateway, caller: Caller, image: Image | None, image_id: str | None) -> Subject:
    """Which image it is and how large. Raises `ImageMismatch`, or `ImageNotFound` for an id without a record.

    With the store out of reach nobody here knows the image's size; the service may still hold its embedding.
    """
    if image is not None:
        found = await identify(image.data, image_id)
        return Subject(found, (image.header.width, image.header.height), image)
    known = image_id or ""
    resolution = await here.images.resolve(caller.tenant, known)
    if isinstance(resolution, Unknown):
        raise resolution.error
    if isinstance(resolution, Known):
        return Subject(known, (resolution.record.width, resolution.record.height), None, True)
    return Subject(known, (here.settings.max_side, here.settings.max_side), None, False)


@asynccontextmanager
async def kept(here: Gateway, caller: Caller, subject: Subject, store: bool) -> AsyncIterator[None]:
    """Store the image that was sent beside what happens inside; ends when both have."""
    if subject.image is None or not store:
        yield
        return
    task = asyncio.create_task(_keep(here, caller, subject.image_id, subject.image))
    try:
        yield
        await task
    finally:
        task.cancel()


async def _keep(here: Gateway, caller: Caller, image_id: str, image: Image) -> None:
    """Store the image for later prompts. A store that is down, full or too small fails no request; it counts that."""
    with suppress(SegServeError):
        await here.images.put(caller.tenant, image.data, image.header.width, image.header.height, image_id)
