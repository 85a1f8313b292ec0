"""JPEG in, PNG of labels out, as documentation shows it: Pillow, torch eager, logits resized to the image, argmax.

SegFormer as transformers documents semantic segmentation; `street` as torch's tutorials serve a module of one's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from shared.catalog.card import Card, FileWeights, Preprocess, RandomWeights
from shared.models.files import locate

Labelled = Callable[[Image.Image], Tensor]
"""An RGB picture to its labels [h,w], of any integer type."""


def documented(card: Card, threads: int) -> Callable[[bytes], bytes]:
    """The card's network as one function. Raises `ValueError` for a card that nobody documents."""
    torch.set_num_threads(threads)
    labelled = _street(card) if card.name == "street" else _segformer(card)

    def predict(image: bytes) -> bytes:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        with torch.inference_mode():
            labels = labelled(picture)
        answer = io.BytesIO()
        Image.fromarray(labels.numpy().astype(np.uint8)).save(answer, "PNG")
        return answer.getvalue()

    return predict


def _segformer(card: Card) -> Labelled:
    """transformers' processor and network."""
    import transformers

    if not isinstance(card.weights, RandomWeights):
        raise ValueError(f"card {card.name}: only random weights are made here, none are fetched")
    torch.manual_seed(card.weights.seed)
    configuration = transformers.SegformerConfig(**card.network["config"])
    network: Any = transformers.SegformerForSemanticSegmentation(configuration)
    network.eval()
    processor = transformers.SegformerImageProcessor(**_processing(card.preprocess))

    def labelled(picture: Image.Image) -> Tensor:
        outputs = network(**processor(images=picture, return_tensors="pt"))
        size = [(picture.height, picture.width)]
        labels: Any = processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0]
        return torch.as_tensor(labels)

    return labelled


def _street(card: Card) -> Labelled:
    """The bundled weights in the module that they were trained in."""
    from shared.models.adapters.street_frame import dense_buckets
    from shared.models.networks.street import normalise
    from shared.models.networks.street_weights import load_street

    if not isinstance(card.weights, FileWeights):
        raise ValueError(f"card {card.name}: the bundled weights are a file")
    network = load_street(locate(card.name, card.weights.path, None)).dense
    height, width = dense_buckets(card)[0]

    def labelled(picture: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(picture.resize((width, height))))
        logits = network(normalise(pixels.permute(2, 0, 1)[None].float())).logits
        full = functional.interpolate(logits, size=(picture.height, picture.width), mode="bilinear")
        return full.argmax(dim=1)[0]

    return labelled


def _processing(preprocess: Preprocess) -> dict[str, Any]:
    """The card's squashing resize and normalisation, as transformers names them."""
    side = preprocess.size
    height, width = (side, side) if isinstance(side, int) else side
    return {"size": {"height": height, "width": width}, "image_mean": preprocess.mean, "image_std": preprocess.std}
