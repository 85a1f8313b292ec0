"""`make promptable-bench`: a platform of its own in each layout; whether clicks, everything mode and cache keep their
promises: the exit status says so.

Cores are shared with whatever else runs: latency and throughput are compared with the bare decoder in turns of one run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx
import psutil
from rich.console import Console

from deploy.cluster import ROOT
from load_tests.promptable.bare import Bare
from load_tests.promptable.clicks import latency, throughput
from load_tests.promptable.everything import SIZES, agreement
from load_tests.promptable.outage import outage
from load_tests.promptable.tenants import IMAGES, isolation
from tests.platform import Platform, running

KEYS = ["bench-one", "bench-two"]
ADDED_MS = {"gateway": 12.0, "fused": 6.0}
PARTS = ("gateway", "tenants", "everything", "outage", "fused")
"""Of a run: clicks through the gateway, isolation, everything mode, a frozen store, clicks in the fused layout."""
LEAST_RATIO = 0.9
LEAST_AGREEMENT = 0.99
FUSED = ROOT / "deploy" / "serve.fused.yaml"
DECODER = re.compile(r"ray::ServeReplica:\S*:Decoder\b")
console = Console(highlight=False, soft_wrap=True)


class Checks:
    """Says each figure beside what it must be, and remembers what missed it."""

    def __init__(self) -> None:
        self.missed = 0

    def say(self, text: str, passed: bool) -> None:
        """One line."""
        self.missed += not passed
        console.print(f"{'[green]met   [/green]' if passed else '[red]MISSED[/red]'}  {text}")


def resident_mib(platform: Platform) -> float:
    """Of the largest of the decoder's replicas just now."""
    found = 0.0
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if DECODER.match(" ".join(process.cmdline())):
                found = max(found, process.memory_info().rss / 2**20)
    return found


@contextmanager
def peak_memory(platform: Platform) -> Iterator[list[float]]:
    """The largest of `resident_mib` meanwhile, as the list's only entry."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], resident_mib(platform))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def clicks(checks: Checks, url: str, layout: str, bare: Bare, quick: bool) -> None:
    """Latency and throughput of one layout."""
    headers = {"X-API-Key": KEYS[0]}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        alone = latency(client, bare, 60 if quick else 200)
        many = throughput(client, bare, 3 if quick else 8, 2.0 if quick else 3.0)
    limit = ADDED_MS[layout]
    stages = ", ".join(f"{name} {value:.1f}" for name, value in alone.stages.items())
    told = f"HTTP {alone.http_ms:.1f} ms, +{alone.added_ms:.1f} of {limit:.0f} ({stages}); {_bare(alone.bare, ' ms')}"
    checks.say(f"{layout}: one caller: {told}", alone.added_ms <= limit)
    batches = ", ".join(f"{many.batches[name]} {name}" for name in many.batches)
    told = (
        f"HTTP {many.http:.1f}/s, ratio {many.ratio:.2f} of {LEAST_RATIO}; {_bare(many.bare, '/s')} (batch {batches})"
    )
    checks.say(f"{layout}: eight callers: {told}", many.ratio >= LEAST_RATIO)
    beside = f"{many.beside:.1f}/s; with the embeddings' half kept {many.kept:.1f}/s, beside each other"
    console.print(f"        {layout}: no bar: passes beside each other {beside} {many.kept_beside:.1f}/s")


def _bare(figures: Mapping[str, float], unit: str) -> str:
    """The bare decoders' figures; the best of them is the bar."""
    return "the best of bare " + " and ".join(f"{value:.1f}{unit} {name}" for name, value in figures.items())


def tenants(checks: Checks, platform: Platform, bare: Bare, quick: bool) -> None:
    """No mask of another image or tenant."""
    found = isolation(platform.url, KEYS, bare, 200 if quick else 1000)
    told = f"{found.wrong} wrong, {found.leaked} leaked of {found.requests}; encoder ran {found.encoder_runs} times"
    due = IMAGES * len(KEYS)
    passed = (found.wrong, found.leaked, found.encoder_runs) == (0, 0, due)
    checks.say(f"two tenants, ten images: {told}, {due} due", passed)


def everything(checks: Checks, platform: Platform, bare: Bare, quick: bool) -> None:
    """The reference's masks, and the memory that they take."""
    with httpx.Client(base_url=platform.url, headers={"X-API-Key": KEYS[0]}, timeout=600, trust_env=False) as client:
        for size in SIZES[:2] if quick else SIZES:
            before = resident_mib(platform)
            with peak_memory(platform) as peak:
                same = agreement(client, bare, size, 8 if quick else 16)
            told = (
                f"{same.served} masks (reference {same.reference}), best IoU {same.forward:.4f} / {same.backward:.4f}"
            )
            passed = same.reference > 0 and min(same.forward, same.backward) > LEAST_AGREEMENT
            memory = f"peak {peak[0]:.0f} MiB, +{peak[0] - before:.0f}"
            checks.say(f"everything {size[0]}x{size[1]}: {told}, {same.seconds:.1f} s, {memory}", passed)


def frozen(checks: Checks, platform: Platform, quick: bool) -> None:
    """The store stops in the middle."""
    harmed = outage(platform.url, KEYS[0], platform.process.pid, 9.0 if quick else 20.0)
    told = f"with image {dict(harmed.with_image)}, by id {dict(harmed.by_id)}, slowest {harmed.slowest_s:.2f} s"
    checks.say(f"store frozen: {told}", harmed.passed)


def main() -> int:
    """1 where something missed what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of everything, and no large image")
    parser.add_argument("--transport", choices=("auto", "haproxy", "serve"), default="auto", help="SEGSERVE_TRANSPORT")
    parser.add_argument("--threads", type=int, default=2, help="of the bare decoder: those of the Serve YAML")
    parser.add_argument("--precision", default="auto", help="of the bare model: that of the Serve YAML")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args()
    checks, begun = Checks(), time.monotonic()
    bare = Bare("street", chosen.threads, 8, chosen.precision)
    digests = {hashlib.sha256(key.encode()).hexdigest(): f"tenant-{key}" for key in KEYS}
    settings = {"SEGSERVE_API_KEYS": json.dumps(digests), "SEGSERVE_TRANSPORT": chosen.transport}
    if set(chosen.only) - {"fused"}:
        with running(**settings) as platform:
            if "gateway" in chosen.only:
                clicks(checks, platform.url, "gateway", bare, chosen.quick)
            if "tenants" in chosen.only:
                tenants(checks, platform, bare, chosen.quick)
            if "everything" in chosen.only:
                everything(checks, platform, bare, chosen.quick)
            if "outage" in chosen.only:
                frozen(checks, platform, chosen.quick)
    if "fused" in chosen.only:
        with running("--config", str(FUSED), **settings) as platform:
            clicks(checks, platform.url, "fused", bare, chosen.quick)
    console.print(f"{checks.missed} missed, {time.monotonic() - begun:.0f} s")
    return int(checks.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
