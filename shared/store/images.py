"""Uploaded images by tenant and image id: the encoded bytes in, a record out. The record is the authority.

An id without a record is unknown, whatever a memory tier of embeddings still holds; with the store out of reach nobody
can say, and a memory tier may answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

from shared.errors import BodyTooLarge, ImageNotFound, ImageStoreUnavailable
from shared.store.keys import image_id_of


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of a stored image: its id, the size of the upright image in pixels, and when it goes (UTC)."""

    image_id: str
    width: int
    height: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """The authority has this image."""

    record: ImageRecord


@dataclass(frozen=True, slots=True)
class Unknown:
    """The authority says that this tenant has no such image: 404, whatever else holds it."""

    error: ImageNotFound


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The authority does not answer: use what lies in memory, else raise `error` (503)."""

    error: ImageStoreUnavailable


Resolution = Known | Unknown | Unreachable


class ImageStore(ABC):
    """Where uploaded images lie. `image_id` is `sha256:<hex>`; one that is not raises `InvalidOption`.

    Every method raises `ImageStoreUnavailable` when the store is out of reach.
    """

    @abstractmethod
    async def put(self, tenant: str, data: bytes, width: int, height: int, image_id: str | None = None) -> ImageRecord:
        """Keep the encoded image; `width` and `height` of the upright image, in pixels, from its header.

        The same bytes again are the same image, its time begins anew. `image_id` saves hashing `data` when the caller
        has done so. Raises `BodyTooLarge` for more bytes than the store takes.
        """

    @abstractmethod
    async def get(self, tenant: str, image_id: str) -> bytes:
        """The bytes as they were uploaded. Raises `ImageNotFound`."""

    @abstractmethod
    async def head(self, tenant: str, image_id: str) -> ImageRecord:
        """The record alone. Raises `ImageNotFound`."""

    @abstractmethod
    async def delete(self, tenant: str, image_id: str) -> bool:
        """Remove the image and every embedding of it that the store holds; whether there was an image. Processes that
        hold one let go of it when they next look (`sweep.py`)."""

    async def exists(self, tenant: str, image_id: str) -> bool:
        """Whether this tenant has this image."""
        resolution = await self.resolve(tenant, image_id)
        if isinstance(resolution, Unreachable):
            raise resolution.error
        return isinstance(resolution, Known)

    async def resolve(self, tenant: str, image_id: str) -> Resolution:
        """What the authority says of an image id, as a value. Raises only `InvalidOption`."""
        try:
            return Known(await self.head(tenant, image_id))
        except ImageNotFound as error:
            return Unknown(error)
        except ImageStoreUnavailable as error:
            return Unreachable(error)


def not_found(image_hex: str) -> ImageNotFound:
    """404 for this image, naming `image_id`."""
    return ImageNotFound.of("image_id", image_id_of(image_hex), reason="No such image: send it again.")


def too_large(size: int, cap: int) -> BodyTooLarge:
    """413 for an image of `size` bytes."""
    return BodyTooLarge.of("image", f"{size} bytes", f"{cap} bytes", "More bytes than the image store takes.")
