"""Embeddings: bytes an image of every promptable card, and what packing them as int8 does to the masks of one.

`python -m load_tests.embeddings [--model street] [--images FOLDER] [--every N]`.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from load_tests.promptable.bare import Bare, drawn, item, place
from shared.catalog.card import Card
from shared.catalog.catalog import built_in
from shared.imaging.decode import decode
from shared.settings import settings
from shared.store.packing import pack, unpack
from shared.types import BoolArray, DecoderOutput, Embedding, Region, UInt8Array

CLICKS = 12
"""On each image."""
MEBIBYTE = 2**20


def shapes(card: Card) -> tuple[tuple[int, ...], ...]:
    """Shapes of the tensors of one embedding, told by the network without its weights."""
    import torch

    from shared.models.adapters import mobile_sam, sam_families, text_families
    from shared.models.weights import TRANSFORMERS

    library = mobile_sam.LIBRARY if card.loader.startswith(mobile_sam.__name__) else TRANSFORMERS
    with torch.device("meta"):
        network = library.build(card)
        families = text_families if card.text_prompts else sam_families
        found: tuple[tuple[int, ...], ...] = families.family_of(card, network).shapes
    return found


def sizes(bare: Bare, model: str) -> Table:
    """Bytes of an embedding as float16 and as int8, for every promptable card whose network says so."""
    table = Table("model", "tensors", "fp16 MiB", "int8 MiB", title="one embedding", title_justify="left")
    for card in built_in():
        if "promptable" not in card.tasks:
            continue
        if card.name == model:
            found = tuple(tensor.shape for tensor in bare.embed(drawn(0)[0]).tensors)
        elif card.network.get("class"):
            found = shapes(card)
        else:
            continue
        values, scales = sum(math.prod(shape) for shape in found), sum(shape[0] for shape in found)
        shown = ", ".join("x".join(map(str, shape)) for shape in found)
        table.add_row(card.name, shown, f"{2 * values / MEBIBYTE:.2f}", f"{(values + 2 * scales) / MEBIBYTE:.2f}")
    return table


def pictures(folder: Path | None, every: int) -> Iterator[UInt8Array]:
    """Drawn streets, or every so many images of a folder."""
    here = settings()
    if folder is None:
        yield from (drawn(seed)[0] for seed in range(0, 24, every))
        return
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    for path in paths[::every]:
        yield decode(path.read_bytes(), max_pixels=here.max_pixels, max_side=here.max_side)


def cost(bare: Bare, folder: Path | None, every: int) -> list[float]:
    """IoU of the best mask of each click with that on the packed embedding."""
    ious = []
    for pixels in pictures(folder, every):
        height, width = pixels.shape[:2]
        plain = bare.embed(pixels)
        packed = unpack(pack(plain))
        for turn in range(CLICKS):
            x, y = place(turn, width, height)
            one, other = _best(bare, plain, x, y), _best(bare, packed, x, y)
            if one.bits.size or other.bits.size:
                ious.append(_iou(one.full(), other.full()))
    return ious


def _best(bare: Bare, embedding: Embedding, x: float, y: float) -> Region:
    output: DecoderOutput = bare.decoder.predict([item(embedding, x, y)])[0]
    return output.masks[0].region


def _iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / (one | other).sum())


def main() -> None:
    """Print the table and the cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="street")
    parser.add_argument("--images", type=Path, default=None, help="a folder of photos; else drawn streets")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th image")
    parser.add_argument("--no-table", action="store_true", help="only the cost: needs no torch")
    chosen = parser.parse_args()
    bare, console = Bare(chosen.model, 2, 8), Console(soft_wrap=True)
    if not chosen.no_table:
        console.print(sizes(bare, chosen.model))
    ious = cost(bare, chosen.images, chosen.every)
    if not ious:
        parser.error(f"no mask to compare: no image in {chosen.images}?")
    share = sum(value < 0.95 for value in ious) / len(ious)
    console.print(
        f"{chosen.model}, int8 against fp16, {len(ious)} clicks: mean mask IoU {statistics.mean(ious):.4f}, "
        f"median {statistics.median(ious):.4f}, below .95: {share:.1%}"
    )


if __name__ == "__main__":
    main()
