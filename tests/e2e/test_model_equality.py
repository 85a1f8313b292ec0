"""What comes over HTTP is what the model gives when it is called directly on the same engine, pixel for pixel."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load, settle
from shared.imaging.sample import street_scene
from shared.types import DenseInput
from tests.data import encoded, pixels_of

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("width", "height"), [(480, 360), (360, 480), (1280, 720), (333, 777)])
def test_the_label_map_over_http_is_the_models_own(http: httpx.Client, width: int, height: int) -> None:
    card = find_card("street")
    options = settle(card, LoadOptions(roles=("semantic",), engine="openvino", precision="auto", threads=2))
    model = load(card, options).roles["semantic"]
    pixels = street_scene(width, height, 11)[0]
    answer = http.post(
        "/v1/semantic", content=encoded(pixels), headers={"Content-Type": "image/png", "Accept": "image/png"}
    )
    assert answer.status_code == 200, answer.text
    direct = model.predict([DenseInput(pixels)])[0].labels
    assert np.array_equal(pixels_of(answer.content), direct)
