"""A size and a seed in, a drawn portrait with hair out: its true alpha is known, so mattes can be judged and shown.

Strands are half a pixel wide and more, drawn four times as large and scaled down by area; the mask is what a decoder at
a quarter of the resolution gives: without any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shared.types import Float32Array, Region, UInt8Array

FINE = 4
"""How many times as large it is drawn."""
HAIR, SKIN, SHIRT, GRAIN = (62, 42, 30), (224, 180, 152), (70, 96, 140), 4.0
STRANDS = 900


@dataclass(frozen=True, slots=True)
class Portrait:
    """`pixels` SxSx3 uint8 RGB, `alpha` SxS, 0 to 1, of the person, `colours` SxSx3, the person's own, and `mask`, as a
    decoder would give it."""

    pixels: UInt8Array
    alpha: Float32Array
    colours: Float32Array
    mask: Region


def portrait(side: int = 320, seed: int = 0) -> Portrait:
    """Head and shoulders before a wall. The same seed, the same picture."""
    random = np.random.default_rng(seed)
    size = FINE * side
    colours = np.full((size, size, 3), HAIR, np.uint8)
    cover = np.zeros((size, size), np.uint8)
    _shoulders(colours, cover, size)
    _head(colours, cover, size, random)
    small = (side, side)
    alpha = np.asarray(cv2.resize(cover, small, interpolation=cv2.INTER_AREA) / 255, dtype=np.float32)
    own = np.asarray(cv2.resize(colours, small, interpolation=cv2.INTER_AREA), dtype=np.float32)
    shown = alpha[..., None] * own + (1 - alpha[..., None]) * _wall(side)
    noisy = shown + random.normal(0, GRAIN, shown.shape)
    pixels = np.round(np.clip(noisy, 0, 255)).astype(np.uint8)
    low = cv2.resize(cv2.GaussianBlur(alpha, (0, 0), 3), (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    mask = np.asarray(cv2.resize(low, small, interpolation=cv2.INTER_LINEAR)) > 0.5
    return Portrait(pixels, alpha, own, Region.from_mask(mask))


def _wall(side: int) -> Float32Array:
    """A light wall, darker towards one side, with a window's frame."""
    across = np.linspace(0, 1, side, dtype=np.float32)[None, :, None]
    down = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    wall = np.array([214, 206, 192], np.float32) - 46 * across - 18 * down
    pane = wall.copy()
    pane[: int(0.55 * side), int(0.68 * side) :] = (176, 204, 226)
    pane[: int(0.55 * side), int(0.66 * side) : int(0.69 * side)] = (238, 236, 230)
    return np.asarray(cv2.GaussianBlur(pane, (0, 0), 2.5), dtype=np.float32)


def _shoulders(colours: UInt8Array, cover: UInt8Array, size: int) -> None:
    neck = (int(0.43 * size), int(0.55 * size)), (int(0.57 * size), int(0.9 * size))
    cv2.rectangle(colours, *neck, SKIN, -1)
    cv2.rectangle(cover, *neck, 255, -1)
    centre, axes = (size // 2, int(1.06 * size)), (int(0.36 * size), int(0.3 * size))
    cv2.ellipse(colours, centre, axes, 0, 0, 360, SHIRT, -1, cv2.LINE_AA)
    cv2.ellipse(cover, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)


def _head(colours: UInt8Array, cover: UInt8Array, size: int, random: np.random.Generator) -> None:
    """The hair's mass, its strands, then the face over them."""
    centre = np.array([0.5 * size, 0.42 * size])
    mass = (int(0.2 * size), int(0.25 * size))
    cv2.ellipse(cover, tuple(int(each) for each in centre), mass, 0, 0, 360, 255, -1, cv2.LINE_AA)
    for _ in range(STRANDS):
        angle = random.uniform(0.75 * np.pi, 2.25 * np.pi)  # not under the chin
        start = centre + np.array([np.cos(angle) * mass[0], np.sin(angle) * mass[1]]) * random.uniform(0.8, 0.98)
        turn, length = angle + random.normal(0, 0.35), size * random.gamma(2.2, 0.011)
        bend = np.array([-np.sin(turn), np.cos(turn)]) * random.normal(0, 0.35) * length
        end = start + np.array([np.cos(turn), np.sin(turn)]) * length
        steps = np.linspace(0, 1, 12)[:, None]
        curve = (1 - steps) * start + steps * end + 4 * steps * (1 - steps) * bend
        points = np.round(curve).astype(np.int32)
        shade = int(random.integers(-16, 26))
        tone = tuple(int(np.clip(value + shade, 0, 255)) for value in HAIR)
        width = int(random.integers(2, 6))
        # The colour is laid wider than the cover, so that no strand is averaged with what it is not.
        cv2.polylines(colours, [points], False, tone, width + 4, cv2.LINE_AA)
        cv2.polylines(cover, [points], False, 255, width, cv2.LINE_AA)
    face = (int(centre[0]), int(centre[1] + 0.06 * size))
    cv2.ellipse(colours, face, (int(0.135 * size), int(0.175 * size)), 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    for side in (-1, 1):
        eye = (int(face[0] + side * 0.05 * size), int(face[1] - 0.02 * size))
        cv2.circle(colours, eye, int(0.013 * size), (52, 44, 44), -1, cv2.LINE_AA)
    mouth = (face[0], int(face[1] + 0.07 * size))
    cv2.ellipse(colours, mouth, (int(0.045 * size), int(0.02 * size)), 0, 10, 170, (168, 92, 90), 10, cv2.LINE_AA)
