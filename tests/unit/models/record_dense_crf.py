"""Writes `dense_crf.npz`: what pydensecrf2 (a C++ build, no part of this project) makes of drawn scenes.

`pip install pydensecrf2`, then `python -m tests.unit.models.record_dense_crf`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from shared.catalog.card import DenseCrf
from shared.types import Float32Array, UInt8Array
from tests.contract.contract import picture

RECORDED = Path(__file__).with_name("dense_crf.npz")
HEIGHT, WIDTH, CLASSES = 24, 32, 4
CRFS = {
    "both": DenseCrf(),
    "once": DenseCrf(iterations=1),
    "colours": DenseCrf(smoothness=0, appearance=5, appearance_xy=30, appearance_rgb=5),
    "places": DenseCrf(appearance=0, smoothness=2, smoothness_xy=1.5, iterations=4),
}


def scene() -> tuple[Float32Array, UInt8Array]:
    """Unsure probabilities [h,w,c] and a drawn street [h,w,3]."""
    pixels = picture(HEIGHT, WIDTH, seed=11)
    draw = np.random.default_rng(0)
    nearest = (pixels.astype(int).sum(2) * CLASSES) // 766
    logits = draw.normal(0, 1, (HEIGHT, WIDTH, CLASSES)) + 1.5 * (nearest[..., None] == np.arange(CLASSES))
    scores = np.exp(logits)
    probabilities: Float32Array = (scores / scores.sum(2, keepdims=True)).astype(np.float32)
    return probabilities, pixels


def main() -> None:
    """Run each CRF of `CRFS`."""
    library = import_module("pydensecrf.densecrf")
    probabilities, pixels = scene()
    found: dict[str, Any] = {}
    for name, crf in CRFS.items():
        theirs = library.DenseCRF2D(WIDTH, HEIGHT, CLASSES)
        unary = -np.log(probabilities).reshape(-1, CLASSES).T
        theirs.setUnaryEnergy(np.ascontiguousarray(unary))
        theirs.addPairwiseGaussian(sxy=crf.smoothness_xy, compat=crf.smoothness)
        theirs.addPairwiseBilateral(
            sxy=crf.appearance_xy, srgb=crf.appearance_rgb, rgbim=pixels.copy(), compat=crf.appearance
        )
        found[name] = np.array(theirs.inference(crf.iterations)).T.reshape(HEIGHT, WIDTH, CLASSES)
    np.savez_compressed(RECORDED, **found)


if __name__ == "__main__":
    main()
