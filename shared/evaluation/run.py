"""A data set and a running server in, a report of all tasks out: photos sent by a bounded number of threads.

Judgements are added in the order of the samples, so that the same answers give the same report to the last digit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from shared.calls import ModelInfo
from shared.errors import ModelNotFound, SegServeError
from shared.evaluation.dataset import Dataset, EvaluationError, Sample
from shared.evaluation.gallery import Gallery
from shared.evaluation.measures.instance import InstanceMeasure
from shared.evaluation.measures.measure import Figures, Judged, Measure
from shared.evaluation.measures.panoptic import PanopticMeasure
from shared.evaluation.measures.promptable import PromptableMeasure
from shared.evaluation.measures.semantic import SemanticMeasure
from shared.evaluation.served import Served
from shared.types import Task

FAILURES_IN_A_ROW = 5
"""After so many the evaluation stops: the fault is not the photo's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that was not judged, and why."""

    sample: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task's figures over `images` photos; `seconds` of all requests; `gallery` a JPEG."""

    task: Task
    model: ModelInfo
    figures: Figures
    images: int
    failures: tuple[Failure, ...]
    seconds: tuple[float, ...]
    elapsed_s: float
    gallery: bytes | None


def choose_tasks(served: Served, dataset: Dataset, wanted: Sequence[Task], model: str | None) -> dict[Task, ModelInfo]:
    """The tasks to run with their models: those wanted, or else all that the data set can judge and the server serves.

    Raises `EvaluationError` for a task wanted that is not possible, or where none is; `shared.errors`.
    """
    chosen: dict[Task, ModelInfo] = {}
    for task in wanted or dataset.tasks:
        if task not in dataset.tasks:
            raise EvaluationError(f"{dataset.name} judges {', '.join(dataset.tasks)}, not {task}")
        found = served.model(task, model)
        if found is None and wanted:
            raise ModelNotFound(f"No model {model or 'by default'} is served for {task}.")
        if found is not None:
            chosen[task] = found
    if not chosen:
        raise ModelNotFound(f"No model {model or 'by default'} is served for {', '.join(dataset.tasks)}.")
    return chosen


def measure_of(task: Task, served: Served, dataset: Dataset, model: ModelInfo, switches: Sequence[str]) -> Measure[Any]:
    """The measure of a task; `switches` are options of semantic segmentation that are on."""
    name = f"{model.name}@{model.version}"
    if task == "semantic":
        return SemanticMeasure(served, dataset, name, model.label_space, switches)
    if task == "instance":
        return InstanceMeasure(served, dataset, name)
    if task == "panoptic":
        return PanopticMeasure(served, dataset, name)
    return PromptableMeasure(served, dataset, name)


def run_task(
    measure: Measure[Any], model: ModelInfo, samples: Sequence[Sample], threads: int, done: Callable[[], None]
) -> TaskReport:
    """Judge every sample, at most `threads` at once; `done` is called after each. Raises `EvaluationError` when the
    server fails for good."""
    begun = time.perf_counter()
    gallery = Gallery(measure.score_name)
    failures: list[Failure] = []
    seconds: list[float] = []
    in_a_row = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="evaluate") as pool:
        for sample, future in _in_order(pool, measure.judge, samples, 2 * threads):
            try:
                judged = future.result()
            except (SegServeError, EvaluationError, OSError) as error:
                failures.append(Failure(sample.name, _reason(error)))
                in_a_row += 1
                if in_a_row == FAILURES_IN_A_ROW:
                    pool.shutdown(cancel_futures=True)
                    raise EvaluationError(f"{measure.task}: {sample.name}: {failures[-1].reason}") from None
            else:
                in_a_row = 0
                measure.add(judged.record)
                seconds += judged.seconds
                gallery.offer(sample.name, judged.score, judged.draw)
            done()
    if len(failures) == len(samples):
        raise EvaluationError(f"{measure.task}: {failures[0].sample}: {failures[0].reason}")
    judged_count = len(samples) - len(failures)
    elapsed = time.perf_counter() - begun
    figures, picture = measure.figures(), gallery.picture()
    return TaskReport(measure.task, model, figures, judged_count, tuple(failures), tuple(seconds), elapsed, picture)


def _in_order(
    pool: ThreadPoolExecutor, judge: Callable[[Sample], Judged[Any]], samples: Sequence[Sample], ahead: int
) -> Iterator[tuple[Sample, Future[Judged[Any]]]]:
    """Each sample with its judgement, in order; at most `ahead` are begun and not yet taken."""
    pending: deque[tuple[Sample, Future[Judged[Any]]]] = deque()
    try:
        for sample in samples:
            pending.append((sample, pool.submit(judge, sample)))
            if len(pending) == ahead:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        for _, future in pending:
            future.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, SegServeError):
        return f"{error.code}: {error.message}"
    return str(error)
