"""Areas and means read off runs are those of the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.imaging.summary import summarise, summarise_output
from shared.types import SemanticOutput


@settings(deadline=None)
@given(
    labels=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 4),
    ),
    seed=st.integers(0, 3),
)
def test_equals_counting_pixels(labels: Any, seed: int) -> None:
    values = np.random.default_rng(seed).random(labels.shape).astype(np.float16)
    summary = summarise(labels, values)
    assert list(summary) == np.unique(labels).tolist()
    for label, (area, mean) in summary.items():
        assert area == np.count_nonzero(labels == label)
        assert mean == pytest.approx(values[labels == label].astype(np.float64).mean(), abs=1e-5)


def test_void_and_large_ids() -> None:
    labels = np.array([[255, 255, 3]], dtype=np.uint8)
    assert summarise(labels, np.ones((1, 3), np.float16)) == {3: (1, 1.0), 255: (2, 1.0)}
    ids = np.array([[16_777_215]], dtype=np.int32)
    assert list(summarise(ids, np.ones((1, 1), np.float16))) == [16_777_215]
    assert summarise(np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.float16)) == {}


def test_means_of_a_sample_where_it_has_every_label() -> None:
    labels = np.array([[1, 1, 2, 255]], dtype=np.uint8)
    confidence = np.array([[0.5, 1.0, 0.25, 0.0]], dtype=np.float16)

    def of(sampled: list[int]) -> SemanticOutput:
        some = SemanticOutput(np.array([sampled], np.uint8), np.full((1, len(sampled)), 0.125, np.float16))
        return SemanticOutput(labels, confidence, lambda: some)

    assert summarise_output(of([1, 2]), labels) == {1: (2, 0.125), 2: (1, 0.125), 255: (1, 0.0)}
    assert summarise_output(of([1, 1]), labels) == {1: (2, 0.75), 2: (1, 0.25), 255: (1, 0.0)}
    assert summarise_output(SemanticOutput(labels, confidence), labels) == summarise(labels, confidence)
