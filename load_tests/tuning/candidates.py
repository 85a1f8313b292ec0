"""A card and a machine in, the ways worth trying to serve the one on the other out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deploy.layouts import Layout, Serving
from shared.catalog.card import Card
from shared.models.device import choose_device, harmless, installed
from shared.types import DenseTask, EngineName


class Untunable(ValueError):
    """There is nothing to try; the message says why."""


def dense_task(card: Card, asked: str | None) -> DenseTask:
    """The task to tune for: the one asked for, else the card's first dense one. Raises `Untunable`."""
    dense: list[DenseTask] = [task for task in card.tasks if task != "promptable"]
    if not dense:
        raise Untunable(f"{card.name} has no dense task: clicks cost milliseconds and are not tuned here")
    for task in dense:
        if asked in (None, task):
            return task
    raise Untunable(f"{card.name} serves {', '.join(dense)}, not {asked}")


def layouts(cores: int) -> list[Layout]:
    """Every even way to spread the cores over replicas, from one replica with all threads to one a core, and one
    replica with a pass a core in flight; then the same fused."""
    counts = [replicas for replicas in range(1, cores + 1) if cores % replicas == 0]
    found = [Layout(replicas, cores // replicas) for replicas in counts]
    if cores > 1:
        found.append(Layout(1, cores, in_flight=cores))
    return found + [replace(each, fused=True) for each in found]


def engines(card: Card, asked: Sequence[str] = ()) -> list[tuple[EngineName, str]]:
    """(engine, precision): the card's engines that are installed here, in f32 and in what costs it next to nothing by
    its checks.

    Raises `Untunable` for an engine that the card does not have or that is not installed.
    """
    here = [engine for engine in card.engines if installed(engine)]
    for name in asked:
        if name not in here:
            known = ", ".join(here) or "none"
            raise Untunable(f"{name} is no engine of {card.name} that is installed here; there are: {known}")
    found: list[tuple[EngineName, str]] = []
    for engine in here:
        if engine in asked or not asked:
            found.append((engine, "f32"))
            checked = dict.fromkeys(each.precision for each in card.checks if each.engine == engine)
            found += [(engine, precision) for precision in checked if harmless(card, engine, precision)]
    if not found:
        raise Untunable(f"none of the engines of {card.name} ({', '.join(card.engines)}) is installed here")
    return list(dict.fromkeys(found))


def batches() -> list[int]:
    """Largest batches worth trying here: on a CPU a batch buys nothing, and its first image waits for its last."""
    return [1] if choose_device("auto") == "cpu" else [1, 8, 32]


def candidates(
    card: Card,
    task: DenseTask,
    choices: Iterable[tuple[EngineName, str]],
    batches: Sequence[int],
    spread: Sequence[Layout],
) -> list[Serving]:
    """Everything against everything, engines outermost: their graphs are compiled once each. Of the engines openvino
    alone shares its threads among passes in flight."""
    return [
        Serving(card.name, task, layout, engine, precision, max_batch)
        for engine, precision in choices
        for layout in spread
        for max_batch in batches
        if layout.in_flight == 1 or engine == "openvino"
    ]
