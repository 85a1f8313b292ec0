"""`python -m load_tests.tuning MODEL --p99 MS`: the command line of `segserve tune`.

The work is done in a child that takes everything it started with it, however it ends; Ctrl-C leaves nothing behind.
"""

from __future__ import annotations

import argparse
import mimetypes
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.layouts import Serving
from load_tests import plots
from load_tests.pictures import drawn
from load_tests.tuning.candidates import Untunable, batches, candidates, dense_task, engines, layouts
from load_tests.tuning.choice import Point, best, finalists, nearest
from load_tests.tuning.search import ROUNDS, Refused, Trial, card_folders, measure_again, try_all, write
from load_tests.watched import watched
from shared.catalog.catalog import CardError, find_card
from shared.settings import settings

console = Console(highlight=False)


def described(serving: Serving) -> str:
    """A candidate on one line."""
    return f"{serving.engine} {serving.precision}, {serving.layout.name}, batch {serving.max_batch}"


class Shown(Progress):
    """Where the search is: a bar over candidates, and what it is doing with which."""

    def __init__(self, total: int) -> None:
        shown = (
            SpinnerColumn(),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        super().__init__(*shown, console=console, transient=True)
        self._doing = self.add_task("", total=total)

    def told(self, what: str, serving: Serving) -> None:
        """What happens now."""
        self.update(self._doing, description=f"{described(serving)}: {what}")

    def noted(self, point: Point) -> None:
        """What was measured."""
        text = f"{point.callers} callers: {point.per_second:.1f}/s, p99 {point.p99_ms:.0f} ms"
        self.told(text, point.serving)
        if not console.is_terminal:
            console.print(f"{described(point.serving)}: {text}", markup=False, soft_wrap=True)

    def done(self, serving: Serving, refused: Refused | None) -> None:
        """One candidate more."""
        if refused:
            self.console.print(f"left out: {described(serving)}: {refused}", markup=False, soft_wrap=True)
        self.advance(self._doing)


def search(tried: Sequence[Serving], scratch: Path, trial: Trial, environment: dict[str, str]) -> list[Point]:
    """All points of all candidates; those that cannot be deployed are said and left out."""
    found: list[Point] = []
    with Shown(len(tried)) as shown:
        for fused in (False, True):
            # A platform each: the gateway and a fused model cannot both have the root of the address at once.
            group = [serving for serving in tried if serving.layout.fused == fused]
            begun = partial(shown.told, "starting it")
            found += try_all(group, scratch, trial, environment, begun, shown.noted, shown.done)
    return found


def decide(points: Sequence[Point], scratch: Path, trial: Trial, environment: dict[str, str]) -> list[Point]:
    """The finalists, measured again: the best of those that keep the limit decides. Where none of them does, those that
    come next; nothing where nobody is left. Raises `Refused`."""
    left = list(points)
    while few := finalists(left, trial.limit_ms):
        with Shown(len(few)) as shown:
            again = measure_again(few, scratch, trial, environment, shown.told)
        if best(again, trial.limit_ms):
            return again
        for point in few:
            left.remove(point)
        console.print("none of the finalists kept the limit in the final: the next ones")
    return []


def table(points: Sequence[Point], limit_ms: float, chosen: Point | None, what: str = "every candidate") -> Table:
    """Every point; those that keep the limit stand out."""
    columns = ("engine, layout, batch", "callers", "requests/s", "p50 ms", "p99 ms", "")
    found = Table(*columns, title=f"{what}; p99 limit {limit_ms:g} ms")
    for point in points:
        mark, style = ("best", "bold green") if point is chosen else ("", "")
        if not point.keeps(limit_ms):
            mark, style = f"{point.errors} errors" if point.errors else "over", "dim"
        figures = (f"{point.per_second:.1f}", f"{point.p50_ms:.1f}", f"{point.p99_ms:.1f}")
        found.add_row(described(point.serving), str(point.callers), *figures, mark, style=style)
    return found


def plot(path: Path, points: Sequence[Point], model: str, limit_ms: float) -> None:
    """Throughput against p99, a line a candidate, and the limit."""
    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point.errors == 0:
            series.setdefault(described(point.serving), []).append((point.p99_ms, point.per_second))
    try:
        plots.lines(path, f"{model}: throughput against p99", ("p99 ms", "requests/s"), series, limit_ms)
        console.print(f"wrote {path}")
    except ImportError:
        console.print("No plot: install the extra `bench` for matplotlib.")


def run(given: argparse.Namespace) -> int:
    """Try, show, choose, write; 1 when nothing keeps the limit."""
    folders = settings().card_dirs
    card = find_card(given.model, folders)
    task = dense_task(card, given.task)
    choices = engines(card, given.engines)
    fused = [layout == "fused" for layout in given.layouts]
    spread = [each for each in layouts(given.cores) if each.fused in fused]
    tried = candidates(card, task, choices, given.batches or batches(), spread)
    images = [path.read_bytes() for path in given.images] or [drawn(seed, form="JPEG") for seed in range(8)]
    kind = mimetypes.guess_type(given.images[0].name)[0] if given.images else "image/jpeg"
    trial = Trial(tuple(images), kind or "application/octet-stream", given.seconds, given.p99, tuple(given.callers))
    console.print(f"{len(tried)} candidates for {card.name}, {task}, p99 within {given.p99:g} ms")
    environment = card_folders(folders)
    points = search(tried, given.scratch, trial, environment)
    final = decide(points, given.scratch, trial, environment)
    chosen = best(final, given.p99)
    console.print(table(points, given.p99, None))
    if final:
        console.print(table(final, given.p99, chosen, f"the final, {ROUNDS} rounds"))
    given.out.mkdir(parents=True, exist_ok=True)
    plot(given.out / f"{card.name}.png", points, card.name, given.p99)
    if chosen is None:
        closest = nearest(points)
        near = f"the nearest is {closest.p99_ms:.0f} ms: {described(closest.serving)}" if closest else "none answered"
        console.print(f"[red]segserve:[/red] no candidate keeps p99 within {given.p99:g} ms; {near}", soft_wrap=True)
        return 1
    path = given.out / f"{card.name}.yaml"
    comment = (
        f"{card.name} for {task} with p99 within {given.p99:g} ms: {described(chosen.serving)}\n"
        f"{chosen.per_second:.1f} requests/s at {chosen.callers} at once, p50 {chosen.p50_ms:.0f} ms, "
        f"p99 {chosen.p99_ms:.0f} ms on {given.cores} cores; found by `segserve tune`"
    )
    write(path, chosen.serving, comment)
    console.print(f"wrote {path}: {described(chosen.serving)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="segserve tune", description="The best layout of a model for a latency limit.")
    found.add_argument("model", help="name of the model's card")
    found.add_argument("--p99", type=float, required=True, metavar="MS", help="99 of 100 answers within so many ms")
    found.add_argument("--task", choices=["semantic", "instance", "panoptic"], help="else the card's first")
    found.add_argument("--engines", nargs="+", default=[], help="else all of the card's that are installed")
    found.add_argument("--batches", nargs="+", type=int, default=[], help="largest batches to try (1; on a GPU 1 8 32)")
    found.add_argument("--callers", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="to try (%(default)s)")
    found.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="to spread over (%(default)s)")
    both = ("gateway", "fused")
    found.add_argument("--layouts", nargs="+", choices=both, default=both, help="with the gateway's hop, without it")
    found.add_argument("--seconds", type=float, default=3.0, help="of each measurement (%(default)s)")
    found.add_argument("--images", nargs="+", type=Path, default=[], help="of one format; else drawn streets as JPEG")
    found.add_argument("--out", type=Path, default=Path("runs/tune"), help="folder of YAML and plot (%(default)s)")
    return found


def main() -> int:
    """Tune, in a child that takes with it whatever it started."""
    return watched("load_tests.tuning", parser(), told)


def told(given: argparse.Namespace) -> int:
    """Run; what cannot be done is said in one line."""
    try:
        return run(given)
    except (Untunable, CardError, Refused, OSError) as error:
        console.print(f"[red]segserve:[/red] {escape(str(error))}", soft_wrap=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
