"""What every adapter of a dense network does alike: weights, graph and engine from a card, and a model per role."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import label_space
from shared.models.engines.choice import engine_for
from shared.models.engines.engine import Engine
from shared.models.engines.windows import WindowedEngine
from shared.models.geometry import Size, place
from shared.models.normalise import pixel_graph
from shared.models.postprocess.dense_crf import refined_labels
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid
from shared.models.runner import DenseModel, Finish, Seen, largest
from shared.models.weights import Library, Weighted, load_network
from shared.protocols import LoadedModels
from shared.types import DenseInput, Role, SemanticOutput

LOGITS = "logits"
Wrap = Callable[[nn.Module], nn.Module]
"""A library's network as a module from [n,3,h,w] floats to a tuple of tensors."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A card's network on its engine, before anything is said about roles."""

    card: Card
    weighted: Weighted
    engine: Engine

    def model(self, role: Role, finish: Finish[Any]) -> DenseModel[Any]:
        """A model whose answers `finish` makes; only semantic ones augment."""
        scales = self.card.tta_scales if role == "semantic" else ()
        return DenseModel(self.engine, self.card.preprocess, finish, scales)

    def loaded(self, models: Mapping[Role, DenseModel[Any]], roles: Sequence[Role]) -> LoadedModels:
        """The models of the roles asked for."""
        chosen = {role: models[role] for role in roles}
        return LoadedModels(chosen, self.weighted.sha256, self.engine.name, "", self.weighted.parameters)


def prepare(
    card: Card,
    options: LoadOptions,
    library: Library,
    wrap: Wrap,
    outputs: tuple[str, ...],
    asks_valid: bool = False,
) -> Prepared:
    """Load the weights, put the network behind its preprocessing, and onto its engine.

    Raises `WeightsError` or `EngineError`.
    """
    weighted = load_network(card, library, options.weights_dir)
    graph = pixel_graph(card.preprocess, wrap(weighted.module), outputs, asks_valid)
    engine = engine_for(graph, card, options, weighted.sha256)
    if card.preprocess.window is not None:
        engine = WindowedEngine(engine, Size(*card.preprocess.window), card.preprocess.window_overlap)
    return Prepared(card, weighted, engine)


def load_semantic(card: Card, options: LoadOptions, library: Library, wrap: Wrap) -> LoadedModels:
    """Models of a network that `wrap` turns into pixels to class logits [n,c,h,w]."""
    prepared = prepare(card, options, library, wrap, (LOGITS,))
    loaded = prepared.loaded({"semantic": prepared.model("semantic", semantic_finish(card))}, options.roles)
    return replace(loaded, crf=card.dense_crf is not None)


class Plain(nn.Module):
    """A network that gives its class logits and nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        """Normalised [n,3,h,w] to the network's logits [n,c,..], the only output."""
        return (self.network(pixel_values),)


def semantic_finish(card: Card) -> Finish[SemanticOutput]:
    """Logits of one or more views to a label map, refined by the card's dense CRF where that is asked for.
    `extras.temperature` (default 1) calibrates the confidence."""
    temperature = float(card.extras.get("temperature", 1.0))
    classes = len(label_space(card.label_space).labels)

    def finish(item: DenseInput, views: Sequence[Seen]) -> SemanticOutput:
        grids = [Grid(seen.outputs[LOGITS], seen.view.placement.extent, seen.view.mirrored) for seen in views]
        require_classes(card, grids[0].logits.shape[0], classes)
        if item.crf and card.dense_crf is not None:
            shown = math.prod(place(card.preprocess, *item.size).valid)
            return refined_labels(grids, item.pixels, shown, card.dense_crf, temperature)
        return label_map(grids, item.size, classes, temperature, alone=item.labels_alone, seen=largest(views))

    return finish


def require_classes(card: Card, found: int, wanted: int) -> None:
    """Raises `ValueError` unless the network has the classes of the card's label space."""
    if found != wanted:
        raise ValueError(f"card {card.name}: the network has {found} classes, {card.label_space} has {wanted}")
