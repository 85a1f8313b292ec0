"""The exported graph `street` in f32 and photos in, the same network in int8 beside it: post-training quantisation.

NNCF with asymmetric activations; the first convolution and those that write the outputs stay in f32: they are cheap,
and the answers hang on them. The graph names the f32 weights that it was made from, so that none serves after these
have changed. What it costs is measured by `segserve agree street --engine openvino --precision int8`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import nncf
import numpy as np
import openvino as ov

from shared.catalog.catalog import find_card
from shared.imaging.sample import street_scene
from shared.models.adapters.street_exported import INT8_OUTPUTS, SOURCE_KEY, pruned
from shared.models.adapters.street_frame import Bucket, letterboxed, place
from shared.models.engines.openvino import core
from shared.models.files import digest
from shared.types import UInt8Array

DRAWN = 24
"""Drawn pictures among the photos: they have the sky, the flat colours and the hard edges that CamVid's lack."""
CONVOLUTIONS = ("Convolution", "GroupConvolution")


def calibration(data: Path, photos: int, bucket: Bucket, padding: Sequence[float]) -> list[UInt8Array]:
    """At most `photos` of `data/train/images`, evenly spread, and drawn pictures, on the canvas of `bucket`.

    Raises `FileNotFoundError` when there is no photo.
    """
    paths = sorted(path for path in (data / "train" / "images").glob("*.*"))
    if not paths:
        raise FileNotFoundError(f"no photos in {data / 'train' / 'images'}")
    height, width = bucket
    chosen = paths[:: max(1, -(-len(paths) // photos))]
    pictures = [np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8) for path in chosen]
    pictures += [street_scene(width, height, seed)[0] for seed in range(DRAWN)]
    return [letterboxed(each, place((each.shape[0], each.shape[1]), [bucket]), padding) for each in pictures]


def sensitive(model: ov.Model) -> list[str]:
    """Names of the convolution that sees the pixels, and of those from which an output follows without another."""
    ends = {node.get_friendly_name() for result in model.get_results() for node in _last_convolutions(result)}
    first = next(node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS)
    return sorted({first, *ends})


def quantised(model: ov.Model, pictures: Sequence[UInt8Array]) -> ov.Model:
    """The network in int8, its sizes open as before."""
    shape = model.input(0).partial_shape
    model.reshape({"image": ov.PartialShape([1, *pictures[0].shape])})
    found = nncf.quantize(
        model,
        nncf.Dataset(pictures, lambda picture: picture[None]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(pictures),
        ignored_scope=nncf.IgnoredScope(names=sensitive(model)),
    )
    found.reshape({"image": shape})
    return found


def _last_convolutions(node: ov.Node) -> Iterator[ov.Node]:
    for source in (value.get_node() for value in node.input_values()):
        if source.get_type_name() in CONVOLUTIONS:
            yield source
        elif source.get_type_name() != "Constant":
            yield from _last_convolutions(source)


def main(arguments: list[str] | None = None) -> None:
    """Quantise what is bundled."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.training.quantise", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/images")
    parser.add_argument("--photos", type=int, default=122, help="most of them to calibrate with (%(default)s)")
    parser.add_argument("--bundled", type=Path, default=Path("shared/models/bundled"))
    options = parser.parse_args(arguments)
    preprocess = find_card("street").preprocess
    pictures = calibration(options.data, options.photos, preprocess.buckets[0], preprocess.mean)
    model = quantised(pruned(core().read_model(str(options.bundled / "street.xml")), INT8_OUTPUTS), pictures)
    model.set_rt_info(digest(options.bundled / "street.safetensors"), list(SOURCE_KEY))
    ov.save_model(model, str(options.bundled / "street_int8.xml"), compress_to_fp16=True)


if __name__ == "__main__":
    main()
