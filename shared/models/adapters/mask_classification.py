"""Mask2Former, MaskFormer and EoMT of transformers: one network of queries, each a class and a mask, for three tasks.

The library's own post-processing is not used: it thresholds at 384 x 384, keeps padding, and lets weak masks erase
strong ones. `thresholds` are those of panoptic inference; `extras.instance_score` (default: `thresholds.score`) is the
lowest score of an instance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import LabelSpace, label_space
from shared.models.adapters.dense import prepare, require_classes
from shared.models.engines.host import arrived
from shared.models.postprocess import panoptic as fuse
from shared.models.postprocess.mask_queries import Wanted, instances
from shared.models.postprocess.prompt_masks import padded
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid
from shared.models.runner import Finish, Seen, largest
from shared.models.weights import TRANSFORMERS
from shared.protocols import LoadedModels
from shared.types import DenseInput, InstanceOutput, PanopticOutput, Role, SemanticOutput

CLASSES, MASKS = "class_logits", "mask_logits"
SCORES = "scores"


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The models of the tasks that the card lists, on one network. Raises `WeightsError` or `EngineError`."""
    if card.preprocess.window is not None:
        return _load_windowed(card, options)
    prepared = prepare(card, options, TRANSFORMERS, Queries, (CLASSES, MASKS))
    models = {role: prepared.model(role, finisher(card, role)) for role in options.roles}
    return prepared.loaded(models, options.roles)


def _load_windowed(card: Card, options: LoadOptions) -> LoadedModels:
    """A network that looks through windows: what its queries say is joined as scores of classes, which is semantic
    only."""
    prepared = prepare(card, options, TRANSFORMERS, ClassScores, (SCORES,))
    classes = len(label_space(card.label_space).labels)

    def finish(item: DenseInput, views: Sequence[Seen]) -> SemanticOutput:
        require_classes(card, views[0].outputs[SCORES].shape[0], classes)
        grids = [_grid(seen, SCORES) for seen in views]
        return label_map(grids, item.size, classes, scores=[_at_most_one] * len(views), seen=largest(views))

    return prepared.loaded({"semantic": prepared.model("semantic", finish)}, options.roles)


def finisher(card: Card, role: Role) -> Finish[Any]:
    """What makes this role's answers of the network's queries."""
    makers: dict[Role, Callable[[Card, LabelSpace], Finish[Any]]] = {
        "semantic": semantic_finish,
        "instance": instance_finish,
        "panoptic": panoptic_finish,
    }
    return makers[role](card, label_space(card.label_space))


class Queries(nn.Module):
    """[n,3,h,w] to class logits [n,q,c+1] (the last is "no object") and mask logits [n,q,h',w']."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        # EoMT asks in each of its last blocks whether to mask, which must not be a question to the GPU.
        if isinstance(masked := getattr(network, "attn_mask_probs", None), Tensor):
            del network.attn_mask_probs
            network.attn_mask_probs = tuple(masked.tolist())

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised [n,3,h,w] to class logits [n,q,c+1] and mask logits [n,q,h',w']."""
        found = self.network(pixel_values=pixel_values)
        return found.class_queries_logits, found.masks_queries_logits


class ClassScores(nn.Module):
    """[n,3,h,w] to the sum over queries of a class's probability times the mask's, [n,c,h',w']."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.queries = Queries(network)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        """Normalised [n,3,h,w] to scores [n,c,h',w'] from 0, "no object" left out; they need not sum to 1."""
        classes, masks = self.queries(pixel_values)
        return (torch.einsum("nqc,nqhw->nchw", classes.softmax(dim=-1)[..., :-1], masks.sigmoid()),)


def semantic_finish(card: Card, space: LabelSpace) -> Finish[SemanticOutput]:
    """Each class scores the sum over queries of its probability times the mask's."""

    def finish(item: DenseInput, views: Sequence[Seen]) -> SemanticOutput:
        scores = [_class_scores(_probabilities(card, space, seen)[:, :-1]) for seen in views]
        grids = [_grid(seen) for seen in views]
        return label_map(grids, item.size, len(space.labels), scores=scores, seen=largest(views))

    return finish


def instance_finish(card: Card, space: LabelSpace) -> Finish[InstanceOutput]:
    """Queries of things, each with its own mask."""
    lowest = float(card.extras.get("instance_score", card.thresholds.score))

    def finish(item: DenseInput, views: Sequence[Seen]) -> InstanceOutput:
        (seen,) = views
        masks, placement = seen.outputs[MASKS], seen.view.placement
        low = (int(masks.shape[1]), int(masks.shape[2]))
        return instances(
            _probabilities(card, space, seen)[:, :-1],
            masks,
            padded(low, placement.canvas, placement.valid, placement.image),
            Wanted(
                space.things,
                lowest if item.score_threshold is None else item.score_threshold,
                item.max_instances or card.thresholds.max_instances,
            ),
        )

    return finish


def panoptic_finish(card: Card, space: LabelSpace) -> Finish[PanopticOutput]:
    """One segment a pixel."""

    def finish(item: DenseInput, views: Sequence[Seen]) -> PanopticOutput:
        (seen,) = views
        lowest = card.thresholds.score if item.score_threshold is None else item.score_threshold
        found = fuse.candidates(_probabilities(card, space, seen), _grid(seen), lowest)
        return fuse.panoptic(found, item.size, space.things, card.thresholds.overlap)

    return finish


def _probabilities(card: Card, space: LabelSpace, seen: Seen) -> Tensor:
    logits = arrived(seen.outputs[CLASSES])
    require_classes(card, logits.shape[-1] - 1, len(space.labels))
    return logits.softmax(dim=-1)


def _class_scores(probabilities: Tensor) -> Callable[[Tensor], Tensor]:
    """Mask logits [rows,w,q] to class scores [rows,w,c], which sum to at most 1 a pixel."""

    def scores(tile: Tensor) -> Tensor:
        return _at_most_one(tile.sigmoid() @ probabilities)

    return scores


def _at_most_one(summed: Tensor) -> Tensor:
    """Scores [rows,w,c], scaled down where they sum to more than 1."""
    return summed / summed.sum(dim=-1, keepdim=True).clamp(min=1)


def _grid(seen: Seen, output: str = MASKS) -> Grid:
    return Grid(seen.outputs[output], seen.view.placement.extent, seen.view.mirrored)
