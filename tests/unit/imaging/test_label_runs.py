"""Areas, boxes and masks read off a label map's runs are those of its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.imaging import label_runs
from shared.imaging.label_runs import LabelRuns
from shared.imaging.runs import runs_of
from shared.types import Region

MAPS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32]),
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.integers(0, 4),
)


@settings(deadline=None)
@given(labels=MAPS, at_once=st.sampled_from([1, 20, 2**18]))
def test_equal_masks_of_one_label_each(labels: Any, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_runs, "LOOKED_AT", at_once)
        runs = LabelRuns.of(labels)
    present = np.unique(labels).tolist()
    assert runs.areas() == {label: np.count_nonzero(labels == label) for label in present}
    regions = runs.regions()
    assert list(regions) == present
    for label, region in regions.items():
        expected = Region.from_mask(labels == label)
        assert (region.size, region.box) == (expected.size, expected.box)
        held, wanted = runs_of(region), runs_of(expected)
        assert held.shape == wanted.shape
        assert np.array_equal(held.starts, wanted.starts)
        assert np.array_equal(held.ends, wanted.ends)
        assert np.array_equal(region.bits, expected.bits)


def test_no_pixels_have_no_runs() -> None:
    runs = LabelRuns.of(np.zeros((0, 3), np.uint8))
    assert (runs.areas(), runs.regions()) == ({}, {})
