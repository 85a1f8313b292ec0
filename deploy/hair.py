"""A drawn portrait in, the README's picture of hair out: what the effects make of its border, pixel for pixel, beside
the mask's own edge and the truth. No platform is asked: the effects are those that a replica runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from deploy.picture import HERE, titled, two_rows
from shared.imaging import cutout
from shared.imaging.compose import encode_picture
from shared.imaging.sample_hair import Portrait, portrait
from shared.types import UInt8Array

SIDE = 320


def scenery(side: int) -> UInt8Array:
    """A background that forgives nothing: bright, coloured, and unlike the wall."""
    down = np.linspace(0, 1, side)[:, None, None]
    sky = (1 - down) * np.array([255, 168, 92]) + down * np.array([255, 226, 150])
    return np.broadcast_to(np.round(sky), (side, side, 3)).astype(np.uint8)


def before(person: Portrait, behind: UInt8Array) -> UInt8Array:
    """The person as drawn, before another background: the truth."""
    alpha = person.alpha[..., None]
    return np.round(alpha * person.colours + (1 - alpha) * behind).astype(np.uint8)


def sheet(person: Portrait) -> UInt8Array:
    """Two rows of three."""
    behind = scenery(person.pixels.shape[0])
    plain, matted = (cutout.subject_of(person.pixels, person.mask, matted=each) for each in (False, True))
    outline = person.pixels.copy()
    outline[person.mask.full()] = outline[person.mask.full()] // 2 + np.array([20, 90, 20], dtype=np.uint8)
    named = [
        ("the picture sent", person.pixels),
        ("the decoder's mask", outline),
        ("blur", cutout.blur(person.pixels, matted)),
        ("replace, matting=false", cutout.replace(plain, behind)),
        ("replace", cutout.replace(matted, behind)),
        ("the truth", before(person, behind)),
    ]
    return two_rows([titled(picture, title) for title, picture in named])


def main() -> None:
    """`python -m deploy.hair [--out FILE]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "hair.png")
    chosen = parser.parse_args()
    chosen.out.write_bytes(encode_picture(sheet(portrait(SIDE)), "png"))
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
