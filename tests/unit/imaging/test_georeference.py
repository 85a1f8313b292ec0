"""Where the pixels of a GeoTIFF lie on the map, as the standard's own ways to say it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from shared.imaging.georeference import Georeference, georeference
from tests.data import NORTH_UP, encoded, geotiff
from tests.unit.imaging.encoded import encode, picture

SCALE, TIE, MATRIX, KEYS = 33550, 33922, 34264, 34735
Tags = Mapping[int, tuple[float, ...]]


def of(changed: Tags) -> Georeference | None:
    return georeference(geotiff(picture(), {**NORTH_UP, **changed}))


@pytest.mark.parametrize(
    ("changed", "transform"),
    [
        ({}, (0.5, 0.0, 600_000.0, 0.0, -0.25, 5_000_000.0)),
        ({TIE: (2.0, 4.0, 0.0, 601_000.0, 5_000_000.5, 0.0)}, (0.5, 0.0, 600_999.0, 0.0, -0.25, 5_000_001.5)),
        ({KEYS: (1, 1, 0, 1, 1025, 0, 1, 2)}, (0.5, 0.0, 599_999.75, 0.0, -0.25, 5_000_000.125)),
        (
            {MATRIX: (0.0, 2.0, 0.0, 10.5, 3.0, 0.0, 0.0, 20.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)},
            (0.0, 2.0, 10.5, 3.0, 0.0, 20.5),
        ),
    ],
    ids=["a corner and a scale", "another point", "centres of pixels", "a matrix"],
)
def test_pixels_lie_where_the_file_says(changed: Tags, transform: tuple[float, ...]) -> None:
    found = of(changed)
    assert found is not None
    assert found.transform == pytest.approx(transform, abs=1e-9)


@pytest.mark.parametrize(
    ("keys", "epsg"),
    [
        ((1, 1, 0, 2, 2048, 0, 1, 4326, 3072, 0, 1, 32633), 32633),
        ((1, 1, 0, 1, 2048, 0, 1, 4326), 4326),
        ((1, 1, 0, 1, 3072, 0, 1, 32767), None),
        ((1, 1, 0, 1, 3072, 34736, 1, 0), None),
        ((1, 1, 0, 9, 3072), None),
    ],
    ids=["projected", "geographic", "of its own", "elsewhere", "cut short"],
)
def test_its_reference_system_is_named_where_it_has_a_number(keys: tuple[int, ...], epsg: int | None) -> None:
    found = of({KEYS: keys})
    assert found is not None
    assert found.epsg == epsg


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture()),
        encode(picture(), "TIFF"),
        geotiff(picture(), {TIE: NORTH_UP[TIE]}),
        geotiff(picture(), {**NORTH_UP, SCALE: (0.5, 0.0, 0.0)}),
        geotiff(picture(), {**NORTH_UP, SCALE: (float("nan"), 0.5, 0.0)}),
        geotiff(picture(), {**NORTH_UP, 274: (6,)}),
    ],
    ids=["PNG", "plain TIFF", "no scale", "no height", "NaN", "not upright"],
)
def test_what_lies_nowhere_has_no_place(data: bytes) -> None:
    assert georeference(data) is None
