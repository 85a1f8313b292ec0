"""Whether an engine gives a model's answers as torch in f32 gives them, on real images: `segserve agree`.

A card, an engine and a folder in; for each task the pixels that got the same label, the points of mIoU lost where the
folder has truth, both engines' times in turns, a verdict, and the line that goes onto the card.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from shared.catalog.card import ROLES_OF_TASK, Card
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.errors import SegServeError
from shared.evaluation.confusion import ConfusionFigures, confusion, mean
from shared.evaluation.dataset import Dataset, EvaluationError, Sample
from shared.evaluation.readers import open_dataset
from shared.imaging.decode import decode
from shared.labels import label_space
from shared.labels.remapping import apply_table, remap
from shared.models.answer_maps import MAPS, Answer
from shared.models.device import ENGINES, EngineError
from shared.models.engines.engine import PRECISIONS
from shared.models.files import WeightsError
from shared.settings import settings
from shared.types import Task, UInt8Array

LOWEST_AGREEMENT = {"f32": 99.9, "bf16": 98.0, "f16": 98.0, "int8": 95.0}
"""Per cent of the pixels. Engines in f32 may differ in ties only; what less precision may do is said by the mIoU."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
COLUMNS = ("task", "agreement %", "worst image", "mIoU", "cost", "ms", "times faster", "verdict")
HIGHEST_COST = 0.5
"""Points of mIoU that an engine may lose."""

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Confusion matrices of the engine and of torch."""
Judge = Callable[[Sample, Counts | None, NDArray[Any], NDArray[Any]], Counts]
"""Adds one image's confusion with its truth, for both answers."""


