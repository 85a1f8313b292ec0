"""The place for a name lies in the mask, of whatever size the mask is."""

from __future__ import annotations

import numpy as np
import pytest

from shared.imaging.captions import innermost
from shared.types import Region


@pytest.mark.parametrize("scale", [1, 7, 30])
def test_the_innermost_point_of_a_frame_with_one_thick_side(scale: int) -> None:
    mask = np.zeros((100, 140), dtype=np.bool_)
    mask[10:90, 20:120] = True
    mask[15:85, 25:80] = False  # what is left is thickest on the right
    large = np.kron(mask, np.ones((scale, scale), dtype=np.bool_))
    x, y, depth = innermost(Region.from_mask(large))
    assert large[y, x]
    assert 95 * scale <= x <= 104 * scale
    assert depth == pytest.approx(20 * scale, abs=1.5 * scale)
