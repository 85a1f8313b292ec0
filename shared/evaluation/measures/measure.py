"""What every task's measure has in common: judge one sample in any thread, add the judgement in one, sum up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shared.evaluation.dataset import EvaluationError, Sample
from shared.types import Task, UInt8Array

Record = TypeVar("Record")
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


def check_size(answered: tuple[int, int], true: tuple[int, int]) -> None:
    """Raises `EvaluationError` unless photo and truth, (H, W) each, have one size."""
    if answered != true:
        photo, truth = (f"{size[1]}x{size[0]}" for size in (answered, true))
        raise EvaluationError(f"the photo is {photo} and its truth {truth}")
