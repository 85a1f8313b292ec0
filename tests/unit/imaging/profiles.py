"""ICC profiles by hand (ICC.1:2001-04): matrix and gamma for RGB, gamma for grey, a table for CMYK."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
"""Columns are red, green and blue of Adobe RGB (1998) in XYZ under D50."""
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
GAMMA = 2.19921875


def adobe_rgb() -> bytes:
    """What cameras write as Adobe RGB."""
    points = {name: _xyz(ADOBE[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(GAMMA))
    return _profile(b"mntr", b"RGB ", b"XYZ ", {b"wtpt": _xyz(D50), **points, **curves})


def grey(gamma: float) -> bytes:
    """Grey of this gamma."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _gamma(gamma)})


def black_cyan_ink() -> bytes:
    """A press whose cyan ink is black and whose other inks leave no trace."""
    corners = [(0, 128, 128) if node >> 3 else (255, 128, 128) for node in range(16)]
    ramp = bytes(range(256))
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + b"".join(_fixed(each) for each in np.eye(3).ravel())
    table += ramp * 4 + bytes(np.array(corners, np.uint8).ravel()) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": table})


def adobe_to_srgb(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What sRGB shows for HxWx3 levels of Adobe RGB, 0 to 255, cut off at the border of sRGB."""
    linear = (pixels / 255.0) ** GAMMA @ ADOBE.T @ np.linalg.inv(SRGB).T
    linear = np.clip(linear, 0, 1)
    return np.asarray(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    name = b"by hand\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    entries, body, start = b"", b"", 132 + 12 * (len(tags) + 1)
    for tag, content in {b"desc": description, **tags}.items():
        entries += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, kind, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(_fixed(value) for value in D50) + bytes(48)
    return head + struct.pack(">I", len(tags) + 1) + entries + body


def _xyz(values: object) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in np.asarray(values, dtype=np.float64))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(value * 256))
