"""What stands around the network, timed against the slow way in one run: `python -m load_tests.kernels`.

Both ways of each step run by turns on the same data, and their answers are compared; the medians and their ratio are
printed. On a busy machine the ratios count, not the times.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from shared.imaging import png, rle
from shared.imaging.decode import decode, decode_for
from shared.imaging.sample import street_scene
from shared.models.postprocess import panoptic as fuse
from shared.models.postprocess.label_upsampling import labels_at
from shared.models.postprocess.paste import paste
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid, rows_per_tile, tiles
from shared.serving.batcher import Batcher
from shared.telemetry.recording import RecordingSink
from shared.types import Float32Array, Region, UInt8Array

Way = Callable[[], Any]
SCENES = ((11, (90, 120), (360, 480)), (150, (128, 128), (512, 512)), (150, (128, 228), (720, 1280)))
"""Classes, coarse size, full size (heights first): `street`, and ADE20K's classes at two sizes."""
SEEN = (504, 672)
"""Height and width at which `street` sees a photo of 4:3."""
LIMITS = {"max_pixels": 10**8, "max_side": 10**5}
COLUMNS = ("step / the other way", "ms", "other ms", "times faster", "answers")


@dataclass(frozen=True, slots=True)
class Step:
    """`ours` and the `other` way to the same answer; `equal` says in words how far they agree."""

    name: str
    ours: Way
    other: Way
    equal: Callable[[Any, Any], str]


def timed(step: Step, repeats: int) -> tuple[float, float, str]:
    """Milliseconds of either way, medians, and how far the answers agree."""
    taken: tuple[list[float], list[float]] = ([], [])
    answers: list[Any] = [None, None]
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 else (1, 0):
            begun = time.perf_counter()
            answers[which] = (step.ours, step.other)[which]()
            taken[which].append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken[0]), statistics.median(taken[1]), step.equal(*answers)


def logits(classes: int, height: int, width: int) -> Float32Array:
    """Smooth, as a photo's are."""
    coarse = torch.randn(1, classes, 9, 9, generator=torch.Generator().manual_seed(classes))
    return (4 * functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]).numpy()


def slow_labels(values: Float32Array, size: tuple[int, int]) -> tuple[Any, Any]:
    """All logits at full size, then argmax and softmax."""
    full = functional.interpolate(torch.from_numpy(values)[None], size=size, mode="bilinear")[0]
    return full.argmax(dim=0).numpy(), full.softmax(dim=0).amax(dim=0).numpy()


def upsampling() -> Iterator[Step]:
    """Labels and confidence of coarse logits: in bands, and as the libraries do it."""
    for classes, low, size in SCENES:
        values = logits(classes, *low)
        yield Step(
            f"upsample and argmax, {classes} classes to {size[1]}x{size[0]} / torch",
            partial(labels_at, values, size),
            partial(slow_labels, values, size),
            lambda ours, other: f"{100 * np.mean(ours.labels == other[0]):.4f} % of labels",
        )


def large() -> Iterator[Step]:
    """Answers to photos of 12 megapixels: only at the borders of what is found, and at every pixel."""
    size, scores = (3000, 4000), tuple(np.linspace(0.99, 0.8, 20).tolist())
    found = fuse.Candidates(tuple(range(20)), scores, Grid(1.5 * torch.from_numpy(logits(20, 160, 213)) - 4))
    yield Step(
        "pixels to 20 queries, 4000x3000 / every query at every pixel",
        lambda: fuse.paint(found, size).codes,
        lambda: fuse.at_every_pixel(found, size).codes,
        lambda ours, other: f"{np.count_nonzero(ours != other)} pixels differ",
    )
    padded = Grid(torch.from_numpy(logits(21, 65, 65)), (0.75, 1.0))

    def tiled() -> Any:
        parts = tiles(padded, size, rows_per_tile(padded, size[1]))
        return np.concatenate([tile.argmax(dim=-1).numpy() for _, tile in parts])

    yield Step(
        "labels of padded logits, 21 classes to 4000x3000 / in tiles",
        lambda: label_map([padded], size, 21).labels,
        tiled,
        lambda ours, other: f"{np.count_nonzero(ours != other)} pixels differ",
    )


