"""The way of one image through a dense service: encoded bytes -> pixels -> batch -> masks -> encoded body.

Ordinary async Python: no Ray, no torch. `services/{semantic,instance,panoptic}/pipeline.py` say how an output is
encoded. Decoding and encoding run in a small thread pool, never on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from shared.calls import Answer, Caller, DenseCall, DenseOptions, ModelInfo
from shared.errors import DeadlineExceeded, InvalidOption
from shared.imaging.decode import decode, decode_for
from shared.labels import LabelSpace, label_space
from shared.protocols import Sink, SizeSeen
from shared.serving.answers import common_fields
from shared.serving.batcher import Batcher
from shared.serving.effects import EFFECTS, Named, effect_answer
from shared.serving.ride import Ride
from shared.settings import Settings
from shared.telemetry.stages import Stages
from shared.types import DenseInput, DenseTask, Photo, UInt8Array

Out = TypeVar("Out")
Result = TypeVar("Result")


class DensePipeline(ABC, Generic[Out]):
    """One dense task of one model. Implements `protocols.DenseService`."""

    task: ClassVar[DenseTask]

    def __init__(
        self,
        info: ModelInfo,
        batcher: Batcher[DenseInput, Out],
        settings: Settings,
        sink: Sink,
        executor: Executor,
        rides: bool = False,
        sight: SizeSeen | None = None,
    ) -> None:
        """`sight`: at what size the model sees an image; without it all pixels are decoded of each."""
        self.info = info
        self.space: LabelSpace = label_space(info.label_space)
        self._batcher = batcher
        self._riding: Batcher[Any, Any] = batcher  # takes rides as well, whose results are answers
        self._settings = settings
        self._sink = sink
        self._executor = executor
        self._rides = rides
        self._sight = sight

    def describe(self) -> ModelInfo:
        """What this service serves."""
        return self.info

    async def segment(self, call: DenseCall) -> Answer:
        """Decode, predict, encode. Raises `Malformed`, `InvalidOption`, `Overloaded`, `DeadlineExceeded`, ..."""
        stages = Stages(self._sink, self.task)
        if call.options.tta and not self.info.tta:
            raise InvalidOption.of("tta", True, False, f"{self.info.name} does not average over views")
        if call.options.crf and not self.info.crf:
            raise InvalidOption.of("crf", True, False, f"{self.info.name} has no dense CRF behind it")
        wanted = self._wanted(call.options)
        if self._rides and self._batcher.caps.max_batch == 1:
            return await self._in_one_pass(call, wanted, stages)
        with stages.stage("decode"):
            item = await self._off_loop(call.caller, lambda: self._item(call))
        with stages.stage("predict"):
            output = await self._batcher.submit(item, call.caller.deadline)
        with stages.stage("encode"):
            answer = await self._off_loop(call.caller, lambda: self._encoded(output, item, call, wanted))
        return Answer(answer.body, answer.media_type, answer.headers, stages.timings())

    async def _in_one_pass(self, call: DenseCall, wanted: frozenset[int] | None, stages: Stages) -> Answer:
        """The same, all of it in the thread of the forward pass (`shared.serving.ride`)."""
        ride: Ride[DenseInput, Out, Answer] = Ride(
            lambda: self._item(call),
            lambda item, output: self._encoded(output, item, call, wanted),
        )
        begun = time.perf_counter()
        answer: Answer = await self._riding.submit(ride, call.caller.deadline)
        stages.add("decode", ride.prepared_s)
        stages.add("predict", time.perf_counter() - begun - ride.prepared_s - ride.finished_s)
        stages.add("encode", ride.finished_s)
        return Answer(answer.body, answer.media_type, answer.headers, stages.timings())

    def _encoded(self, output: Out, item: DenseInput, call: DenseCall, wanted: frozenset[int] | None) -> Answer:
        """`encode` with all pixels where the format shows them and the model saw fewer."""
        shows = call.options.format == "overlay" or call.options.format in EFFECTS
        whole = item.pixels.shape[:2] == item.size
        return self.encode(output, self._decode(call.image) if shows and not whole else item.pixels, call, wanted)

    @abstractmethod
    def encode(self, output: Out, pixels: UInt8Array, call: DenseCall, wanted: frozenset[int] | None) -> Answer:
        """The answer's body in `call.options.format`. `pixels`: the image's, all of them where the format shows them.
        `wanted`: label ids to keep, None for all. Runs in a thread."""

    def common(self, call: DenseCall, size: tuple[int, int]) -> dict[str, Any]:
        """The fields that every JSON answer begins with; `size` is (H, W)."""
        return {"task": self.task, **common_fields(self.info, call.caller, size)}

    def effect(self, call: DenseCall, pixels: UInt8Array, objects: Iterable[Named]) -> Answer:
        """The picture of these objects in one of `EFFECTS`."""
        return effect_answer(call.options.format, call.options.effect, pixels, objects, self._decode)

    def _decode(self, data: bytes) -> UInt8Array:
        return decode(data, max_pixels=self._settings.max_pixels, max_side=self._settings.max_side)

    def _photo(self, call: DenseCall) -> Photo:
        """The image as far as the model needs it, the same for every format so that all answers on it agree. Borders
        that follow it need all of it."""
        options, settings = call.options, self._settings
        sight = None if self._sight is None or options.crf else partial(self._sight, tta=options.tta)
        return decode_for(call.image, sight, max_pixels=settings.max_pixels, max_side=settings.max_side)

    def _wanted(self, options: DenseOptions) -> frozenset[int] | None:
        if options.classes is None:
            return None
        return frozenset(self.space.id_of(name) for name in options.classes)

    def shows_labels_alone(self, options: DenseOptions) -> bool:
        """Whether the answer says nothing of the model's confidence in each pixel."""
        return False

    def _item(self, call: DenseCall) -> DenseInput:
        photo, options = self._photo(call), call.options
        limit = options.max_instances if options.classes is None else None
        alone = self.shows_labels_alone(options)
        threshold = options.score_threshold
        return DenseInput(photo.pixels, threshold, limit, options.tta, options.crf, alone, photo.size)

    async def _off_loop(self, caller: Caller, work: Callable[[], Result]) -> Result:
        if time.time() > caller.deadline:
            raise DeadlineExceeded()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def unsupported(self, form: str) -> NoReturn:
        """Raise the error for a format that this task does not have."""
        raise InvalidOption.of("format", form, "", f"{self.task} answers do not come as {form}")
