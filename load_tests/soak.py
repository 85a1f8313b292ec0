"""The platform under the load of users for a long time: whether anything grows, slows down or answers wrongly.

`make soak`. Starts a platform of its own, sends it the users of `load_tests/locustfile.py`, looks at every process from
time to time, and exits with 1 when something does (`load_tests.trends`). The first part is warm-up: caches fill.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Column, Table

from deploy.cluster import ROOT, free_port
from load_tests.budgets import lines
from load_tests.footprint import launched, shares, wait_ready
from load_tests.trends import Asked, Sample, Tolerance, growth, judge, unjudged
from load_tests.watched import watched

EVERY_S = 5.0
WARM_UP = 0.25
"""Part of the time that is not judged, two minutes at the most."""
GRACE_S = 30.0
"""The last request may have been answered so long before the end: users who ask for everything take their time."""
console = Console(highlight=False, soft_wrap=True)


def look(launcher: psutil.Process, begun: float) -> Sample:
    """All processes of the platform now."""
    descriptors = threads = 0
    for each in (launcher, *launcher.children(recursive=True)):
        with suppress(psutil.Error):
            descriptors += each.num_fds()
            threads += each.num_threads()
    memory = {name: share.memory for name, share in shares(launcher).items()}
    return Sample(time.time() - begun, memory, descriptors, threads)


def users(url: str, count: int, seconds: float, requests: Path) -> subprocess.Popen[bytes]:
    """Locust, as `make load` runs it; each request as a line of `requests`. Its own budgets are not ours."""
    command = [sys.executable, "-m", "locust", "-f", "load_tests/locustfile.py", "--headless", "--only-summary"]
    much = ["-u", str(count), "-r", "4", "-t", f"{seconds:.0f}s", "--host", url, "--requests-to", str(requests)]
    log = requests.with_suffix(".log")
    with log.open("wb") as output:
        return subprocess.Popen([*command, *much], cwd=ROOT, stdout=output, stderr=output)


def read(path: Path, begun: float) -> Iterator[Asked]:
    """What the users wrote down."""
    for line in path.read_text(encoding="utf-8").splitlines():
        at_s, kind, ms, wrong = json.loads(line)
        yield Asked(at_s - begun, kind, ms, wrong)


def soak(given: argparse.Namespace, home: Path) -> tuple[list[Sample], list[Asked]]:
    """Samples and requests in the order of time. Raises `RuntimeError` when the users do not come to their end."""
    port, requests = free_port(), home / "requests.jsonl"
    url = f"http://127.0.0.1:{port}"
    samples: list[Sample] = []
    with launched(home, port, given.arguments) as launcher:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            wait_ready(client, launcher)
        begun = time.time()
        process = users(url, given.users, given.minutes * 60, requests)
        while process.poll() is None:
            samples.append(look(launcher, begun))
            told(samples[-1])
            with suppress(subprocess.TimeoutExpired):
                process.wait(EVERY_S)
    if not requests.is_file():
        raise RuntimeError(f"the users did not come: {requests.with_suffix('.log').read_text()[-1000:]}")
    return samples, stayed(read(requests, begun), given.minutes * 60, requests.with_suffix(".log"))


def stayed(requests: Iterable[Asked], seconds: float, log: Path) -> list[Asked]:
    """The requests in the order of time. Raises `RuntimeError` where the last came long before the end."""
    found = sorted(requests, key=lambda each: each.at_s)
    last_s = found[-1].at_s if found else 0.0
    if last_s < seconds - GRACE_S:
        raise RuntimeError(f"the users were gone after {last_s:.0f} of {seconds:.0f} s: {log.read_text()[-1000:]}")
    return found


def told(sample: Sample) -> None:
    """A line about a sample."""
    console.print(
        f"{sample.at_s / 60:5.1f} min  {sample.megabytes:6.0f} MB  {sample.descriptors} descriptors  "
        f"{sample.threads} threads"
    )


def table(samples: Sequence[Sample]) -> Table:
    """Memory by process: at the end of the warm-up, at the end, and growing by how much."""
    found = Table(Column("process", no_wrap=True), "MB warm", "at the end", "a minute")
    for name, steep in sorted(growth(samples).items(), key=lambda item: -item[1]):
        first, last = (each.memory[name] / 1e6 for each in (samples[0], samples[-1]))
        found.add_row(name, f"{first:.0f}", f"{last:.0f}", f"{steep:+.2f}")
    return found


def run(given: argparse.Namespace) -> int:
    """Soak, print, judge: 1 where something is broken."""
    home = given.scratch / "home"
    home.mkdir()
    samples, requests = soak(given, home)
    warm_s = min(WARM_UP * given.minutes * 60, 120)
    samples = [each for each in samples if each.at_s >= warm_s]
    requests = [each for each in requests if each.at_s >= warm_s or each.wrong]
    if samples:
        console.print(table(samples))
    for wrong in [each for each in requests if each.wrong][:10]:
        console.print(f"{wrong.at_s:.1f} s: {wrong.kind}: {wrong.wrong}")
    verdicts = judge(samples, requests, Tolerance(megabytes_a_minute=given.growth))
    console.print(f"{len(requests)} requests in {given.minutes:g} minutes, judged after {warm_s:.0f} s")
    for line in (*lines(verdicts), *unjudged(requests)):
        console.print(line)
    return 0 if all(each.kept for each in verdicts) else 1


def parser() -> argparse.ArgumentParser:
    """The command line: `python -m load_tests.soak [--minutes M] [-- arguments of deploy.local]`."""
    found = argparse.ArgumentParser(prog="python -m load_tests.soak", description=__doc__)
    found.add_argument("--minutes", type=float, default=30.0, help="how long users are there (%(default)s)")
    found.add_argument("--users", type=int, default=8, help="how many (%(default)s)")
    usual = Tolerance().megabytes_a_minute
    found.add_argument("--growth", type=float, default=usual, help="MB a minute that memory may grow (%(default)s)")
    found.add_argument("arguments", nargs="*", help="arguments of deploy.local, after --")
    return found


if __name__ == "__main__":
    sys.exit(watched("load_tests.soak", parser(), run))
