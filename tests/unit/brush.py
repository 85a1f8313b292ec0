"""Label Studio's brush strokes read as its editor reads them: the published decoder, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.types import BoolArray


def decode_brush(rle: Sequence[int], size: tuple[int, int]) -> BoolArray:
    """The mask, HxW: where the fourth channel is set. Every channel must say the same."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    number = read(32)
    value_bits = read(5) + 1
    length_bits = [read(4) + 1 for _ in range(4)]
    out = np.zeros(number, np.uint8)
    done = 0
    while done < number:
        repeated = read(1)
        stop = done + 1 + read(length_bits[read(2)])
        if repeated:
            out[done:stop] = read(value_bits)
        else:
            out[done:stop] = [read(value_bits) for _ in range(stop - done)]
        done = stop
    assert 0 <= len(bits) - at <= 8, "nothing but padding is left"
    channels = out.reshape(*size, 4)
    assert (channels == channels[..., :1]).all()
    assert set(np.unique(out)) <= {0, 255}
    mask: BoolArray = channels[..., 3] == 255
    return mask
