"""Figures of all tasks in, lines for the terminal, JSON for programs and Markdown for people out, and the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from shared.evaluation.components import MIN_PIXELS
from shared.evaluation.dataset import Dataset
from shared.evaluation.run import TaskReport

NAME = "report"
VOID = "Void pixels of the truth count neither for nor against an answer."
COMPONENTS = f"CC: connected components of at least {MIN_PIXELS} pixels stand in for objects; touching ones are one."


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation: when it began (UTC), of which server and data set, and what came of each task."""

    started: datetime
    url: str
    dataset: Dataset
    tasks: tuple[TaskReport, ...]


def lines(task: TaskReport) -> Iterator[str]:
    """`semantic mIoU = 0.6123` and so on, one figure a line; those with nothing to judge are left out."""
    for name, value in task.figures.headline.items():
        if not math.isnan(value):
            yield f"{task.task} {name} = {value:.4f}"


def save(report: Report, folder: Path) -> list[Path]:
    """Write `report.json`, `report.md` and a picture a task into `folder`; the files written. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{NAME}.json", folder / f"{NAME}.md"]
    written[0].write_bytes(orjson.dumps(as_json(report), option=orjson.OPT_INDENT_2))
    written[1].write_text(as_markdown(report), encoding="utf-8")
    for task in report.tasks:
        if task.gallery is not None:
            written.append(folder / _picture(task))
            written[-1].write_bytes(task.gallery)
    return written


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON has it; null where there was nothing to judge."""
    return {
        "started": report.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "url": report.url,
        "dataset": report.dataset.name,
        "split": report.dataset.split,
        "label_space": report.dataset.space.name,
        "conventions": conventions(report.dataset),
        "tasks": {task.task: _task_json(task) for task in report.tasks},
    }


def conventions(dataset: Dataset) -> list[str]:
    """How the figures are to be read."""
    return [VOID, COMPONENTS] if dataset.by_components else [VOID]


def _task_json(task: TaskReport) -> dict[str, Any]:
    figures = task.figures
    return {
        "model": task.model.name,
        "model_version": task.model.version,
        "weights_sha256": task.model.weights_sha256,
        "engine": task.model.engine,
        "label_space": task.model.label_space,
        "images": task.images,
        "figures": {name: _number(value) for name, value in figures.headline.items()},
        "classes": {
            name: {column: _number(value) for column, value in zip(figures.columns, row, strict=True)}
            for name, row in figures.classes.items()
        },
        "notes": list(figures.notes),
        "failures": [{"image": failure.sample, "reason": failure.reason} for failure in task.failures],
        "elapsed_s": round(task.elapsed_s, 3),
        "request_s": {"count": len(task.seconds), **{name: round(value, 4) for name, value in _latency(task)}},
    }


def as_markdown(report: Report) -> str:
    """A page with a table a task and the pictures, which lie beside it."""
    page = [f"# {report.dataset.name} {report.dataset.split}: {report.url}", ""]
    page += [f"Begun {report.started:%Y-%m-%d %H:%M} UTC. {' '.join(conventions(report.dataset))}", ""]
    for task in report.tasks:
        page += _task_markdown(task)
    return "\n".join(page)


def _task_markdown(task: TaskReport) -> list[str]:
    model = task.model
    latency = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in _latency(task))
    page = [
        f"## {task.task}",
        "",
        f"{model.name}@{model.version} on {model.engine}, weights `{model.weights_sha256[:12]}`: "
        f"{task.images} images in {task.elapsed_s:.1f} s, {len(task.seconds)} requests ({latency}).",
        "",
        *_table(("figure", "value"), [(name, (value,)) for name, value in task.figures.headline.items()]),
        *_table(("class", *task.figures.columns), list(task.figures.classes.items())),
    ]
    page += [line for note in task.figures.notes for line in (note, "")]
    if task.failures:
        page += [f"**{len(task.failures)} images are missing from these figures:**", ""]
        page += [*(f"- {failure.sample}: {failure.reason}" for failure in task.failures), ""]
    if task.gallery is not None:
        page += [f"![Worst and best images of {task.task}]({_picture(task)})", ""]
    return page


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    if not rows:
        return []
    body = [f"| {name} | {' | '.join(_shown(value) for value in values)} |" for name, values in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body, ""]


def _picture(task: TaskReport) -> str:
    return f"{task.task}.jpg"


def _latency(task: TaskReport) -> list[tuple[str, float]]:
    if not task.seconds:
        return []
    return [(name, float(np.percentile(task.seconds, share))) for name, share in (("p50", 50), ("p95", 95))]


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
