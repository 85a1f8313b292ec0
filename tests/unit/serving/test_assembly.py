"""A card and its arguments become services that answer, without Ray."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shared.calls import Caller, DenseCall
from shared.catalog.card import Card
from shared.catalog.catalog import CardError
from shared.catalog.loading import LoadOptions, load
from shared.protocols import LoadedModels
from shared.serving import assembly
from shared.serving.args import ServiceArgs
from shared.serving.assembly import assemble_dense, load_card
from shared.settings import Settings
from shared.telemetry.recording import RecordingSink
from tests.integration.trivial.platform import HERE, grey

SETTINGS = Settings(card_dirs=(HERE / "cards",))


def args(model: str = "bright", **more: object) -> ServiceArgs:
    return ServiceArgs.model_validate({"model": model, "tasks": ("semantic",), **more})


async def test_the_services_of_a_card_answer_and_say_what_they_are() -> None:
    sink = RecordingSink()
    assembled = assemble_dense(args(), SETTINGS, sink)
    info = assembled.loaded.info
    assert (info.name, info.tasks, info.default_for, info.engine) == ("bright", ("semantic",), ("semantic",), "numpy")
    call = DenseCall("semantic", grey(200), Caller("public", "r1", time.time() + 60))
    answer = await assembled.services["semantic"].segment(call)
    assert b'"request_id":"r1"' in answer.body
    assert sink.values("segserve_batch_size", model="bright", role="semantic") == [1]
    assert len(sink.values("segserve_model_load_seconds", model="bright", role="semantic")) == 1
    built = {"engine": "numpy", "precision": "f32", "version": "1"}
    assert sink.values("segserve_model_info", model="bright", role="semantic", **built) == [1]


async def test_limits_are_told_and_told_again_when_they_change() -> None:
    sink = RecordingSink()
    loaded = load_card(args(in_flight=3), ("semantic",), SETTINGS, sink)
    loaded.reconfigure(args().live({"max_batch": 7}))
    assert sink.values("segserve_slots", model="bright") == [3]
    assert sink.values("segserve_batch_limit", model="bright", role="semantic")[-1] == 7


def test_passes_outside_the_compiled_shapes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[LoadOptions] = []

    def noting(card: Card, options: LoadOptions) -> LoadedModels:
        chosen.append(options)
        return load(card, options)

    monkeypatch.setattr(assembly, "load", noting)
    sink = RecordingSink()
    load_card(args(), ("semantic",), SETTINGS, sink)
    assert chosen[0].on_unforeseen_shape is not None
    chosen[0].on_unforeseen_shape()
    assert sink.total("segserve_model_fallback_total", model="bright", reason="shape") == 1


async def test_live_caps_reach_the_batchers() -> None:
    loaded = load_card(args(), ("semantic",), SETTINGS, RecordingSink())
    loaded.reconfigure(args().live({"max_batch": 7, "max_queue": 3, "max_wait_ms": 20, "max_pixels": 9}))
    caps = loaded.batchers["semantic"].caps
    assert (caps.max_batch, caps.max_queue, caps.max_wait_s, caps.max_cost) == (7, 3, 0.02, 9)


async def test_prompts_have_a_cap_of_their_own() -> None:
    prompts = ServiceArgs.model_validate({"model": "mean", "tasks": ("promptable",), "in_flight": 2})
    loaded = load_card(prompts, ("encoder", "decoder"), SETTINGS, RecordingSink())
    loaded.reconfigure(prompts.live({"max_batch": 2, "max_prompts": 6}))
    caps = {role: batcher.caps.max_batch for role, batcher in loaded.batchers.items()}
    assert caps == {"encoder": 2, "decoder": 6}
    loaded.reconfigure(prompts.live({"max_batch": 2}))
    assert loaded.batchers["decoder"].caps.max_batch == 2
    assert {batcher.slots for batcher in loaded.batchers.values()} == {2}


def test_a_model_that_does_not_warm_does_not_start() -> None:
    with pytest.raises(ArithmeticError, match="broken on purpose"):
        assemble_dense(args("broken"), SETTINGS, RecordingSink())


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (args("nothing"), CardError, "no card named nothing"),
        (args("bright@2"), CardError, "version 1, not 2"),
        (args(tasks=("panoptic",)), ValueError, "has semantic, not panoptic"),
        (args(tasks=("promptable",)), ValueError, "dense tasks are"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(wrong: ServiceArgs, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        assemble_dense(wrong, SETTINGS, RecordingSink())


def test_a_crf_behind_a_network_without_class_logits_is_refused(tmp_path: Path) -> None:
    card = (HERE / "cards/bright.yaml").read_text()
    (tmp_path / "bright.yaml").write_text(f"{card}dense_crf: {{}}\n")
    with pytest.raises(ValueError, match="card bright: dense_crf is for networks that give class logits"):
        load_card(args(), ("semantic",), Settings(card_dirs=(tmp_path,)), RecordingSink())
