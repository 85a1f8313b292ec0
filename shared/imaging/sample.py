"""A size and a seed in, a drawn street with its true labels out: pictures for tests, first tries and the README.

Perspective is one vanishing point; every shape is painted into the picture and into the label map (CamVid ids) alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.types import UInt8Array

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)
Color = tuple[int, int, int]
SHIFT = 4
"""Fractional bits of the coordinates that are given to OpenCV, so that small pictures are anti-aliased alike."""


@dataclass(slots=True)
class _Canvas:
    """A picture and its labels, drawn on in coordinates from 0 to 1 (x to the right, y down)."""

    pixels: UInt8Array
    labels: UInt8Array
    random: np.random.Generator

    def polygon(self, points: list[tuple[float, float]], color: Color, label: int | None) -> None:
        height, width = self.labels.shape
        corners = np.array([[x * width, y * height] for x, y in points])
        fixed = np.round(corners * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(self.pixels, [fixed], color, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.fillPoly(self.labels, [fixed], label, cv2.LINE_8, SHIFT)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, label: int | None) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, label)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, label: int | None) -> None:
        angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        self.polygon([(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles], color, label)

    def shade(self, color: Color, spread: int = 14) -> Color:
        """The colour, a little lighter or darker."""
        by = int(self.random.integers(-spread, spread + 1))
        red, green, blue = (int(np.clip(value + by, 0, 255)) for value in color)
        return red, green, blue


def street_scene(width: int = 480, height: int = 360, seed: int = 0) -> tuple[UInt8Array, UInt8Array]:
    """A street as HxWx3 uint8 RGB, and its labels as HxW uint8 CamVid ids. The same seed, the same scene."""
    random = np.random.default_rng(seed)
    canvas = _Canvas(np.zeros((height, width, 3), np.uint8), np.full((height, width), SKY, np.uint8), random)
    horizon = float(random.uniform(0.42, 0.5))
    vanishing = float(random.uniform(0.44, 0.56))
    _sky(canvas, horizon)
    _ground(canvas, horizon, vanishing)
    for side in (-1, 1):
        _row_of_houses(canvas, side, horizon, vanishing)
        _street_furniture(canvas, side, horizon, vanishing)
    _traffic(canvas, horizon, vanishing)
    noise = random.normal(0, 4, canvas.pixels.shape[:2])[..., None]
    pixels = np.clip(canvas.pixels.astype(np.float32) + noise, 0, 255).astype(np.uint8)
    return pixels, canvas.labels


def _sky(canvas: _Canvas, horizon: float) -> None:
    height, width = canvas.labels.shape
    rows = np.linspace(0, 1, max(int(horizon * height) + 1, 1))[:, None]
    top, low = np.array([120, 165, 215.0]), np.array([225, 232, 238.0])
    shades: NDArray[np.float64] = top * (1 - rows) + low * rows
    canvas.pixels[: len(shades)] = shades[:, None, :].repeat(width, axis=1).astype(np.uint8)[:height]
    for _ in range(4):
        x, y = canvas.random.uniform(0, 1), canvas.random.uniform(0.03, horizon * 0.6)
        canvas.ellipse(float(x), float(y), 0.09, 0.02, (238, 241, 244), SKY)


def _ground(canvas: _Canvas, horizon: float, vanishing: float) -> None:
    canvas.box(0, horizon - 0.03, 1, horizon + 0.15, canvas.shade((128, 124, 120)), BUILDING)
    for x in np.linspace(0, 1, 14):
        canvas.ellipse(float(x), horizon + 0.02, 0.05, 0.05, canvas.shade((76, 104, 66), 20), TREE)
    canvas.polygon([(-1.2, 1), (vanishing, horizon), (2.2, 1)], canvas.shade((150, 146, 140)), PAVEMENT)
    canvas.box(0, horizon + 0.12, 1, 1, canvas.shade((150, 146, 140)), PAVEMENT)
    canvas.polygon([(-0.15, 1), (vanishing, horizon), (1.15, 1)], canvas.shade((88, 88, 92)), ROAD)
    for step in range(7):
        near, far = 1 - step * 0.13, 0.93 - step * 0.13
        y0, y1 = horizon + (1 - horizon) * near**2, horizon + (1 - horizon) * max(far, 0) ** 2
        w0, w1 = 0.012 * near**2, 0.012 * max(far, 0) ** 2
        canvas.polygon(
            [
                (_toward(0.5, vanishing, y0, horizon) - w0, y0),
                (_toward(0.5, vanishing, y0, horizon) + w0, y0),
                (_toward(0.5, vanishing, y1, horizon) + w1, y1),
                (_toward(0.5, vanishing, y1, horizon) - w1, y1),
            ],
            (226, 226, 218),
            ROAD,
        )


def _toward(x: float, vanishing: float, y: float, horizon: float) -> float:
    """Where a line that leaves the picture's bottom edge at `x` is at height `y`."""
    return vanishing + (x - vanishing) * (y - horizon) / (1 - horizon)


