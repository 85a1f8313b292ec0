"""Packed embeddings: half the bytes, every value within half a step, and the same whether kept or not."""

from __future__ import annotations

import numpy as np
import pytest

from shared.store.codec import CodecError, decode, encode
from shared.store.embeddings import EmbeddingStore, MemoryEmbeddings
from shared.store.packing import PackedEmbedding, pack, unpack
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding

HEX = "ab" * 32


def embedding(seed: int = 0) -> Embedding:
    """Channels of very different ranges, one of them empty; an odd number of values; and a flat tensor."""
    generator = np.random.default_rng(seed)
    scale = np.array([1e-4, 1, 300, 0, 5e4])[:, None, None]
    first = (generator.normal(0, 0.3, (5, 3, 7)) * scale).astype(np.float16)
    return Embedding((360, 480), (first, generator.normal(0, 1, 11).astype(np.float16)))


def test_every_value_is_within_half_a_step_of_its_channel() -> None:
    original = embedding()
    packed = pack(original)
    restored = unpack(packed)
    assert restored.size == original.size
    for before, after, scales in zip(original.tensors, restored.tensors, packed.scales, strict=True):
        assert after.dtype == np.float16
        assert after.shape == before.shape
        assert not after.flags.writeable
        step = scales.astype(np.float64).reshape(-1, *[1] * (before.ndim - 1))
        difference = np.abs(after.astype(np.float64) - before.astype(np.float64))
        assert (difference <= step / 2 + np.abs(before.astype(np.float64)) * 2**-10).all()
    assert packed.nbytes < 0.6 * original.nbytes


def test_a_packed_embedding_reads_back_bit_for_bit_and_an_altered_one_not_at_all() -> None:
    packed = pack(embedding())
    data = encode(packed)
    back = decode(data)
    assert isinstance(back, PackedEmbedding)
    assert back.size == packed.size
    assert [each.dtype for each in back.tensors] == [np.int8, np.int8]
    assert all(np.array_equal(a, b) for a, b in zip(back.tensors, packed.tensors, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(back.scales, packed.scales, strict=True))
    assert isinstance(decode(encode(embedding())), Embedding)
    for position in range(16, len(data), 7):
        altered = bytearray(data)
        altered[position] ^= 1
        with pytest.raises(CodecError):
            decode(bytes(altered))
    wrong = PackedEmbedding(packed.size, packed.tensors, packed.scales[::-1])
    with pytest.raises(CodecError, match="scales"):
        decode(encode(wrong))


@pytest.mark.parametrize("keep", [True, False])
async def test_kept_or_not_the_same_values_come_out(keep: bool) -> None:
    sink = RecordingSink()
    store = EmbeddingStore(MemoryEmbeddings(10**6, 60, sink), None, sink, packed=True)

    async def compute() -> Embedding:
        return embedding(3)

    first, tier = await store.get_or_compute("t", HEX, "f", compute, keep)
    again, second = await store.get_or_compute("t", HEX, "f", compute, keep)
    assert (tier, second) == ("computed", "memory" if keep else "computed")
    expected = unpack(pack(embedding(3)))
    for found in (first, again):
        assert all(np.array_equal(a, b) for a, b in zip(found.tensors, expected.tensors, strict=True))
    if keep:
        assert again is first
        assert store.peek("t", HEX, "f") is first
        assert sink.values("segserve_store_bytes")[-1] == pack(embedding(3)).nbytes


async def test_packed_and_plain_ones_never_mix() -> None:
    sink = RecordingSink()
    near = MemoryEmbeddings(10**6, 60, sink)
    plain, packed = EmbeddingStore(near, None, sink), EmbeddingStore(near, None, sink, packed=True)
    runs = 0

    async def compute() -> Embedding:
        nonlocal runs
        runs += 1
        return embedding(3)

    await plain.get_or_compute("t", HEX, "f", compute)
    await packed.get_or_compute("t", HEX, "f", compute)
    assert runs == 2
