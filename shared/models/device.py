"""Which engine and which device run a card, from what the card allows, what is asked for and what this machine has.

Imports torch, OpenVINO and ONNX Runtime only to ask them, and only where they are installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import get_args

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.engines.engine import parse_precision
from shared.types import EngineName, Precision

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
PACKAGES: Mapping[EngineName, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "compile": ("torch",),
    "tensorrt": ("tensorrt", "onnxruntime", "onnx", "onnxscript"),
    "torch": ("torch",),
}
"""What must be installed for an engine; onnx and onnxscript write the graph that ONNX Runtime and TensorRT read."""
ON_GPU: tuple[EngineName, ...] = ("torch", "tensorrt")
ON_CPU: tuple[EngineName, ...] = ("openvino", "onnxruntime", "compile", "torch")
CAPABILITIES: Mapping[Precision, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16", "int8": "INT8"}
"""Precisions as OpenVINO names what a device computes in."""
FASTEST_FIRST: tuple[Precision, ...] = ("int8", "bf16", "f16")
LEAST_AGREEMENT, MOST_COST = 99.0, 0.2
"""Per cent of equal labels and points of mIoU within which a lower precision is taken without being named."""


class EngineError(RuntimeError):
    """No engine or device can do what is asked; the message says what is missing."""


def choose(card: Card, options: LoadOptions) -> tuple[EngineName, str]:
    """(engine, device) for this card. Device is "cpu", "cuda" or "cuda:N".

    "auto" takes a GPU if there is one and the card runs in torch, else the card's first engine that is installed. A
    precision below f32 needs hardware that has it, and a check on the card unless `options.unchecked`. Raises
    `EngineError`.
    """
    if options.engine == "auto":
        device = choose_device(options.device) if "torch" in card.engines and installed("torch") else "cpu"
        engine, device = _automatic(card, device), _allowed(card, options, device)
    else:
        engine, device = _named(card, options, _engine(card, options.engine))
    _check_precision(card, options, engine)
    return engine, device


def choose_device(asked: str) -> str:
    """ "auto" to "cuda" if torch sees a GPU, else "cpu"; anything else is checked. Raises `EngineError`."""
    if asked == "cpu":
        return "cpu"
    gpus = _gpus()
    if asked == "auto":
        return "cuda" if gpus else "cpu"
    kind, _, index = asked.partition(":")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise EngineError(f"device {asked!r} is not auto, cpu, cuda or cuda:N")
    if int(index or 0) >= gpus:
        raise EngineError(f"device {asked} was asked for and torch sees {gpus} GPUs")
    return asked


def settled(card: Card, options: LoadOptions) -> LoadOptions:
    """`options` with the precision "auto" decided: the fastest that this machine computes in and all of whose checks on
    the card are within `LEAST_AGREEMENT` and `MOST_COST`, else f32. Raises `EngineError` as `choose` does.
    """
    if options.precision != "auto":
        return options
    plain = replace(options, precision="f32", unchecked=False)
    engine, _ = choose(card, plain)
    for precision in FASTEST_FIRST:
        if harmless(card, engine, precision):
            lower = replace(plain, precision=precision)
            with suppress(EngineError):
                choose(card, lower)
                return lower
    return plain


def harmless(card: Card, engine: EngineName, precision: Precision) -> bool:
    """Whether the card has checks of this engine and precision, and every one changed next to nothing."""
    checks = [check for check in card.checks if (check.engine, check.precision) == (engine, precision)]
    return bool(checks) and all(
        check.agreement >= LEAST_AGREEMENT and (check.miou_cost or 0) <= MOST_COST for check in checks
    )


def installed(engine: EngineName) -> bool:
    """Whether the packages behind this engine can be imported."""
    return all(find_spec(package) is not None for package in PACKAGES[engine])


def openvino_precisions() -> frozenset[Precision]:
    """What OpenVINO computes in on this CPU; it takes any other silently as f32."""
    from shared.models.engines.openvino import core

    named = set(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return frozenset(precision for precision, name in CAPABILITIES.items() if name in named)


def _engine(card: Card, asked: str) -> EngineName:
    for engine in ENGINES:
        if engine == asked:
            return engine
    raise EngineError(f"card {card.name}: engine {asked!r} is not one of auto, {', '.join(ENGINES)}")


def _automatic(card: Card, device: str) -> EngineName:
    if device != "cpu":
        return "torch"
    for engine in card.engines:
        if engine in ON_CPU and installed(engine):
            return engine
    raise EngineError(f"card {card.name} runs in {' or '.join(card.engines)}: not installed here")


def _named(card: Card, options: LoadOptions, engine: EngineName) -> tuple[EngineName, str]:
    if engine not in card.engines:
        raise EngineError(f"card {card.name} runs in {' or '.join(card.engines)}, not in {engine}")
    if not installed(engine):
        wanted = ", ".join(PACKAGES[engine])
        raise EngineError(f"card {card.name}: engine {engine} is not installed here (it takes {wanted})")
    device = "cpu" if engine not in ON_GPU and options.device == "auto" else choose_device(options.device)
    if engine not in ON_GPU and device != "cpu":
        raise EngineError(f"card {card.name}: engine {engine} runs on the CPU only, not on {device}")
    if engine not in ON_CPU and device == "cpu":
        raise EngineError(f"card {card.name}: engine {engine} needs a GPU, and the device is the CPU")
    return engine, device


def _allowed(card: Card, options: LoadOptions, device: str) -> str:
    if options.device not in ("auto", "cpu") and device == "cpu":
        raise EngineError(f"card {card.name}: device {options.device} was asked for and needs the engine torch")
    return device


def _check_precision(card: Card, options: LoadOptions, engine: EngineName) -> None:
    precision = parse_precision(options.precision)
    asked = f"card {card.name}: precision {precision} was asked for"
    if engine == "openvino" and precision not in (possible := openvino_precisions()):
        raise EngineError(f"{asked}, and this CPU computes in {', '.join(sorted(possible))}")
    if precision == "int8" and engine != "openvino":
        raise EngineError(f"{asked}, which is a graph for the engine openvino, not for {engine}")
    if engine == "onnxruntime" and precision != "f32":
        raise EngineError(f"{asked}, and the engine onnxruntime computes in f32 here")
    if not (options.unchecked or card.checked(engine, precision)):
        command = f"segserve agree {card.name} --engine {engine} --precision {precision} --data FOLDER"
        raise EngineError(
            f"{asked}, and the card has no check of it on {engine}. `{command}` says what it does to the answers; "
            "`unchecked: true` takes it all the same"
        )


def _gpus() -> int:
    if not installed("torch"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
