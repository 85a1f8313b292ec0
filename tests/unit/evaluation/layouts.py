"""Small data sets written as their authors lay them out: what readers are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTO = np.full((12, 16, 3), 90, np.uint8)


def write(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    """An image file, its folders made as needed. HxW uint16 becomes a 16-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_indexed(path: Path, values: np.ndarray[Any, Any]) -> Path:
    """A palette PNG, as VOC has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values, "L").convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette([index for value in range(256) for index in (value, 255 - value, 7)])
    image.save(path)
    return path


def write_text(path: Path, text: str) -> Path:
    """A text file, its folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def grid(*rows: str, **values: int) -> np.ndarray[Any, Any]:
    """A label map of 12x16 from rows of letters, each letter a block of 4x4 pixels: `grid("aab.", ..., a=1, b=2)`;
    a dot is 0."""
    blocks = np.array([[0 if letter == "." else values[letter] for letter in row] for row in rows])
    return np.kron(blocks, np.ones((4, 4))).astype(np.int64)


def u8(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As bytes."""
    return values.astype(np.uint8)


def rgb(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ids as COCO's panoptic PNG has them."""
    return np.stack([values & 255, values >> 8 & 255, values >> 16 & 255], axis=-1).astype(np.uint8)