def _row_of_houses(canvas: _Canvas, side: int, horizon: float, vanishing: float) -> None:
    edge = -0.02 if side < 0 else 1.02
    depths = np.sort(canvas.random.uniform(0.12, 1.0, 5))
    for depth in depths:
        x0 = vanishing + (edge - vanishing) * float(depth)
        x1 = vanishing + (edge - vanishing) * min(float(depth) * 1.7, 1.3)
        roof = horizon - float(canvas.random.uniform(0.22, 0.4)) * float(depth) - 0.03
        foot = horizon + 0.13 * float(depth)
        wall = canvas.shade(((168, 120, 96), (182, 168, 148), (140, 132, 128))[int(canvas.random.integers(3))], 20)
        canvas.box(min(x0, x1), roof, max(x0, x1), foot, wall, BUILDING)
        for row in range(3):
            for column in range(4):
                left = min(x0, x1) + (max(x0, x1) - min(x0, x1)) * (0.1 + 0.23 * column)
                top = roof + (foot - roof) * (0.1 + 0.27 * row)
                size = abs(x1 - x0) * 0.11
                canvas.box(left, top, left + size, top + (foot - roof) * 0.14, canvas.shade((70, 80, 92)), BUILDING)


def _street_furniture(canvas: _Canvas, side: int, horizon: float, vanishing: float) -> None:
    bottom = -0.28 if side < 0 else 1.28
    for depth in (0.22, 0.4, 0.62):
        y = horizon + (1 - horizon) * depth
        x = _toward(bottom, vanishing, y, horizon) + float(canvas.random.uniform(-0.02, 0.02))
        kind = int(canvas.random.integers(3))
        if kind == 0:
            canvas.box(x - 0.012 * depth, y - 0.3 * depth, x + 0.012 * depth, y, (86, 66, 48), TREE)
            for _ in range(7):
                dx, dy = canvas.random.uniform(-0.1, 0.1, 2) * depth
                leaf = canvas.shade((62, 104, 52), 18)
                canvas.ellipse(x + float(dx), y - 0.42 * depth + float(dy), 0.09 * depth, 0.1 * depth, leaf, TREE)
        else:
            canvas.box(x - 0.008 * depth, y - 0.62 * depth, x + 0.008 * depth, y, (58, 60, 62), POLE)
            if kind == 1:
                middle = y - 0.5 * depth
                canvas.ellipse(x, middle, 0.045 * depth, 0.06 * depth, (196, 40, 36), SIGN)
                canvas.ellipse(x, middle, 0.032 * depth, 0.043 * depth, (240, 240, 240), SIGN)
    person = float(canvas.random.uniform(0.45, 0.7))
    y = horizon + (1 - horizon) * person
    _person(canvas, _toward(bottom * 0.8 + 0.1, vanishing, y, horizon), y, person)


def _person(canvas: _Canvas, x: float, y: float, size: float) -> None:
    coat = canvas.shade(((60, 70, 110), (120, 50, 60), (50, 90, 70))[int(canvas.random.integers(3))])
    for leg in (-0.012, 0.012):
        canvas.box(
            x + leg * size - 0.01 * size, y - 0.15 * size, x + leg * size + 0.008 * size, y, (40, 42, 50), PEDESTRIAN
        )
    canvas.ellipse(x, y - 0.21 * size, 0.035 * size, 0.1 * size, coat, PEDESTRIAN)
    canvas.ellipse(x, y - 0.33 * size, 0.018 * size, 0.03 * size, (206, 164, 138), PEDESTRIAN)


def _traffic(canvas: _Canvas, horizon: float, vanishing: float) -> None:
    lanes = [(0.22, 0.3), (0.78, 0.42), (0.2, 0.75), (0.8, 0.9)]
    for lane, depth in lanes[: int(canvas.random.integers(2, 5))]:
        y = horizon + (1 - horizon) * depth * 0.8
        _car(canvas, _toward(lane, vanishing, y, horizon), y, depth)


def _car(canvas: _Canvas, x: float, y: float, size: float) -> None:
    paint = canvas.shade(((150, 30, 34), (40, 66, 120), (190, 192, 196), (44, 46, 50))[int(canvas.random.integers(4))])
    half, tall = 0.14 * size, 0.2 * size
    canvas.ellipse(x, y, half * 1.05, 0.015 * size, (50, 50, 52), None)
    canvas.box(x - half, y - tall * 0.62, x + half, y - tall * 0.1, paint, CAR)
    roof = [(x - half * 0.9, y - tall * 0.6), (x - half * 0.66, y - tall), (x + half * 0.66, y - tall)]
    canvas.polygon([*roof, (x + half * 0.9, y - tall * 0.6)], paint, CAR)
    glass = [(x - half * 0.76, y - tall * 0.63), (x - half * 0.58, y - tall * 0.93), (x + half * 0.58, y - tall * 0.93)]
    canvas.polygon([*glass, (x + half * 0.76, y - tall * 0.63)], (52, 66, 78), CAR)
    for wheel in (-0.72, 0.72):
        canvas.ellipse(x + wheel * half, y - tall * 0.1, half * 0.17, tall * 0.14, (24, 24, 26), CAR)
        canvas.ellipse(x + wheel * half * 1.1, y - tall * 0.42, half * 0.12, tall * 0.07, (226, 84, 60), CAR)
