"""What is encoded reads back bit for bit, and nothing else reads back at all."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.store.codec import (
    IMAGE_HEADER_BYTES,
    CodecError,
    decode,
    decode_image,
    decode_image_size,
    encode,
    encode_image,
)
from shared.types import Embedding

TENSORS = st.lists(
    arrays.arrays(np.float16, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), max_size=4
)


def small() -> Embedding:
    values = np.arange(24, dtype=np.float16)
    return Embedding((360, 480), (values.reshape(2, 3, 4), values[:6].reshape(6)))


@given(TENSORS, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_an_embedding_reads_back_bit_for_bit(tensors: list[np.ndarray], height: int, width: int) -> None:
    back = decode(encode(Embedding((height, width), tuple(tensors))))
    assert back.size == (height, width)
    assert [t.shape for t in back.tensors] == [t.shape for t in tensors]
    assert [t.tobytes() for t in back.tensors] == [t.tobytes() for t in tensors]


def test_decoded_tensors_are_aligned_read_only_views() -> None:
    data = encode(small())
    for tensor in decode(data).tensors:
        assert tensor.dtype == np.float16
        assert tensor.flags.aligned
        assert not tensor.flags.writeable
        assert np.shares_memory(tensor, np.frombuffer(data, np.uint8))


def test_a_transposed_tensor_is_written_in_its_own_order() -> None:
    tensor = np.arange(6, dtype=np.float16).reshape(2, 3).T
    (back,) = decode(encode(Embedding((1, 1), (tensor,)))).tensors
    np.testing.assert_array_equal(back, tensor)


def test_every_cut_is_noticed() -> None:
    data = encode(small())
    for length in range(len(data)):
        with pytest.raises(CodecError):
            decode(data[:length])
    with pytest.raises(CodecError):
        decode(data + b"\0")


def test_every_flipped_bit_is_noticed() -> None:
    data = encode(small())
    for position in range(len(data) * 8):
        altered = bytearray(data)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CodecError):
            decode(bytes(altered))


@given(st.binary(max_size=200))
def test_bytes_from_elsewhere_are_refused(data: bytes) -> None:
    for read in (decode, decode_image):
        with pytest.raises(CodecError):
            read(data)


def test_pickles_and_npz_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, small().tensors[0])
    for data in (pickle.dumps(small()), buffer.getvalue()):
        with pytest.raises(CodecError, match="something else"):
            decode(data)


def test_a_later_version_is_refused() -> None:
    data = bytearray(encode(small()))
    struct.pack_into("<H", data, 4, 2)
    with pytest.raises(CodecError, match="version"):
        decode(bytes(data))


MOST = 2**32 - 1
TABLES = {
    "many dimensions": struct.pack("<I", 2**31) + bytes(36),
    "nine dimensions": struct.pack("<10I", 9, *[1] * 9) + bytes(32),
    "more than there is": struct.pack("<3I", 2, MOST, MOST) + bytes(28),
    "nothing, hugely": struct.pack("<5I", 4, 0, MOST, MOST, MOST) + bytes(4),
    "cut off": struct.pack("<2I", 8, 1),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_that_makes_no_sense_is_refused_though_its_checksum_holds(table: bytes) -> None:
    rest = struct.pack("<II", 1, 1) + table
    data = struct.pack("<4sHHQ", b"SEGE", 1, 1, xxhash.xxh3_64_intdigest(rest)) + rest
    with pytest.raises(CodecError):
        decode(data)


def test_an_image_reads_back_and_its_size_from_the_first_bytes() -> None:
    data = encode_image(b"jpeg", 640, 480)
    assert decode_image_size(data[:IMAGE_HEADER_BYTES]) == (640, 480)
    image = decode_image(data)
    assert (image.width, image.height, image.data) == (640, 480, b"jpeg")


def test_an_image_is_no_embedding_nor_the_other_way_round() -> None:
    with pytest.raises(CodecError):
        decode(encode_image(b"jpeg", 640, 480))
    with pytest.raises(CodecError):
        decode_image(encode(small()))


def test_every_altered_or_missing_byte_of_an_image_is_noticed() -> None:
    data = encode_image(b"jpeg", 640, 480)
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 0xFF
        with pytest.raises(CodecError):
            decode_image(bytes(altered))
        with pytest.raises(CodecError):
            decode_image(data[:position])
