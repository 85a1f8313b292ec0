"""What an embedding depends on, as one short key: a new encoder, or a new way to run it, never reads old embeddings,
and models that have the encoder in common read each other's."""

from __future__ import annotations

import hashlib
import json

from shared.catalog.card import Preprocess

LENGTH = 32
"""Hexadecimal digits of a fingerprint."""


def encoder_fingerprint(encoder_sha256: str, preprocess: Preprocess, precision: str, engine: str) -> str:
    """32 hexadecimal digits over the encoder (its weights, its settings, what it keeps of an image), preprocessing,
    arithmetic and engine. What decodes is no part of it. How the store keeps the tensors is the store's to add.

    Shape buckets count only where they change the picture that the network sees, so all of `preprocess` is taken but
    what dense tasks alone see.
    """
    facts = [encoder_sha256, preprocess.model_dump(mode="json", exclude={"dense_buckets"}), precision, engine]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:LENGTH]
