"""Which input shapes to compile: the sizes of many images in, a few buckets and what they waste out.

The policy. An image takes its shape from the card alone (`geometry.place` without buckets), then the smallest bucket
that holds it; the rest is padding. Buckets are chosen greedily from a sample of sizes: first the one that holds every
image, then, one at a time, the shape that saves most padded pixels. More buckets waste less and cost a compilation and
memory each, and thin the batches out on a GPU: five to seven are enough for photos (`python -m shared.models.buckets`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.catalog.card import Preprocess
from shared.catalog.catalog import find_card
from shared.errors import SegServeError
from shared.imaging.probe import probe
from shared.models.geometry import Size, place
from shared.settings import settings

MOST_PIXELS, LONGEST_SIDE = 10**9, 10**5


def choose_buckets(shapes: Mapping[Size, int], count: int) -> list[Size]:
    """At most `count` buckets for `shapes` with how often each occurs, most useful first. Raises `ValueError` for none.

    The first holds every shape, so that none is unforeseen.
    """
    if not shapes or count < 1:
        raise ValueError("at least one shape and one bucket are needed")
    chosen = [Size(max(shape.height for shape in shapes), max(shape.width for shape in shapes))]
    while len(chosen) < count:
        best = min(shapes, key=lambda shape: (padded(shapes, [*chosen, shape]), shape))
        if padded(shapes, [*chosen, best]) >= padded(shapes, chosen):
            break
        chosen.append(best)
    return chosen


def padded(shapes: Mapping[Size, int], buckets: Sequence[Size]) -> int:
    """Pixels that the network sees for all shapes together. Raises `ValueError` where no bucket holds a shape."""
    total = 0
    for shape, times in shapes.items():
        holding = [math.prod(each) for each in buckets if each.height >= shape.height and each.width >= shape.width]
        if not holding:
            raise ValueError(f"no bucket holds {shape.height}x{shape.width}")
        total += times * min(holding)
    return total


def waste(shapes: Mapping[Size, int], buckets: Sequence[Size]) -> float:
    """Padded pixels per pixel of image: .1 makes every pass a tenth dearer."""
    return padded(shapes, buckets) / sum(times * math.prod(shape) for shape, times in shapes.items()) - 1


def shapes_of(preprocess: Preprocess, sizes: Iterable[tuple[int, int]]) -> Counter[Size]:
    """The input shapes of images of these (height, width), were there no buckets, and how often each occurs."""
    own = preprocess.model_copy(update={"buckets": (), "align": "pad"})
    return Counter(place(own, height, width).canvas for height, width in sizes)


def sizes_in(folder: Path) -> list[tuple[int, int]]:
    """(height, width), upright, of every picture below the folder; by their headers."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        try:
            header = probe(path.read_bytes(), max_pixels=MOST_PIXELS, max_side=LONGEST_SIDE)
        except SegServeError:
            continue
        found.append((header.height, header.width))
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Print the buckets that suit a folder of pictures, and what one to `--count` of them waste."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.buckets", description=__doc__)
    parser.add_argument("model", help="name of a card, for how it resizes")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="pictures as they are sent")
    parser.add_argument("--count", type=int, default=7)
    chosen, console = parser.parse_args(words), Console(highlight=False)
    sizes = sizes_in(chosen.data)
    if not sizes:
        console.print(f"{chosen.data} holds no pictures")
        return 1
    shapes = shapes_of(find_card(chosen.model, settings().card_dirs).preprocess, sizes)
    buckets = choose_buckets(shapes, chosen.count)
    table = Table("buckets", "added", "waste", title=f"{len(sizes)} pictures, {len(shapes)} shapes")
    for number, bucket in enumerate(buckets, start=1):
        table.add_row(str(number), f"{bucket.height}x{bucket.width}", f"{waste(shapes, buckets[:number]):.1%}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
