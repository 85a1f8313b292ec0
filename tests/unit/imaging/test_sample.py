"""The drawn street is a street: the same for a seed, labelled truly, with the objects that tests rely on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.imaging.sample import street_scene
from shared.labels import label_space

CAMVID = label_space("camvid")


@pytest.mark.parametrize(("width", "height"), [(480, 360), (1280, 720), (200, 300), (64, 48), (7, 5), (1, 1)])
def test_any_size(width: int, height: int) -> None:
    pixels, labels = street_scene(width, height, seed=2)
    assert pixels.shape == (height, width, 3)
    assert labels.shape == (height, width)
    assert pixels.dtype == labels.dtype == np.uint8
    assert labels.max() < len(CAMVID.labels)


def test_the_same_seed_gives_the_same_scene() -> None:
    for one, other in zip(street_scene(120, 90, 5), street_scene(120, 90, 5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (street_scene(120, 90, 5)[0] != street_scene(120, 90, 6)[0]).any()


@pytest.mark.parametrize("seed", range(8))
def test_every_scene_has_what_a_street_has(seed: int) -> None:
    _, labels = street_scene(480, 360, seed)
    shares = np.bincount(labels.ravel(), minlength=11) / labels.size
    for name, least in {"sky": 0.1, "building": 0.03, "road": 0.1, "pavement": 0.02, "car": 0.005}.items():
        assert shares[CAMVID.id_of(name)] > least, name
    assert shares[CAMVID.id_of("pedestrian")] > 0
    cars, _ = cv2.connectedComponents((labels == CAMVID.id_of("car")).astype(np.uint8))
    assert cars - 1 >= 1


def test_classes_look_different() -> None:
    pixels, labels = street_scene(480, 360, 0)
    sky, road = (pixels[labels == CAMVID.id_of(name)].mean(axis=0) for name in ("sky", "road"))
    assert np.abs(sky - road).max() > 60
