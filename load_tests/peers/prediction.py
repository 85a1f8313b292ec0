"""JPEG in, PNG of labels out: the one function that every contestant calls, with nothing of any server in it.

`same` is SegServe's own path without the server: the same decoder, engine, post-processing and encoder. `documented` is
what the documentation of transformers shows for semantic segmentation, in torch eager.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from load_tests.peers.plan import Plan
from shared.catalog.card import Card, Preprocess, RandomWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.decode import decode
from shared.imaging.png import label_png
from shared.labels import label_space
from shared.protocols import Model
from shared.types import DenseInput, SemanticOutput

Predict = Callable[[bytes], bytes]
MAX_PIXELS, MAX_SIDE = 50_000_000, 16_384


def prediction(plan: Plan) -> Predict:
    """The loaded and warmed model as one function. Not for several threads at once."""
    card = find_card(plan.model, plan.folders)
    return same(card, plan) if plan.way == "same" else documented(card, plan)


def same(card: Card, plan: Plan) -> Predict:
    """SegServe's path: decode, engine, labels, PNG."""
    options = LoadOptions(
        roles=("semantic",),
        engine=plan.engine,
        precision=plan.precision,
        unchecked=plan.unchecked,
        threads=plan.threads,
        cache_dir=Path(plan.cache_dir) if plan.cache_dir else None,
        max_batch=1,
    )
    model: Model[DenseInput, SemanticOutput] = load(card, options).roles["semantic"]
    model.warm()
    palette = label_space(card.label_space).palette()

    def predict(image: bytes) -> bytes:
        pixels = decode(image, max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
        return label_png(model.predict([DenseInput(pixels)])[0].labels, palette)

    return predict


def documented(card: Card, plan: Plan) -> Predict:
    """transformers' own way: processor, network, logits resized to the image, argmax, Pillow."""
    import torch
    import transformers

    if not isinstance(card.weights, RandomWeights):
        raise ValueError(f"card {card.name}: only random weights are made here, none are fetched")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(card.weights.seed)
    configuration = transformers.SegformerConfig(**card.network["config"])
    network: Any = transformers.SegformerForSemanticSegmentation(configuration)
    network.eval()
    processor = transformers.SegformerImageProcessor(**_processing(card.preprocess))

    def predict(image: bytes) -> bytes:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        with torch.inference_mode():
            outputs = network(**processor(images=picture, return_tensors="pt"))
        size = [(picture.height, picture.width)]
        labels: Any = processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0]
        answer = io.BytesIO()
        Image.fromarray(labels.numpy().astype(np.uint8)).save(answer, "PNG")
        return answer.getvalue()

    return predict


def _processing(preprocess: Preprocess) -> dict[str, Any]:
    """The card's squashing resize and normalisation, as transformers names them."""
    side = preprocess.size
    height, width = (side, side) if isinstance(side, int) else side
    return {"size": {"height": height, "width": width}, "image_mean": preprocess.mean, "image_std": preprocess.std}
