"""Promptable: a simulated user clicks on every object, once and then where the answer is most wrong; IoU after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from shared.client import Client, PromptedMask
from shared.evaluation.clicks import SimulatedUser
from shared.evaluation.components import objects_of
from shared.evaluation.dataset import Dataset, EvaluationError, Sample, TrueObject, Truth
from shared.evaluation.gallery import photo
from shared.evaluation.measures.measure import Asking, Figures, Judged, Pictures, check_size
from shared.evaluation.served import Served
from shared.imaging.compose import overlay_regions
from shared.labels import LabelSpace
from shared.types import Region, Task

CLICKS = (1, 3, 5)
"""After so many clicks the IoU is reported."""
COLUMNS = tuple(f"IoU@{count}" for count in CLICKS)
MAX_PROMPTS = 64
"""Prompts of one request."""
MAX_LOGITS_BYTES = 3 * 2**20
"""Earlier logits that are sent back in one request, as float16; base64 makes them a third larger."""
SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, math.inf))
"""COCO's groups of objects, by area in pixels."""


@dataclass(frozen=True, slots=True)
class Clicked:
    """One object: its class, area in pixels, IoU after each click, and the best IoU among the first click's masks."""

    label_id: int
    area: int
    ious: tuple[float, ...]
    best_first: float


class PromptableMeasure(Asking):
    """Implements `measure.Measure`."""

    task: Task = "promptable"
    score_name = "IoU after one click"

    def __init__(self, served: Served, dataset: Dataset, model: str | None) -> None:
        super().__init__(served, dataset, model)
        self._by_components = dataset.by_components
        self._clicked: list[Clicked] = []

    def judge(self, sample: Sample) -> Judged[list[Clicked]]:
        """See `Measure`. The mask taken is the one that the model itself rates best; its logits go with the next
        click."""
        truth = sample.truth()
        wanted = targets(truth, self._space, self._by_components)
        if not wanted:
            return Judged([], math.nan, partial(_nothing, sample), ())
        users = [SimulatedUser(each.region, truth.void) for each in wanted]
        for user in users:
            user.begin()
        with self._served.client() as client:
            session = _Session(client, sample, self._model, truth.size)
            ious, best_first, first = session.run(users)
        clicked = [
            Clicked(each.label_id, each.region.area, tuple(row), best)
            for each, row, best in zip(wanted, ious, best_first, strict=True)
        ]
        draw = partial(_draw, sample, wanted, first, [row[0] for row in ious], self._space)
        return Judged(clicked, float(np.mean([row[0] for row in ious])), draw, tuple(session.seconds))

    def add(self, record: list[Clicked]) -> None:
        """See `Measure`."""
        self._clicked += record

    def figures(self) -> Figures:
        """See `Measure`. Every object counts alike."""
        headline = {f"IoU@{count}": _mean(self._clicked, _after(count)) for count in CLICKS}
        headline["IoU@1 of the best of three masks"] = _mean(self._clicked, lambda each: each.best_first)
        groups = {name: [each for each in self._clicked if least <= each.area < most] for name, least, most in SIZES}
        things = self._space.things
        groups["things"] = [each for each in self._clicked if each.label_id in things]
        groups["stuff"] = [each for each in self._clicked if each.label_id not in things]
        for name, members in groups.items():
            if members and len(members) < len(self._clicked):
                headline |= {f"IoU@{count} {name}": _mean(members, _after(count)) for count in CLICKS}
        classes = {}
        for label in self._space.labels:
            members = [each for each in self._clicked if each.label_id == label.id]
            if members:
                classes[label.name] = tuple(_mean(members, _after(count)) for count in CLICKS)
        return Figures(headline, COLUMNS, classes, (f"{len(self._clicked)} objects were clicked on.",))


class _Session:
    """The users of one photo, click by click."""

    def __init__(self, client: Client, sample: Sample, model: str | None, size: tuple[int, int]) -> None:
        self._client = client
        self._sample = sample
        self._model = model
        self._size = size
        self.seconds: list[float] = []

    def run(self, users: list[SimulatedUser]) -> tuple[list[list[float]], list[float], list[Region]]:
        """IoU of each user's object after each click, the best IoU of the first click's masks, and its first mask."""
        ious: list[list[float]] = [[] for _ in users]
        best_first = [0.0] * len(users)
        first: list[Region] = []
        open_users = list(range(len(users)))
        for count in range(1, max(CLICKS) + 1):
            still = []
            answers = self._ask([users[index] for index in open_users], count)
            for index, masks in zip(open_users, answers, strict=True):
                user, answer = users[index], masks[0].mask
                ious[index].append(user.iou(answer))
                if count == 1:
                    best_first[index] = max(user.iou(each.mask) for each in masks)
                    first.append(Region.from_mask(answer))
                user.logits = masks[0].logits
                if user.correct(answer):
                    still.append(index)
            open_users = still
        for row in ious:
            row += [row[-1]] * (max(CLICKS) - len(row))
        return ious, best_first, first

    def _ask(self, users: list[SimulatedUser], count: int) -> Iterator[tuple[PromptedMask, ...]]:
        """The candidates for each user, best rated first."""
        for part in _parts(users):
            begun = time.perf_counter()
            answer = self._client.promptable(
                self._sample.image,
                [user.prompt() for user in part],
                model=self._model,
                multimask=count == 1,
                return_logits=count < max(CLICKS),
            )
            self.seconds.append(time.perf_counter() - begun)
            check_size((answer.height, answer.width), self._size)
            if any(not masks for masks in answer.results):
                raise EvaluationError("the server gave no mask for a click")
            yield from answer.results


def targets(truth: Truth, space: LabelSpace, by_components: bool) -> tuple[TrueObject, ...]:
    """What users want of one image: its objects where they are annotated, else the components of every class.
    Raises `EvaluationError` where the truth has neither."""
    if truth.objects is not None and not by_components:
        return tuple(each for each in truth.objects if not each.iscrowd and not each.region.empty)
    if truth.labels is None:
        raise EvaluationError("the data set has neither objects nor a label map for it")
    return objects_of(truth.labels, range(len(space.labels)))


def _parts(users: list[SimulatedUser]) -> Iterator[list[SimulatedUser]]:
    """Users whose prompts fit into one request together."""
    part: list[SimulatedUser] = []
    room = MAX_LOGITS_BYTES
    for user in users:
        needed = 0 if user.logits is None else user.logits.nbytes
        if part and (needed > room or len(part) == MAX_PROMPTS):
            yield part
            part, room = [], MAX_LOGITS_BYTES
        part.append(user)
        room -= needed
    if part:
        yield part


def _after(count: int) -> Callable[[Clicked], float]:
    return lambda clicked: clicked.ious[count - 1]


def _mean(members: Sequence[Clicked], value: Callable[[Clicked], float]) -> float:
    return float(np.mean([value(each) for each in members])) if members else math.nan


def _nothing(sample: Sample) -> Pictures:
    pixels = photo(sample.image)
    return pixels, pixels


def _draw(
    sample: Sample, wanted: Sequence[TrueObject], first: Sequence[Region], ious: Sequence[float], space: LabelSpace
) -> Pictures:
    pixels = photo(sample.image)
    true = [(each.region, space.labels[each.label_id].name) for each in wanted]
    answered = [(region, f"{iou:.2f}") for region, iou in zip(first, ious, strict=True)]
    return overlay_regions(pixels, true), overlay_regions(pixels, answered)