def masks() -> Iterator[Step]:
    """Masks in and out: only inside their boxes, only their runs."""
    disc = np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]) < 0.9
    probabilities, box, size = torch.from_numpy(disc.astype(np.float32)), (500.0, 300.0, 700.0, 520.0), (1080, 1920)

    def whole() -> Any:
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        return paste_masks_in_image(probabilities[None, None], torch.tensor([box]), size)[0, 0].numpy() > 0.5

    yield Step(
        "paste a mask, 200x220 in 1920x1080 / torchvision",
        lambda: paste(probabilities, box, size, 0.5),
        whole,
        lambda ours, other: f"{np.count_nonzero(ours.full() != other)} pixels differ",
    )
    mask = np.zeros(size, np.bool_)
    mask[300:520, 500:700] = cv2.resize(disc.astype(np.uint8), (200, 220)) > 0
    region = Region.from_mask(mask)
    yield Step(
        "RLE of that mask / pycocotools",
        lambda: rle.encode(region),
        lambda: coco.encode(np.asfortranarray(mask.view(np.uint8))),
        lambda ours, other: "equal" if ours["counts"].encode() == other["counts"] else "DIFFERENT",
    )


def files() -> Iterator[Step]:
    """PNG out, JPEG in."""
    photo, labels = street_scene(1280, 720, 1)

    def pillow() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(labels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    yield Step(
        "PNG of labels, 1280x720 / Pillow at level 1",
        lambda: png.label_png(labels),
        pillow,
        lambda ours, other: f"{len(ours)} / {len(other)} bytes, {'equal' if same(ours, other) else 'DIFFERENT'}",
    )
    yield Step(
        "PNG of labels, 1280x720 / OpenCV at level 1",
        lambda: png.label_png(labels),
        lambda: cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(),
        lambda ours, other: f"{len(ours)} / {len(other)} bytes, {'equal' if same(ours, other) else 'DIFFERENT'}",
    )
    for width, height in ((1280, 720), (4000, 3000)):
        buffer = io.BytesIO()
        Image.fromarray(cv2.resize(photo, (width, height))).save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        ways: dict[str, Way] = {"Pillow": partial(by_pillow, data)}
        if find_spec("simplejpeg") is not None:
            import simplejpeg

            ways["simplejpeg"] = partial(simplejpeg.decode_jpeg, data, "RGB")
        for name, way in ways.items():
            yield Step(
                f"JPEG, {width}x{height} / {name}",
                partial(decode, data, **LIMITS),
                way,
                lambda ours, other: "equal" if np.array_equal(ours, other) else f"off by {worst(ours, other)} at most",
            )
    yield Step(
        f"JPEG, {width}x{height}, averaged to what `street` sees of it / all pixels decoded",
        lambda: averaged(decode_for(data, lambda size: SEEN, **LIMITS).pixels),
        lambda: averaged(decode(data, **LIMITS)),
        lambda ours, other: (
            f"off by {np.abs(ours.astype(int) - other).mean():.2f} on average, {worst(ours, other)} at most"
        ),
    )


def averaged(pixels: UInt8Array) -> UInt8Array:
    """At the size that is seen."""
    return np.asarray(cv2.resize(pixels, SEEN[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def by_pillow(data: bytes) -> UInt8Array:
    """RGB pixels."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def same(one: bytes, other: bytes) -> bool:
    """Whether two PNGs show the same ids."""
    return bool(np.array_equal(png.read_label_png(one), png.read_label_png(other)))


def worst(one: UInt8Array, other: UInt8Array) -> int:
    """Largest difference in grey levels."""
    return int(np.abs(one.astype(np.int16) - other).max())


async def waiting(repeats: int, forward_s: float = 0.02) -> tuple[float, float]:
    """Milliseconds of a pass at one caller, through the batcher and straight in a thread."""
    pool, loop = ThreadPoolExecutor(1), asyncio.get_running_loop()

    def run(batch: Any) -> list[Any]:
        time.sleep(forward_s)
        return list(batch)

    batcher: Batcher[int, int] = Batcher(
        run,
        max_batch=8,
        max_cost=64,
        max_queue=8,
        cost=lambda _: 1,
        sink=RecordingSink(),
        model="idle",
        role="semantic",
    )
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        for which in (0, 1):
            begun = time.perf_counter()
            await (loop.run_in_executor(pool, run, [turn]) if which else batcher.submit(turn))
            taken[which].append((time.perf_counter() - begun) * 1000)
    await batcher.close()
    pool.shutdown()
    return statistics.median(taken[0]), statistics.median(taken[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.kernels", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of torch and OpenCV (%(default)s)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(chosen.threads)
    table = Table(*COLUMNS, title=f"{chosen.threads} threads")
    for steps in (upsampling(), large(), masks(), files()):
        for step in steps:
            ours, other, equal = timed(step, chosen.repeats)
            table.add_row(step.name, f"{ours:.2f}", f"{other:.2f}", f"{other / ours:.1f}", equal)
    ours, other = asyncio.run(waiting(5 * chosen.repeats))
    table.add_row(
        "a pass of 20 ms at one caller, batcher / thread", f"{ours:.2f}", f"{other:.2f}", f"{other / ours:.2f}", ""
    )
    Console().print(table)


if __name__ == "__main__":
    main()
