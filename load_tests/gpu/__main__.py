"""`python -m load_tests.gpu` (`make bench-gpu`): images a second of each network by itself, and behind the platform.

What is measured is printed as it comes and written after each step, so that a run cut short leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from deploy.cluster import free_port
from load_tests.contestants import PEERS
from load_tests.gpu.models import HEIGHT, SUBJECTS, WIDTH, Subject
from load_tests.gpu.report import Report, gpu, memory_in_use
from load_tests.gpu.served import Callers, Layout, request_form, stamped, yaml_of
from load_tests.machine import described
from load_tests.pictures import drawn
from load_tests.processes import Command, NotReady, Server
from load_tests.watched import watched

PICTURES = 8
DISTINCT = 192
"""Images that differ in their bytes: more than any number of callers."""
READY_WITHIN_S = 240.0
Tell = Callable[[str], None]
console = Console(highlight=False, width=200)


def run(given: argparse.Namespace) -> int:
    """Measure every network by itself, then behind one platform; 1 when something failed."""
    begun = time.monotonic()

    def told(line: str) -> None:
        console.print(f"{time.monotonic() - begun:6.1f}  {line}", markup=False, soft_wrap=True)

    subjects = [each for each in SUBJECTS if not given.only or each.card in given.only]
    images = [drawn(seed, WIDTH, HEIGHT, "JPEG") for seed in range(PICTURES)]
    chosen = {
        **{name: getattr(given, name) for name in ("device", "precision", "max_batch", "tiny")},
        "seconds": given.seconds,
        "cards": str(given.scratch / "cards"),
        "images": [str(path) for path in written(given.scratch, images)],
    }
    kept = {key: value for key, value in chosen.items() if key not in ("cards", "images")}
    report = Report(
        given.out, {**described(PEERS), **gpu(given.device), "options": {**kept, "layout": asdict(layout(given))}}
    )
    told(f"{report.facts['gpu']}, torch {report.facts['versions'].get('torch')}, {given.precision}")
    alone(subjects, chosen, given.scratch, report, told)
    for first in range(0, 0 if given.bare else len(subjects), given.together):
        with ExitStack() as stack:
            served(stack, subjects[first : first + given.together], chosen, given, images, report, told)
    console.print(report.table(), markup=False, soft_wrap=True)
    told(f"written to {report.write()}")
    return int(report.failed)


def alone(subjects: Sequence[Subject], chosen: dict[str, Any], scratch: Path, report: Report, told: Tell) -> None:
    """Each network in a process without a server; one process for all, another where it died."""
    left = [each.card for each in subjects]
    while left:
        said = json.dumps({**chosen, "models": left})
        server = Server(
            Command((sys.executable, "-m", "load_tests.gpu.bare", said), {}, scratch / "bare.log", talks=True)
        )
        try:
            while left:
                found = json.loads(server.heard())
                if not found.get("begun"):
                    left.remove(found["model"])
                    report.bare(found)
                    told(report.line_of(found))
        except NotReady:
            report.bare({"model": left[0], "failed": f"the process died: {server.end_of_log(700)}"})
            told(f"{left.pop(0)}: the process died: {server.end_of_log(700)}")
        finally:
            server.stop()


def served(
    stack: ExitStack,
    subjects: Sequence[Subject],
    chosen: dict[str, Any],
    given: argparse.Namespace,
    images: Sequence[bytes],
    report: Report,
    told: Tell,
) -> None:
    """The same networks behind the platform, at each number of callers."""
    port, home = free_port(), given.scratch / "home"
    home.mkdir(exist_ok=True)
    config = home / "serve.yaml"
    config.write_text(yaml.safe_dump(yaml_of(subjects, chosen, layout(given)), sort_keys=False), encoding="utf-8")
    arguments = (sys.executable, "-m", "deploy.local", "--port", str(port), "--config", str(config))
    environment = {"SEGSERVE_HOME": str(home), "SEGSERVE_CARD_DIRS": json.dumps([chosen["cards"]])}
    server = Server(Command(arguments, environment, home / "log"))
    stack.callback(server.stop)
    callers = Callers(given.clients, given.scratch)
    stack.callback(callers.stop)
    different = stamped(images, DISTINCT)
    for number, subject in enumerate(subjects):
        path, form = request_form(subject)
        target = form(f"http://127.0.0.1:{port}", different)
        within_s = time.perf_counter() - server.begun + 30 if number else READY_WITHIN_S
        try:
            after_s, _ = server.wait_for_answer(target, within_s)
        except NotReady as error:
            report.failure(subject.card, str(error))
            told(f"{subject.card} is not served: {str(error).strip()[-900:]}")
            if not number:
                told(logs(home))
            continue
        if not number:
            told(f"the platform is ready after {after_s:.1f} s; GPU memory in use: {memory_in_use(given.device)}")
        bodies, headers = callers.prepare(subject.card, target)
        load = partial(callers.load, f"http://127.0.0.1:{port}{path}", bodies, headers)
        load(max(given.callers), given.seconds / 2)  # every replica has seen a batch
        for count in given.callers:
            before = server.spent()
            window = load(count, given.seconds * given.served_times)
            told(report.served(subject.card, count, window, before, server.spent()))


def logs(home: Path, characters: int = 2500) -> str:
    """The ends of what the replicas wrote, those with errors in them."""
    found = []
    for path in sorted(home.glob("ray/session_2*/logs/serve/*.log")) + sorted(home.glob("ray/session_2*/logs/*.err")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "Error" in text or "Traceback" in text:
            found.append(f"{path.name}: {text[-characters:]}")
    return "\n".join(found)[: 3 * characters]


def layout(given: argparse.Namespace) -> Layout:
    """What the command line says of it."""
    return Layout(given.gateways, given.replicas, given.codec_threads, given.threads, given.in_flight)


def written(folder: Path, images: Sequence[bytes]) -> list[Path]:
    """The pictures as files."""
    paths = [folder / f"picture-{index}.jpg" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return paths


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cores = os.cpu_count() or 1
    found = argparse.ArgumentParser(prog="python -m load_tests.gpu", description=__doc__)
    add = found.add_argument
    add("--out", type=Path, default=Path("runs/gpu"), help="folder of the report (%(default)s)")
    add("--quick", action="store_true", help="half a second each")
    add("--only", nargs="+", choices=[each.card for each in SUBJECTS], help="these networks only")
    add("--bare", action="store_true", help="without the platform")
    add("--device", default="cuda", help="cuda or cpu (%(default)s)")
    add("--precision", default="bf16", choices=["f32", "bf16", "f16"])
    add("--tiny", action="store_true", help="the small networks of the cards' tests: figures mean nothing")
    add("--together", type=int, default=3, help="networks behind one platform at a time (%(default)s)")
    add("--max-batch", type=int, default=64, help="largest batch of any network (%(default)s)")
    add("--seconds", type=float, default=2.0, help="of each figure of a network by itself (%(default)s)")
    add("--served-times", type=float, default=4.0, help="so many times longer for what is served (%(default)s)")
    add("--callers", type=int, nargs="+", default=[8, 32, 64])
    add("--clients", type=int, default=max(1, cores // 6), help="processes of callers (%(default)s)")
    add("--gateways", type=int, default=max(1, cores // 4), help="gateway replicas (%(default)s)")
    add("--replicas", type=int, default=0, help="of each network; 0: as suits it")
    add("--codec-threads", type=int, default=4, help="of each replica (%(default)s)")
    add("--threads", type=int, default=2, help="of a replica for what of a pass is not on the GPU (%(default)s)")
    add("--in-flight", type=int, default=2, help="batches under way in a replica (%(default)s)")
    return found


def main() -> int:
    """Measure, in a child that takes with it whatever it started."""
    return watched("load_tests.gpu", quick(parser()), run)


def quick(found: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """With the defaults of a quick run where one is asked for."""
    if "--quick" in sys.argv:
        found.set_defaults(seconds=0.5, served_times=5.0)
    return found


if __name__ == "__main__":
    sys.exit(main())
