"""What an embedding depends on, as one short key: a new encoder, or a new way to run it, never reads old embeddings,
and models that have the encoder in common read each other's."""

from __future__ import annotations

import hashlib
import json

from shared.catalog.card import Preprocess

LENGTH = 32
"""Hexadecimal digits of a fingerprint."""
DECODING = 2
"""Raised whenever another way from a file to pixels changes embeddings; 2: large JPEGs at a part of their size."""


def encoder_fingerprint(encoder_sha256: str, preprocess: Preprocess, precision: str, engine: str) -> str:
    """32 hexadecimal digits over the encoder (its weights, its settings, what it keeps of an image), preprocessing,
    arithmetic and engine. What decodes is no part of it. How the store keeps the tensors is the store's to add.

    Shape buckets count only where they change the picture that the network sees, so all of `preprocess` is taken but
    what dense tasks alone see.
    """
    dumped = preprocess.model_dump(mode="json", exclude={"dense_buckets"})
    facts = [encoder_sha256, dumped, precision, engine, DECODING]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:LENGTH]