@dataclass(slots=True)
class Agreement:
    """What was compared of one task so far."""

    task: Task
    equal: int = 0
    pixels: int = 0
    worst: float = 100.0
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    counts: Counts | None = None

    def add(self, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
        """One image's label map from the engine, and from torch."""
        equal = int(np.count_nonzero(ours == theirs))
        self.equal += equal
        self.pixels += ours.size
        self.worst = min(self.worst, 100 * equal / max(1, ours.size))

    @property
    def agreement(self) -> float:
        """Per cent of the pixels of all images."""
        return 100 * self.equal / max(1, self.pixels)

    @property
    def miou(self) -> tuple[float, float] | None:
        """Per cent, of the engine and of torch; None without truth."""
        if self.counts is None:
            return None
        ours, theirs = (100 * mean(ConfusionFigures.of(counts).iou) for counts in self.counts)
        return ours, theirs

    def passes(self, precision: str) -> bool:
        """Whether the engine may be taken."""
        cheap = self.miou is None or self.miou[1] - self.miou[0] <= HIGHEST_COST
        return self.agreement >= LOWEST_AGREEMENT[precision] and cheap


def compare(ours: Answer, theirs: Answer, images: Sequence[Sample], found: Agreement, truth: Judge | None) -> Agreement:
    """Run both on every image, one after the other, the first of the two by turns."""
    for turn, sample in enumerate(images):
        pixels = read(sample.image)
        answers: dict[int, NDArray[Any]] = {}
        for which in (0, 1) if turn % 2 else (1, 0):
            begun = time.perf_counter()
            answers[which] = (ours, theirs)[which](pixels)
            found.seconds[which].append(time.perf_counter() - begun)
        found.add(answers[0], answers[1])
        if truth is not None:
            found.counts = truth(sample, found.counts, answers[0], answers[1])
    return found


def judge(card: Card, dataset: Dataset) -> Judge:
    """Against the labels of a data set, in its own space."""
    table, classes = remap(label_space(card.label_space), dataset.space), len(dataset.space.labels)

    def add(sample: Sample, counts: Counts | None, ours: NDArray[Any], theirs: NDArray[Any]) -> Counts:
        labels = sample.truth().labels
        if labels is None:
            raise EvaluationError(f"{sample.name} has no label map")
        one, two = (confusion(labels, apply_table(each, table, dataset.space), classes) for each in (ours, theirs))
        return (one, two) if counts is None else (counts[0] + one, counts[1] + two)

    return add


def read(path: Path) -> UInt8Array:
    """The photo as the services decode it."""
    return decode(path.read_bytes(), max_pixels=10**9, max_side=10**5)


def images_in(folder: Path, split: str | None, limit: int | None) -> tuple[str, Dataset | None, Sequence[Sample]]:
    """What to call them, the data set if it is one, and its images; else every picture below the folder."""
    try:
        dataset = open_dataset(folder, None, split)
        samples = dataset.spread(limit)
        return f"{dataset.name} {dataset.split}, {len(samples)} images", dataset, samples
    except EvaluationError:
        paths = [
            path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
        ]
        if not paths:
            raise EvaluationError(f"{folder} holds no data set and no pictures") from None
        chosen = paths[:: max(1, len(paths) // limit)][:limit] if limit else paths
        return f"{len(chosen)} images", None, [Sample(path.name, path, _nothing) for path in chosen]


def _nothing() -> Any:
    raise EvaluationError("these images have no truth")


def agreements(
    card: Card, chosen: argparse.Namespace, dataset: Dataset | None, samples: Sequence[Sample]
) -> Iterator[Agreement]:
    """One for each task asked for."""
    for task in chosen.tasks or card.tasks:
        reference = LoadOptions(
            ROLES_OF_TASK[task],
            "torch",
            device=chosen.device,
            threads=chosen.threads,
            weights_dir=settings().weights_dir,
            cache_dir=settings().home / "compiled",
        )
        candidate = replace(reference, engine=chosen.engine, precision=chosen.precision, unchecked=True)
        ours, theirs = load(card, candidate), load(card, reference)
        for model in (*ours.roles.values(), *theirs.roles.values()):
            model.warm()
        truth = judge(card, dataset) if dataset is not None and task == "semantic" else None
        yield compare(MAPS[task](ours.roles), MAPS[task](theirs.roles), samples, Agreement(task), truth)


def row(found: Agreement, precision: str) -> list[str]:
    """One line of the table."""
    cost, miou = "-", "-"
    if found.miou is not None:
        miou = f"{found.miou[0]:.2f} / {found.miou[1]:.2f}"
        cost = f"{found.miou[1] - found.miou[0]:+.2f}"
    ours, theirs = (1000 * statistics.median(seconds) for seconds in found.seconds)
    verdict = "[green]pass[/green]" if found.passes(precision) else "[red]fail[/red]"
    shares = [f"{found.agreement:.3f}", f"{found.worst:.3f}", miou, cost]
    return [found.task, *shares, f"{ours:.1f} / {theirs:.1f}", f"{theirs / ours:.2f}", verdict]


def card_line(found: Agreement, chosen: argparse.Namespace, on: str, words: Sequence[str]) -> str:
    """The entry of `checks` on the card."""
    said = ["FOLDER" if word == str(chosen.data) else word for word in words]
    cost = "" if found.miou is None else f", miou_cost: {found.miou[1] - found.miou[0]:.2f}"
    facts = f"engine: {chosen.engine}, precision: {chosen.precision}, agreement: {found.agreement:.2f}{cost}"
    return f'  - {{{facts}, "on": "{found.task}, {on}", source: {shlex.join(["segserve", "agree", *said])}}}'


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="segserve agree", description=__doc__)
    add = parser.add_argument
    add("model", help="name of a card")
    add("--engine", choices=ENGINES, required=True, help="what is compared with torch in f32")
    add("--precision", choices=PRECISIONS, default="f32")
    add("--data", type=Path, required=True, metavar="FOLDER", help="a data set as it is published, or any pictures")
    add("--split", help="of the data set; else the one that figures are usually given for")
    add("--tasks", nargs="+", choices=tuple(MAPS), help="some of the card's; else all")
    add("--limit", type=int, metavar="N", help="only N images, evenly spread")
    add("--device", default="auto")
    add("--threads", type=int, default=0, metavar="N")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Compare, print, and say 0 where every task passes."""
    typed = list(sys.argv[1:] if words is None else words)
    chosen, console = arguments(typed), Console(highlight=False)
    try:
        card = find_card(chosen.model, settings().card_dirs)
        on, dataset, samples = images_in(chosen.data, chosen.split, chosen.limit)
        found = list(agreements(card, chosen, dataset, samples))
    except (EngineError, EvaluationError, SegServeError, WeightsError) as error:
        console.print(f"[red]segserve agree:[/red] {getattr(error, 'message', error)}", soft_wrap=True)
        return 2
    title = f"{card.name} in {chosen.engine} {chosen.precision} / torch f32: {on}"
    table = Table(*COLUMNS, title=title)
    for each in found:
        table.add_row(*row(each, chosen.precision))
    console.print(table)
    for each in found:
        console.print(card_line(each, chosen, on, typed), markup=False, soft_wrap=True)
    return int(not all(each.passes(chosen.precision) for each in found))


if __name__ == "__main__":
    sys.exit(main())
