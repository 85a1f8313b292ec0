"""Which engine and device run a card; what is impossible is said before any weights are read."""

from __future__ import annotations

import pytest
import torch

from shared.catalog.card import Card, Check
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions
from shared.models import device
from shared.models.device import EngineError, choose, choose_device, settled
from shared.types import Precision

BOTH, TORCH = find_card("segformer-b0-ade"), find_card("maskrcnn-resnet50-fpn")
OPENVINO = BOTH.model_copy(update={"engines": ("openvino",)})


@pytest.fixture(params=[0, 2])
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine with so many GPUs, as torch would say it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return int(request.param)


def options(engine: str = "auto", on: str = "auto") -> LoadOptions:
    return LoadOptions(roles=("semantic",), engine=engine, device=on)


def test_auto_takes_a_gpu_where_the_card_runs_in_torch(gpus: int) -> None:
    assert choose(BOTH, options()) == (("torch", "cuda") if gpus else ("openvino", "cpu"))
    assert choose(TORCH, options()) == ("torch", "cuda" if gpus else "cpu")
    assert choose(OPENVINO, options()) == ("openvino", "cpu")


def test_what_is_named_is_taken(gpus: int) -> None:
    assert choose(BOTH, options(on="cpu")) == ("openvino", "cpu")
    assert choose(BOTH, options("openvino")) == ("openvino", "cpu")
    assert choose(BOTH, options("torch", "cpu")) == ("torch", "cpu")
    if gpus:
        assert choose(BOTH, options("torch", "cuda:1")) == ("torch", "cuda:1")
        assert choose(BOTH, options("auto", "cuda")) == ("torch", "cuda")


@pytest.mark.parametrize(
    ("card", "engine", "on", "said"),
    [
        (BOTH, "caffe", "auto", "'caffe' is not one of auto, openvino, onnxruntime, compile, tensorrt, torch"),
        (TORCH, "openvino", "auto", "maskrcnn-resnet50-fpn runs in torch, not in openvino"),
        (BOTH, "openvino", "cuda", "torch sees 0 GPUs"),
        (BOTH, "torch", "cuda:0", "torch sees 0 GPUs"),
        (BOTH, "torch", "cuda:x", "'cuda:x' is not auto, cpu, cuda or cuda:N"),
        (BOTH, "torch", "tpu", "'tpu' is not"),
        (OPENVINO, "auto", "cuda", "device cuda was asked for and needs the engine torch"),
    ],
)
def test_the_impossible_is_said(card: Card, engine: str, on: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=said):
        choose(card, options(engine, on))


def test_openvino_does_not_run_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(EngineError, match="CPU only"):
        choose(BOTH, options("openvino", "cuda"))
    with pytest.raises(EngineError, match="torch sees 1 GPUs"):
        choose_device("cuda:1")


def test_a_lower_precision_needs_hardware_and_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    has: set[Precision] = {"f32", "int8"}
    monkeypatch.setattr(device, "openvino_precisions", lambda: frozenset(has))
    with pytest.raises(EngineError, match="precision bf16 was asked for, and this CPU computes in f32, int8"):
        choose(BOTH, in_precision("bf16", unchecked=True))
    has.add("bf16")
    with pytest.raises(EngineError, match=r"no check of it on openvino\. `segserve agree segformer-b0-ade --"):
        choose(BOTH, in_precision("bf16"))
    assert choose(BOTH, in_precision("bf16", unchecked=True)) == ("openvino", "cpu")
    check = Check(engine="openvino", precision="bf16", agreement=99.5, on="photos", source="segserve agree")
    checked = BOTH.model_copy(update={"checks": (check,)})
    assert choose(checked, in_precision("bf16")) == ("openvino", "cpu")
    with pytest.raises(EngineError, match="no check of it on torch"):
        choose(checked, in_precision("bf16", engine="torch"))
    with pytest.raises(EngineError, match="for the engine openvino, not for torch"):
        choose(BOTH, in_precision("int8", engine="torch"))


def test_street_is_checked_in_int8() -> None:
    assert choose(find_card("street"), in_precision("int8")) == ("openvino", "cpu")
    with pytest.raises(EngineError, match="no check of it on torch"):
        choose(find_card("street"), in_precision("bf16", engine="torch"))


def in_precision(precision: str, engine: str = "openvino", unchecked: bool = False) -> LoadOptions:
    return LoadOptions(("semantic",), engine, precision, unchecked, device="cpu")


def test_openvino_says_what_this_cpu_computes_in() -> None:
    assert {"f32"} <= device.openvino_precisions() <= {"f32", "bf16", "f16", "int8"}


def test_engines_that_need_a_gpu_and_those_that_take_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "installed", lambda engine: True)
    monkeypatch.setattr(device, "_gpus", lambda: 0)
    every = BOTH.model_copy(update={"engines": device.ENGINES})
    with pytest.raises(EngineError, match="tensorrt needs a GPU"):
        choose(every, options("tensorrt"))
    assert choose(every, options("compile")) == ("compile", "cpu")
    monkeypatch.setattr(device, "_gpus", lambda: 1)
    assert choose(every, options("tensorrt")) == ("tensorrt", "cuda")
    assert choose(every, options("onnxruntime")) == ("onnxruntime", "cpu")
    with pytest.raises(EngineError, match="compile runs on the CPU only"):
        choose(every, options("compile", "cuda"))


def test_an_engine_that_is_not_installed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "installed", lambda engine: engine == "openvino")
    assert choose(BOTH, options()) == ("openvino", "cpu")
    assert choose_device("auto") == "cpu"
    with pytest.raises(EngineError, match="runs in torch: not installed here"):
        choose(TORCH, options())
    with pytest.raises(EngineError, match="engine torch is not installed"):
        choose(BOTH, options("torch"))


def checked(agreement: float, cost: float | None) -> Card:
    """A card whose int8 was compared twice: once without any harm, once with this one."""
    checks = [
        Check(engine="openvino", precision="int8", agreement=each, miou_cost=points, on="some", source="a test")
        for each, points in ((100.0, 0.0), (agreement, cost))
    ]
    return OPENVINO.model_copy(update={"checks": tuple(checks)})


@pytest.mark.parametrize(
    ("agreement", "cost", "computes", "taken"),
    [
        (99.1, 0.1, True, "int8"),
        (99.6, None, True, "int8"),
        (99.6, -0.3, True, "int8"),
        (98.9, 0.0, True, "f32"),
        (99.9, 0.3, True, "f32"),
        (99.9, 0.0, False, "f32"),
    ],
)
def test_auto_takes_a_lower_precision_only_where_it_does_no_harm(
    agreement: float, cost: float | None, computes: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: frozenset[Precision] = frozenset({"f32", "int8"} if computes else {"f32"})
    monkeypatch.setattr(device, "openvino_precisions", lambda: here)
    asked = LoadOptions(roles=("semantic",), precision="auto", threads=3, unchecked=True)
    found = settled(checked(agreement, cost), asked)
    assert found.precision == taken
    assert found.threads == 3
    assert not found.unchecked


def test_a_precision_that_is_named_stays() -> None:
    asked = LoadOptions(roles=("semantic",), precision="bf16", unchecked=True)
    assert settled(OPENVINO, asked) is asked
