"""`segserve evaluate`: a folder and the address of a server in; lines, a report and pictures out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from shared.evaluation.dataset import EvaluationError
from shared.evaluation.readers import open_dataset
from shared.evaluation.report import Report, lines, save
from shared.evaluation.run import TaskReport, choose_tasks, measure_of, run_task
from shared.evaluation.served import Served
from shared.types import Task

SHOWN_FAILURES = 10


def evaluate(chosen: argparse.Namespace, console: Console) -> int:
    """Run the command; 1 where images are missing from the figures. The bar goes to the error stream.

    Raises `EvaluationError` and `shared.errors`.
    """
    if chosen.concurrency < 1 or (chosen.limit is not None and chosen.limit < 1):
        raise EvaluationError("--concurrency and --limit are at least 1")
    started = datetime.now(UTC)
    dataset = open_dataset(chosen.data, chosen.format, chosen.split)
    samples = dataset.spread(chosen.limit)
    wanted: Sequence[Task] = chosen.tasks or ()
    reports: list[TaskReport] = []
    with Served(chosen.url, dataset.space, chosen.concurrency, chosen.api_key) as served:
        tasks = choose_tasks(served, dataset, wanted, chosen.model or None)
        console.print(f"{dataset.name} {dataset.split}: {len(samples)} of {len(dataset.samples)} images")
        for task, model in tasks.items():
            measure = measure_of(task, served, dataset, model, chosen.switches)
            with _progress() as progress:
                bar = progress.add_task(task, total=len(samples))
                reports.append(run_task(measure, model, samples, chosen.concurrency, partial(progress.advance, bar)))
            _show(reports[-1], console)
    for path in save(Report(started, chosen.url, dataset, tuple(reports)), chosen.out):
        console.print(f"wrote {path}")
    return int(any(report.failures for report in reports))


def _progress() -> Progress:
    """A bar on the error stream, gone when it is full; output to a file or a pipe stays free of it."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


def _show(report: TaskReport, console: Console) -> None:
    figures = report.figures
    model = report.model
    console.print(f"\n[bold]{report.task}[/bold]: {model.name}@{model.version}, {report.elapsed_s:.1f} s")
    table = Table("class", *figures.columns)
    for name, row in figures.classes.items():
        table.add_row(name, *("-" if math.isnan(value) else f"{value:.3f}" for value in row))
    console.print(table)
    for note in figures.notes:
        console.print(note, markup=False)
    for line in lines(report):
        console.print(line, markup=False, soft_wrap=True)
    for failure in report.failures[:SHOWN_FAILURES]:
        console.print(f"missing from the figures: {failure.sample}: {failure.reason}", style="red", markup=False)
    if len(report.failures) > SHOWN_FAILURES:
        console.print(f"... {len(report.failures)} images are missing from the figures", style="red")
