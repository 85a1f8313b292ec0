"""Decoding and encoding that go with the forward pass: the same answers and refusals as beside it, in one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest

from services.semantic.pipeline import SemanticPipeline
from shared.calls import Answer, Caller, DenseCall, DenseOptions, Format, ModelInfo
from shared.errors import InvalidOption, Malformed, SegServeError
from shared.imaging import decode as decoding
from shared.serving.args import ServiceArgs
from shared.serving.assembly import assemble_dense
from shared.serving.batcher import Batcher
from shared.serving.dense import DensePipeline
from shared.serving.ride import COST, Ride, with_rides
from shared.settings import Settings
from shared.telemetry.recording import RecordingSink
from shared.types import DenseInput, DenseTask, SemanticOutput
from tests.data import encoded
from tests.integration.trivial.platform import HERE, grey
from tests.unit.services.test_dense_pipelines import PIPELINES, scene, semantic

TASKS: tuple[DenseTask, ...] = get_args(DenseTask)
FORMS: tuple[Format, ...] = get_args(Format)
INFO = ModelInfo("tiny", "1", TASKS, "camvid", "0" * 64, "numpy", 0, "none", "a test")


def pipeline(task: DenseTask, rides: bool, sink: RecordingSink | None = None) -> DensePipeline[Any]:
    """Over its small model, with one item a batch."""
    kind, model = PIPELINES[task]
    sink = sink or RecordingSink()
    batcher: Batcher[DenseInput, Any] = Batcher(
        with_rides(model), max_batch=1, max_cost=1, cost=lambda _: COST, max_queue=4, sink=sink, model="m", role=task
    )
    return kind(INFO, batcher, Settings(), sink, ThreadPoolExecutor(1), rides)


async def ask(task: DenseTask, form: Format, rides: bool, image: bytes | None = None) -> Answer | SegServeError:
    call = DenseCall(
        task, image or encoded(scene()), Caller("public", "r", time.time() + 60), DenseOptions(format=form)
    )
    try:
        return await pipeline(task, rides).segment(call)
    except SegServeError as error:
        return error


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("form", FORMS)
async def test_answers_and_refusals_are_the_same(task: DenseTask, form: Format) -> None:
    beside, along = await ask(task, form, rides=False), await ask(task, form, rides=True)
    if isinstance(beside, Answer):
        assert isinstance(along, Answer)
        assert (along.body, along.media_type, along.headers) == (beside.body, beside.media_type, beside.headers)
    else:
        assert (type(along), along.details) == (type(beside), beside.details)  # type: ignore[union-attr]


async def test_a_broken_image_is_refused_and_says_nothing_of_the_models_health() -> None:
    args = ServiceArgs.model_validate({"model": "bright", "tasks": ("semantic",), "threads": 1})
    sink = RecordingSink()
    assembly = assemble_dense(args, Settings(card_dirs=(HERE / "cards",)), sink)
    service, deadline = assembly.services["semantic"], time.time() + 60
    whole = DenseCall("semantic", grey(200), Caller("public", "r1", deadline))
    with pytest.raises(Malformed):
        await service.segment(DenseCall("semantic", grey(200)[:50], Caller("public", "r2", deadline)))
    passes = len(sink.values("segserve_batch_size"))
    await assembly.loaded.pulse.check()
    assert len(sink.values("segserve_batch_size")) == passes, "no heartbeat was needed"
    assert b'"request_id":"r1"' in (await service.segment(whole)).body


async def test_all_of_it_happens_in_the_thread_of_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def noted(batch: Sequence[DenseInput]) -> list[SemanticOutput]:
        threads.append(threading.get_ident())
        return semantic(batch)

    def decode_for(data: bytes, sight: Any, **limits: int) -> Any:
        threads.append(threading.get_ident())
        return decoding.decode_for(data, sight, **limits)

    monkeypatch.setattr("shared.serving.dense.decode_for", decode_for)
    monkeypatch.setitem(PIPELINES, "semantic", (SemanticPipeline, noted))
    sink = RecordingSink()
    call = DenseCall("semantic", encoded(scene()), Caller("public", "r", time.time() + 60))
    answer = await pipeline("semantic", True, sink).segment(call)
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert [name for name, _ in answer.timings] == ["decode", "predict", "encode"]
    assert all(seconds > 0 for _, seconds in answer.timings)
    for stage in ("decode", "predict", "encode"):
        assert len(sink.values("segserve_stage_seconds", stage=stage, task="semantic")) == 1


def test_a_batch_may_hold_rides_beside_other_items() -> None:
    run = with_rides(lambda items: [2 * item for item in items])
    ride: Ride[int, int, str] = Ride(lambda: 5, lambda item, output: f"{item} {output}")
    assert run([1, ride, 3]) == [2, "5 10", 6]
    assert run([1, 2]) == [2, 4]
    with pytest.raises(InvalidOption):
        run([Ride(lambda: 5, lambda item, output: refuse())])


def refuse() -> str:
    raise InvalidOption.of("format", "x", "y", "z")


@pytest.mark.parametrize(
    ("given", "rides"),
    [
        ({"threads": 1}, True),
        ({"threads": 2, "in_flight": 2}, True),
        ({"threads": 2}, False),
        ({}, False),
        ({"device": "cuda"}, False),
    ],
)
def test_it_goes_along_where_each_pass_has_one_thread(given: dict[str, Any], rides: bool) -> None:
    assert ServiceArgs.model_validate({"model": "any", **given}).rides is rides
