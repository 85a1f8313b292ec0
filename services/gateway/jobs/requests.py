"""A checked request for a task <-> the bytes that wait in the store until its turn comes.

Length and JSON of what was asked, then the image and the background as they were sent.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from services.gateway.uploads import Image, Upload
from shared.imaging.probe import probe
from shared.schemas.options import TaskOptions
from shared.settings import Settings
from shared.types import JobTask

_HEAD = struct.Struct("<III")
"""Bytes of the JSON, and of image and background plus 1; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything of a request that its answer depends on, and who sent it. `options` are those that were given."""

    task: JobTask
    tenant: str
    request_id: str
    accept: str
    options: dict[str, Any]
    image_id: str | None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request as it waits; `image` and `background` are encoded images."""

    asked: Asked
    image: bytes | None
    background: bytes | None

    @classmethod
    def of(cls, upload: Upload[TaskOptions], task: JobTask, tenant: str, request_id: str, accept: str) -> Self:
        """What was received."""
        options = upload.options.model_dump(mode="json", exclude_unset=True)
        asked = Asked(task, tenant, request_id, accept, options, upload.image_id)
        return cls(asked, None if upload.image is None else upload.image.data, upload.background)

    def encode(self) -> bytes:
        """For the store."""
        head = orjson.dumps(asdict(self.asked))
        lengths = (0 if each is None else len(each) + 1 for each in (self.image, self.background))
        return b"".join([_HEAD.pack(len(head), *lengths), head, self.image or b"", self.background or b""])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the store."""
        said, image, background = _HEAD.unpack_from(data)
        start = _HEAD.size + said
        middle = start + max(image - 1, 0)
        asked = Asked(**orjson.loads(data[_HEAD.size : start]))
        return cls(asked, data[start:middle] if image else None, data[middle:] if background else None)

    def fingerprint(self) -> str:
        """64 hexadecimal digits, the same for the same request under whatever request id."""
        digest = hashlib.sha256()
        asked = {name: value for name, value in asdict(self.asked).items() if name != "request_id"}
        for part in (orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), self.image, self.background):
            digest.update(b"-" if part is None else hashlib.sha256(part).digest())
        return digest.hexdigest()

    def upload(self, options: type[TaskOptions], settings: Settings) -> Upload[TaskOptions]:
        """As it was received."""
        image = None
        if self.image is not None:
            header = probe(self.image, max_pixels=settings.max_pixels, max_side=settings.max_side)
            image = Image(self.image, header)
        return Upload(options.model_validate(self.asked.options), image, self.asked.image_id, self.background)
