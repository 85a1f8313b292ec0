"""Figures of the bundled weights on the validation split, in float32 and at the sizes at which they are served, as JSON
for the model's card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from shared.catalog.catalog import find_card
from shared.models.adapters.street_frame import Bucket, dense_buckets
from shared.models.networks.street_weights import Street, load_street, parameter_count
from shared.models.training.data import VOID, Split, read_split
from shared.models.training.robust import robustness
from shared.models.training.served import AsServed
from shared.models.training.tricks import learning_curve, tricks
from shared.models.training.validate import predict_logits, validate_semantic
from shared.models.training.validate_prompts import MIN_AREA, validate_prompts

SMALL_AREA = 100
"""Pixels from which components count in the figures that include small objects."""


@torch.no_grad()
def calibration_error(net: nn.Module, split: Split, bins: int = 15, stride: int = 3) -> float:
    """Expected calibration error of the confidence on every `stride`-th pixel, 0 to 1 (Guo et al. 2017)."""
    totals = torch.zeros(3, bins, dtype=torch.double)
    for image in range(len(split.photos)):
        logits = predict_logits(net, split.photos[image : image + 1], half=False)
        confidence, predicted = F.softmax(logits, 1)[..., ::stride, ::stride].max(1)
        labels = split.labels[image : image + 1, ::stride, ::stride]
        valid = labels != VOID
        confidence, right = confidence[valid].cpu(), (predicted == labels)[valid].cpu()
        index = (confidence * bins).long().clamp_max(bins - 1)
        for row, values in enumerate((torch.ones_like(confidence), confidence, right)):
            totals[row] += torch.bincount(index, values.double(), bins)
    count, sure, hit = totals
    return float((sure - hit).abs().sum() / count.sum())


def report(street: Street, split: Split, buckets: Sequence[Bucket]) -> dict[str, Any]:
    """Semantic scores in `buckets`, also under other conditions, calibration, and IoU after 1, 3 and 5 clicks on large
    and on all components.
    """
    clicks, dense = (1, 3, 5), AsServed(street.dense, buckets)
    return {
        "split": "val",
        "photos": len(split.photos),
        "parameters": parameter_count(street),
        "semantic": asdict(validate_semantic(dense, split, half=False)),
        "calibration_error": calibration_error(dense, split),
        "robustness": robustness(dense, split),
        f"clicks_{MIN_AREA}": validate_prompts(street.dense, street.decoder, split, 1, clicks, MIN_AREA, half=False),
        f"clicks_{SMALL_AREA}": validate_prompts(
            street.dense, street.decoder, split, 4, clicks, SMALL_AREA, half=False
        ),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.training.report", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with val/images and val/labels")
    parser.add_argument("--bundled", type=Path, default=Path("shared/models/bundled"))
    parser.add_argument("--checkpoint", type=Path, help="the training's --out: adds its curve and what each step gave")
    options = parser.parse_args(arguments)
    val = read_split(options.data, "val")
    buckets = dense_buckets(find_card("street"))
    figures = report(load_street(options.bundled / "street.safetensors"), val, buckets)
    if options.checkpoint:
        figures["curve"] = learning_curve(options.checkpoint)
        figures["tricks"] = tricks(options.checkpoint, val, buckets)
    (options.bundled / "street_report.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
