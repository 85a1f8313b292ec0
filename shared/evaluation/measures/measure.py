"""What every task's measure has in common: judge one sample in any thread, add the judgement in one, sum up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shared.client import Client
from shared.evaluation.confusion import Float64Array
from shared.evaluation.dataset import Dataset, EvaluationError, Sample
from shared.evaluation.served import Served
from shared.labels import LabelSpace
from shared.types import Task, UInt8Array

Record = TypeVar("Record")
Answer = TypeVar("Answer")
Pictures = tuple[UInt8Array, UInt8Array]
"""The truth and the answer drawn over the photo, HxWx3 RGB."""


@dataclass(frozen=True, slots=True)
class Judged(Generic[Record]):
    """One sample's judgement. `score` 0 to 1 ranks it among the others (nan: not ranked); `draw` makes its pictures;
    `seconds` that each request took."""

    record: Record
    score: float
    draw: Callable[[], Pictures]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a task's evaluation found, fractions of one by name in the order of printing; nan where nothing was to find.

    `classes`: by class name, the columns of its table (`classes` and `columns` give their order).
    """

    headline: Mapping[str, float]
    columns: tuple[str, ...] = ()
    classes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Measure(Protocol[Record]):
    """One task on one data set."""

    task: Task
    score_name: str
    """What `Judged.score` is, for captions."""

    def judge(self, sample: Sample) -> Judged[Record]:
        """Ask the server about one sample and judge the answer; may run in several threads at once.

        Raises `shared.errors` and `EvaluationError`.
        """
        ...

    def add(self, record: Record) -> None:
        """Take a judgement into account."""
        ...

    def figures(self) -> Figures:
        """Figures of all that was added."""
        ...


class Asking:
    """What every measure knows: whom it asks, for which model, and the labels of the data set."""

    def __init__(self, served: Served, dataset: Dataset, model: str | None) -> None:
        self._served = served
        self._space = dataset.space
        self._model = model
        self._prefix = "CC-" if dataset.by_components else ""
        """Before the names of figures whose objects are connected components."""

    def _asked(self, ask: Callable[[Client], Answer]) -> tuple[Answer, float]:
        """What the server says, and the seconds that it took. Raises `shared.errors`."""
        with self._served.client() as client:
            begun = time.perf_counter()
            answer = ask(client)
            return answer, time.perf_counter() - begun


def by_class(space: LabelSpace, *columns: Float64Array) -> dict[str, tuple[float, ...]]:
    """A row for each label of the space, by name, without those that are nan in the first column."""
    rows = zip(space.labels, *columns, strict=True)
    return {label.name: tuple(map(float, row)) for label, *row in rows if not math.isnan(row[0])}


def check_size(answered: tuple[int, int], true: tuple[int, int]) -> None:
    """Raises `EvaluationError` unless photo and truth, (H, W) each, have one size."""
    if answered != true:
        photo, truth = (f"{size[1]}x{size[0]}" for size in (answered, true))
        raise EvaluationError(f"the photo is {photo} and its truth {truth}")
