"""An effect has the same bytes in every process, however many threads that has and wherever its memory lies."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EFFECTS = """
import hashlib, sys
import cv2
import numpy as np
from shared.imaging.cutout import blur, cutout, recolor, replace, subject_of
from shared.imaging.sample import street_scene
from shared.types import Region

cv2.setNumThreads(int(sys.argv[1]))
held = [np.empty(16 * size + 16, np.uint8) for size in range(int(sys.argv[2]))]
for size in ((120, 90), (800, 600)):
    pixels, labels = street_scene(*size)
    for label in np.unique(labels)[:6].tolist():
        subject = subject_of(pixels, Region.from_mask(labels == label))
        pictures = {
            "alpha": subject.alpha,
            "cutout": cutout(subject),
            "blur": blur(pixels, subject),
            "replace": replace(subject, (20, 200, 90)),
            "recolor": recolor(pixels, subject, (30, 60, 250)),
        }
        for name, picture in pictures.items():
            print(name, size, label, hashlib.sha256(picture.tobytes()).hexdigest())
"""


@cache
def digests(threads: int, held: int) -> str:
    """What a process of so many threads says of every effect. It takes memory from one heap, in which `held` arrays lie
    already: so they lie elsewhere, and begin at other multiples of 16."""
    environ = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TOP_PAD_": str(2**24)}
    command = [sys.executable, "-c", EFFECTS, str(threads), str(held)]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("threads", "held"), [(1, 0), (3, 102)])
def test_another_process_makes_the_same(threads: int, held: int) -> None:
    first, other = digests(2, 0).splitlines(), digests(threads, held).splitlines()
    assert len(first) == 60
    assert [line for line in other if line not in first] == []
