"""JPEG in, PNG of labels out: the one function that every contestant calls, with nothing of any server in it.

`same` is SegServe's own path without the server: the same decoder, engine, post-processing and encoder. The other way
is in `documented.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from load_tests.peers.plan import Plan
from shared.catalog.card import Card
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.decode import decode_for
from shared.imaging.png import label_png
from shared.labels import label_space
from shared.protocols import ImageModel, Model
from shared.types import DenseInput, SemanticOutput

Predict = Callable[[bytes], bytes]
MAX_PIXELS, MAX_SIDE = 50_000_000, 16_384


def prediction(plan: Plan) -> Predict:
    """The loaded and warmed model as one function. Not for several threads at once."""
    card = find_card(plan.model, plan.folders)
    if plan.way == "same":
        return same(card, plan)
    from load_tests.peers.documented import documented

    return documented(card, plan.threads)


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
    sight = model.seen if isinstance(model, ImageModel) else None
    palette = label_space(card.label_space).palette()

    def predict(image: bytes) -> bytes:
        photo = decode_for(image, sight, max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
        item = DenseInput(photo.pixels, labels_alone=True, whole=photo.size)
        return label_png(model.predict([item])[0].labels, palette)

    return predict
