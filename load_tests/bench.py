"""`python -m load_tests.bench` (`make bench`): SegServe, its peers and no server at all, side by side in one run.

Everything that is started ends with us, however we end: the work is done in a child, as the platform does it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from load_tests import plots, report
from load_tests.contestants import PEERS
from load_tests.machine import described
from load_tests.rounds import Results, Scenario, play
from load_tests.rows import rows
from load_tests.scenarios import FULL, QUICK, scenarios
from load_tests.verdicts import verdicts
from load_tests.watched import watched

console = Console(highlight=False)


def run(given: argparse.Namespace) -> int:
    """Play the scenarios one after another; 1 when a promise is broken and `--strict` was given."""
    begun = time.monotonic()

    def told(line: str) -> None:
        console.print(f"{minutes(time.monotonic() - begun)}  {line}", markup=False, soft_wrap=True)

    machine = described(PEERS)
    played: list[tuple[Scenario, Results]] = []
    cache: Path = given.scratch / "compiled"
    cache.mkdir()
    for name, made in scenarios(QUICK if given.quick else FULL, os.cpu_count() or 1, cache).items():
        if given.only and name not in given.only:
            continue
        scenario = made()
        played.append((scenario, play(scenario, given.scratch, told)))
        written = write(given.out, machine, played)  # after each, so that a run cut short leaves what it has
    console.print(written.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    told(f"Written to {given.out}: all of it took {minutes(time.monotonic() - begun)} minutes")
    judged = verdicts([each for _, results in played for each in results.records])
    return int(given.strict and any(each.kept is False for each in judged))


def minutes(seconds: float) -> str:
    """As `12:34`."""
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"


def write(out: Path, machine: dict[str, object], played: Sequence[tuple[Scenario, Results]]) -> Path:
    """Report, data and pictures of what was played so far."""
    records = [each for _, results in played for each in results.records]
    written = report.write(out, machine, played, verdicts(records))
    try:
        plots.draw(out, rows(records))
    except ImportError:
        console.print("No plots: install the extra `bench` for matplotlib.")
    return written


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m load_tests.bench", description=__doc__)
    found.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the report (%(default)s)")
    found.add_argument("--quick", action="store_true", help="one short round: minutes, and figures to match")
    found.add_argument(
        "--only", nargs="+", choices=["street", "segformer", "null", "click"], help="these scenarios only"
    )
    found.add_argument("--strict", action="store_true", help="exit with 1 when a promise is broken")
    return found


def main() -> int:
    """Measure, in a child that takes with it whatever it started."""
    return watched("load_tests.bench", parser(), run)


if __name__ == "__main__":
    sys.exit(main())
