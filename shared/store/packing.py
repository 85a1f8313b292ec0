"""Embeddings in half their bytes: int8 values with one float16 scale a channel, instead of float16 values.

What is packed is unpacked before use whether it was kept or just computed, so that both give one mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.types import Embedding, Float16Array, Float32Array

Int8Array = NDArray[np.int8]
LARGEST = 127.0


@dataclass(frozen=True, slots=True)
class PackedEmbedding:
    """`size` is (H, W) of the upright image. Each tensor int8, its first dimension the channels; `scales` float16, one
    a channel: value = scale x integer."""

    size: tuple[int, int]
    tensors: tuple[Int8Array, ...]
    scales: tuple[Float16Array, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors and scales."""
        return sum(each.nbytes for each in self.tensors) + sum(each.nbytes for each in self.scales)


def pack(embedding: Embedding) -> PackedEmbedding:
    """Round every channel to 255 steps between its largest values of either sign."""
    packed = [_packed(tensor.astype(np.float32)) for tensor in embedding.tensors]
    return PackedEmbedding(embedding.size, tuple(values for values, _ in packed), tuple(scale for _, scale in packed))


def unpack(packed: PackedEmbedding) -> Embedding:
    """The values that the integers stand for, float16 and read-only."""
    pairs = zip(packed.tensors, packed.scales, strict=True)
    return Embedding(packed.size, tuple(_unpacked(values, scales) for values, scales in pairs))


def _packed(tensor: Float32Array) -> tuple[Int8Array, Float16Array]:
    channels = tensor.reshape(tensor.shape[0] if tensor.ndim > 1 else 1, -1)
    peaks = np.abs(channels).max(axis=1, initial=0.0)
    # Rounded up to float16, so that no value lies beyond the last step.
    scales = np.nextafter((peaks / LARGEST).astype(np.float16), np.float16(np.inf), dtype=np.float16)
    scales = np.where(np.isfinite(scales), scales, np.float16(65504 / LARGEST)).astype(np.float16)
    steps = np.rint(channels / scales.astype(np.float32)[:, None])
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8).reshape(tensor.shape), scales


def _unpacked(values: Int8Array, scales: Float16Array) -> Float16Array:
    channels = values.reshape(len(scales), -1)
    tensor = (channels * scales.astype(np.float32)[:, None]).astype(np.float16).reshape(values.shape)
    tensor.flags.writeable = False
    return tensor
