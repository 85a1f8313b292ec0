"""Names of things in the store: the image id of some bytes, and the key of each record of one tenant's image.

A tenant enters a key as a hash only, so that no name, however it is written, reaches another tenant's keys. The braces
put all keys of one image into one slot of a Redis cluster, where they can be deleted together.
"""

from __future__ import annotations

import hashlib
import re

from shared.errors import InvalidOption

PREFIX = "segserve:1"
"""Changes when the meaning of a key changes; what lies under an older prefix is left to its TTL."""

_ALGORITHM = "sha256:"
_IMAGE_ID = re.compile(r"sha256:([0-9a-f]{64})")


def image_id(data: bytes | bytearray | memoryview) -> str:
    """`sha256:<64 hex digits>` of the encoded image as it was uploaded. Blocks for 0.6 ms a MiB."""
    return _ALGORITHM + hashlib.sha256(data).hexdigest()


def image_id_of(image_hex: str) -> str:
    """The image id whose digest is `image_hex`."""
    return _ALGORITHM + image_hex


def parse_image_id(text: str) -> str:
    """The 64 hex digits of an image id. Raises `InvalidOption` naming `image_id`."""
    match = _IMAGE_ID.fullmatch(text)
    if match is None:
        raise InvalidOption.of("image_id", text, "sha256: and 64 digits 0-9a-f", "This is no image id.")
    return match[1]


def image_key(tenant: str, image_hex: str) -> str:
    """Where the uploaded bytes lie: the authority on whether the image exists."""
    return f"{_image(tenant, image_hex)}:image"


def embeddings_key(tenant: str, image_hex: str) -> str:
    """A hash of encoder fingerprint -> encoded embedding: one key, so that one DEL removes every encoder's."""
    return f"{_image(tenant, image_hex)}:embeddings"


def deleted_key(tenant: str, image_hex: str) -> str:
    """A short-lived mark that stops embeddings computed before a deletion from being kept after it."""
    return f"{_image(tenant, image_hex)}:deleted"


def owner_of(tenant: str) -> str:
    """How a tenant enters a key."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:32]


def jobs_key(name: str) -> str:
    """One of the keys of jobs, which lie in one slot: what happens to a job happens to several of them at once."""
    return f"{PREFIX}:{{jobs}}:{name}"


def _image(tenant: str, image_hex: str) -> str:
    return f"{PREFIX}:{{{owner_of(tenant)}:{image_hex}}}"
