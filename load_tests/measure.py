"""A running platform in, its figures out: latency at one caller, throughput at eight, and a click on a cached image.

`make measure`. Pictures are drawn, 480x360 PNG. The callers are those of the benchmark (`load_tests.client`) and take
their CPU, a third of a millisecond a request, from the same cores. Machines are noisy: differences under 15 % mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from load_tests.client import Target, Window, ask_once, load, posts
from load_tests.contestants import form_field
from load_tests.pictures import drawn
from shared.settings import settings

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
WARM_UP_S = 0.5
FIRST_PROMPTS = 15
"""New images that are asked for a mask."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds at one caller, and requests a second at several."""

    name: str
    p50_ms: float
    p95_ms: float
    per_second: float


def clicks(url: str, ids: Sequence[str]) -> Target:
    """Clicks all over the stored images."""
    bodies = []
    for turn in range(64):
        prompt = {"points": [[20 + 37 * turn % 440, 40 + 53 * turn % 300]], "labels": [1]}
        bodies.append(json.dumps({"image_id": ids[turn % len(ids)], "prompts": [prompt]}).encode())
    return posts(f"{url}/v1/promptable", bodies, JSON)


def p50_p95(milliseconds: Sequence[float]) -> tuple[float, float]:
    """Between the two nearest values, never beyond the slowest, however few there are."""
    median, late = np.percentile(milliseconds, (50, 95))
    return float(median), float(late)


def good(name: str, window: Window) -> Window:
    """The same. Raises `RuntimeError` when anything but 200 came back."""
    if window.errors:
        raise RuntimeError(f"{name}: " + ", ".join(f"{count} x {what}" for what, count in window.errors.items()))
    return window


def figures(name: str, target: Target, seconds: float, callers: int) -> Figures:
    """Measure one kind of request: one by one, then from several callers at once."""
    good(name, load(target, 1, WARM_UP_S))
    alone = good(name, load(target, 1, seconds))
    good(name, load(target, callers, WARM_UP_S))
    together = good(name, load(target, callers, seconds))
    return Figures(name, *p50_p95(alone.latencies_ms), together.per_second)


def first_prompts(url: str) -> tuple[list[float], list[str]]:
    """Milliseconds of one click each on images that are new to the platform, and the images' ids."""
    prompt = form_field("/v1/promptable", {"prompts": json.dumps([{"points": [[240, 250]], "labels": [1]}])})
    took, ids = [], []
    for seed in range(500, 500 + FIRST_PROMPTS):
        target = prompt(url, [drawn(seed)])
        begun = time.perf_counter()
        answer = ask_once(target)
        took.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"first prompt: {answer.status} {answer.body.decode(errors='replace')[:200]}")
        ids.append(json.loads(answer.body)["image_id"])
    return took, ids


def measure(url: str, seconds: float, callers: int) -> tuple[list[Figures], list[float]]:
    """All figures, and the milliseconds of first prompts. Raises `OSError` or `RuntimeError` when a request fails."""
    photos = [drawn(seed) for seed in range(8)]
    found = [
        figures(task, posts(f"{url}/v1/{task}", photos, PNG), seconds, callers)
        for task in track(("semantic", "instance", "panoptic"), "dense tasks", transient=True)
    ]
    first, ids = first_prompts(url)
    found.append(figures("click, cached", clicks(url, ids), seconds, callers))
    return found, first


def main() -> None:
    """`python -m load_tests.measure [--url URL]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=settings().url)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each figure (%(default)s)")
    parser.add_argument("--callers", type=int, default=8, help="how many come together (%(default)s)")
    chosen = parser.parse_args()
    try:
        found, first = measure(chosen.url.rstrip("/"), chosen.seconds, chosen.callers)
    except (OSError, RuntimeError) as error:
        sys.exit(f"{chosen.url}: {error}")
    table = Table("request", "p50 ms", "p95 ms", f"requests/s at {chosen.callers} callers")
    for each in found:
        table.add_row(each.name, f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}", f"{each.per_second:.1f}")
    table.add_row("first prompt on an image", *(f"{each:.1f}" for each in p50_p95(first)), "")
    Console().print(table)


if __name__ == "__main__":
    main()
