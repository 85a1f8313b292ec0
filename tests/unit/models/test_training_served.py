"""Figures of the bundled weights are of photos at the size at which they are served."""

from __future__ import annotations

import torch

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions
from shared.imaging.sample import street_scene
from shared.models.adapters.street import load
from shared.models.adapters.street_frame import dense_buckets
from shared.models.files import BUNDLED
from shared.models.networks.street_weights import load_street
from shared.models.training.served import AsServed
from shared.models.training.validate import predict_logits
from shared.types import DenseInput


def test_photos_are_seen_in_the_buckets_in_which_they_are_served() -> None:
    pixels = street_scene(160, 120, 5)[0]
    card = find_card("street")
    preprocess = card.preprocess.model_copy(update={"dense_buckets": ((240, 320), (320, 240))})
    card = card.model_copy(update={"preprocess": preprocess})
    served = load(card, LoadOptions(roles=("semantic",), engine="openvino", precision="f32")).roles["semantic"]
    labels = torch.from_numpy(served.predict([DenseInput(pixels)])[0].labels)
    net = load_street(BUNDLED / "street.safetensors").dense
    photos = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]

    def agreement(shown: torch.nn.Module) -> float:
        return float((predict_logits(shown, photos, half=False)[0].argmax(0) == labels).float().mean())

    as_served = agreement(AsServed(net, dense_buckets(card)))
    assert as_served > 0.99
    assert agreement(net) < as_served


def test_large_photos_shrink_and_portraits_stand_upright() -> None:
    seen: list[torch.Size] = []
    shown = AsServed(torch.nn.Identity(), [(504, 672), (672, 504)])
    shown.net.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-2:]))
    for height, width in ((1008, 1344), (640, 480), (504, 672)):
        shown(torch.zeros(1, 3, height, width))
    assert seen == [(504, 672), (672, 504), (504, 672)]
