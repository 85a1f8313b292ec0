"""A card and its arguments in, running services out: models loaded and warmed, each behind a batcher and a pipeline.

Ordinary Python without Ray: a replica builds itself from this, and so does the gateway's in-process layout.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from shared.calls import ModelInfo
from shared.catalog.card import ROLES_OF_TASK, Card
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load, settle
from shared.protocols import DenseService, ImageModel, LoadedModels, Model, Sink, SizeSeen
from shared.serving.args import ServiceArgs, UserConfig
from shared.serving.batcher import Batcher
from shared.serving.pixels import counted
from shared.serving.pulse import HEARTBEAT, Pulse
from shared.serving.ride import COST, Ride, with_rides
from shared.serving.slots import Slots
from shared.settings import Settings
from shared.types import DenseTask, Role, Task

logger = logging.getLogger(__name__)

PIPELINES: Mapping[DenseTask, str] = {
    "semantic": "services.semantic.pipeline:SemanticPipeline",
    "instance": "services.instance.pipeline:InstancePipeline",
    "panoptic": "services.panoptic.pipeline:PanopticPipeline",
}
"""The pipeline of each dense task, by name, so that a universal model serves several from one replica and no service
imports another."""


@dataclass(slots=True)
class LoadedCard:
    """A card whose models are loaded and warm, each role behind its batcher."""

    card: Card
    info: ModelInfo
    batchers: dict[Role, Batcher[Any, Any]]
    pulse: Pulse
    sights: Mapping[Role, SizeSeen] = field(default_factory=dict)
    """Of the models that say at what size they see an image."""

    def reconfigure(self, config: UserConfig) -> None:
        """Apply live caps from the next batch on."""
        for role, batcher in self.batchers.items():
            prompts = config.max_prompts if role == "decoder" else None
            batcher.reconfigure(
                max_batch=prompts or config.max_batch,
                max_cost=config.max_pixels,
                max_queue=config.max_queue,
                max_wait_s=config.max_wait_ms / 1000,
            )


@dataclass(slots=True)
class DenseAssembly:
    """The dense services of one model."""

    loaded: LoadedCard
    services: dict[DenseTask, DenseService] = field(default_factory=dict)


def load_card(args: ServiceArgs, roles: Sequence[Role], settings: Settings, sink: Sink) -> LoadedCard:
    """Load and warm the models of `roles`. Raises what the catalog, the loader or the warm-up raises: a model that
    cannot run must not start."""
    card = find_card(args.model, settings.card_dirs)
    missing = set(args.tasks) - set(card.tasks)
    if missing:
        raise ValueError(f"args.tasks: the card {card.name} has {', '.join(card.tasks)}, not {', '.join(missing)}")
    if args.tiny:
        card = card.shrunk()
    begun = time.monotonic()
    options = settle(card, _load_options(args, roles, settings, lambda: _count_fallback(sink, card.name)))
    loaded = load(card, options)
    if card.dense_crf is not None and "semantic" in loaded.roles and not loaded.crf:
        raise ValueError(f"card {card.name}: dense_crf is for networks that give class logits, {card.loader} has none")
    for model in loaded.roles.values():
        model.warm()
    seconds = time.monotonic() - begun
    for role in loaded.roles:
        sink.observe("segserve_model_load_seconds", seconds, model=card.name, role=role)
        built = {"engine": loaded.engine, "precision": options.precision, "version": card.version}
        sink.gauge("segserve_model_info", 1, model=card.name, role=role, **built)
    sink.gauge("segserve_slots", args.slots, model=card.name)
    logger.info("%s loaded on %s in %s, warm after %.2f s", card.name, loaded.engine, options.precision, seconds)
    slots, pulse = Slots(args.slots), Pulse()
    batchers = {role: _batcher(model, role, card.name, slots, pulse, sink) for role, model in loaded.roles.items()}
    pulse.batchers = tuple(batchers.values())
    info = model_info(card, loaded, args.tasks, options.precision)
    sights = {role: model.seen for role, model in loaded.roles.items() if isinstance(model, ImageModel)}
    return LoadedCard(card, info, batchers, pulse, sights)


def assemble_dense(args: ServiceArgs, settings: Settings, sink: Sink) -> DenseAssembly:
    """The services of `args.tasks`, which share one network and one codec pool."""
    tasks: list[DenseTask] = [task for task in args.tasks if task != "promptable"]
    if len(tasks) != len(args.tasks) or not tasks:
        raise ValueError(f"args.tasks: dense tasks are {', '.join(PIPELINES)}, not {', '.join(args.tasks) or 'none'}")
    roles = [role for task in tasks for role in ROLES_OF_TASK[task]]
    loaded = load_card(args, roles, settings, sink)
    executor = ThreadPoolExecutor(args.codec_threads, "codec")
    return DenseAssembly(loaded, dense_services(loaded, settings, sink, executor, args.rides))


def dense_services(
    loaded: LoadedCard, settings: Settings, sink: Sink, executor: Executor, rides: bool
) -> dict[DenseTask, DenseService]:
    """A pipeline for each dense task that the loaded card serves; they share `executor` for decoding and encoding,
    unless that `rides` with the forward pass."""
    services: dict[DenseTask, DenseService] = {}
    for task in loaded.info.tasks:
        if task != "promptable":
            pipeline = named(PIPELINES[task])
            sight = loaded.sights.get(task)
            services[task] = pipeline(loaded.info, loaded.batchers[task], settings, sink, executor, rides, sight)
    return services


def named(path: str) -> Any:
    """What stands at `module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def model_info(card: Card, loaded: LoadedModels, tasks: tuple[Task, ...], precision: str = "f32") -> ModelInfo:
    """What `/v1/models` shows of a loaded card that serves `tasks`."""
    return ModelInfo(
        name=card.name,
        version=card.version,
        tasks=tasks,
        label_space=card.label_space,
        weights_sha256=loaded.weights_sha256,
        engine=loaded.engine,
        precision=precision,
        parameters=loaded.parameters,
        licence=card.licence,
        summary=card.summary,
        default_for=tuple(task for task in card.default_for if task in tasks),
        encoder_fingerprint=loaded.encoder_fingerprint,
        paper=card.paper,
        figures=tuple((f"{figure.metric} on {figure.on}", figure.value) for figure in card.figures),
        text_prompts=card.text_prompts,
        tta=bool(card.tta_scales),
        crf=loaded.crf,
    )


def _count_fallback(sink: Sink, model: str) -> None:
    sink.count("segserve_model_fallback_total", model=model, reason="shape")


def _load_options(
    args: ServiceArgs, roles: Sequence[Role], settings: Settings, on_unforeseen_shape: Callable[[], None]
) -> LoadOptions:
    return LoadOptions(
        roles=tuple(dict.fromkeys(roles)),
        engine=args.engine,
        precision=args.precision,
        unchecked=args.unchecked,
        device=args.device,
        threads=args.threads,
        weights_dir=settings.weights_dir,
        cache_dir=settings.home / "compiled",
        max_batch=args.max_batch,
        in_flight=args.slots,
        on_unforeseen_shape=on_unforeseen_shape,
    )


def _batcher(
    model: Model[Any, Any], role: Role, name: str, slots: Slots, pulse: Pulse, sink: Sink
) -> Batcher[Any, Any]:
    caps = UserConfig()
    return Batcher(
        with_rides(pulse.watched(counted(model, name, role, sink))),
        max_batch=caps.max_batch,
        max_cost=caps.max_pixels,
        max_queue=caps.max_queue,
        max_wait_s=caps.max_wait_ms / 1000,
        cost=lambda item: COST if item is HEARTBEAT or isinstance(item, Ride) else model.cost(item),
        key=lambda item: item is HEARTBEAT,
        slots=slots,
        sink=sink,
        model=name,
        role=role,
    )
