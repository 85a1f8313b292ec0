"""A running platform in, the README's picture out: one street and what each of the four services makes of it."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import httpx
import numpy as np
from PIL import Image

from shared.imaging.compose import encode_picture
from shared.imaging.sample import street_scene
from shared.settings import settings
from shared.types import UInt8Array

HERE = Path(__file__).parent / "pictures"
WIDTH, HEIGHT, SEED = 640, 480, 0
GAP = 6
CLICK = (300, 380)


def overlay(http: httpx.Client, task: str, street: bytes, fields: dict[str, str]) -> UInt8Array:
    """One service's answer drawn over the street. Raises `HTTPStatusError`."""
    answer = http.post(f"/v1/{task}", files={"image": street}, data={**fields, "format": "overlay"})
    answer.raise_for_status()
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def titled(picture: UInt8Array, title: str) -> UInt8Array:
    """The picture with its title on a dark bar above it."""
    bar = np.full((34, picture.shape[1], 3), (24, 24, 28), dtype=np.uint8)
    cv2.putText(bar, title, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (236, 236, 240), 1, cv2.LINE_AA)
    return np.vstack([bar, picture])


def two_rows(tiles: Sequence[UInt8Array]) -> UInt8Array:
    """Six pictures of one size, three beside each other, with white between them."""
    across = np.full((tiles[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    rows = [np.hstack([a, across, b, across, c]) for a, b, c in (tiles[:3], tiles[3:])]
    return np.vstack([rows[0], np.full((GAP, rows[0].shape[1], 3), 255, dtype=np.uint8), rows[1]])


def sheet(url: str, street: UInt8Array) -> UInt8Array:
    """Two rows of three, the last place empty: the street and its four answers, the click marked."""
    sent = encode_picture(street, "png")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        named = [("the picture sent", street)]
        named += [(task, overlay(http, task, sent, {})) for task in ("semantic", "instance", "panoptic")]
        click = {"prompts": json.dumps([{"points": [list(CLICK)], "labels": [1]}]), "multimask": "false"}
        clicked = overlay(http, "promptable", sent, click).copy()
    cv2.circle(clicked, CLICK, 7, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
    cv2.circle(clicked, CLICK, 5, (230, 30, 60), cv2.FILLED, cv2.LINE_AA)
    tiles = [titled(picture, title) for title, picture in [*named, ("promptable: one click", clicked)]]
    tiles.append(np.full_like(tiles[0], 255))
    return two_rows(tiles)


def main() -> None:
    """`python -m deploy.picture [--url URL] [--image FILE]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=settings().url)
    parser.add_argument("--image", type=Path, help="a photo of your own instead of the drawn street")
    parser.add_argument("--out", type=Path, default=HERE / "street.png")
    chosen = parser.parse_args()
    street = street_scene(WIDTH, HEIGHT, SEED)[0]
    if chosen.image:
        street = np.asarray(Image.open(chosen.image).convert("RGB").resize((WIDTH, HEIGHT)))
    picture = sheet(chosen.url, street)
    half = (picture.shape[1] // 2, picture.shape[0] // 2)
    small: UInt8Array = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    chosen.out.write_bytes(encode_picture(small, "png"))
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
