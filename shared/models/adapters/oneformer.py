"""OneFormer of transformers: one network whose queries are told the task, for all three of them.

Jain et al. 2023, https://arxiv.org/abs/2211.06220. The task goes in as the tokens of a sentence, so each task is a
graph of its own over the same weights; what comes out is read as Mask2Former's is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.mask_classification import CLASSES, MASKS, finisher
from shared.models.engines.choice import engine_for
from shared.models.hub import tokenizer_of
from shared.models.normalise import pixel_graph
from shared.models.runner import DenseModel
from shared.models.weights import TRANSFORMERS, load_network
from shared.protocols import LoadedModels, Model
from shared.types import Role

SENTENCE = "the task is {}"


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The models of the tasks that the card lists, on one network. Raises `WeightsError` or `EngineError`."""
    weighted = load_network(card, TRANSFORMERS, options.weights_dir)
    network: Any = weighted.module
    tokenizer = tokenizer_of(card, network.config.text_encoder_vocab_size, options.weights_dir)
    models: dict[Role, Model[Any, Any]] = {}
    engine_name = ""
    for role in options.roles:
        told = Told(network, tokens(tokenizer, role, int(network.config.task_seq_len)))
        graph = pixel_graph(card.preprocess, told, (CLASSES, MASKS))
        engine = engine_for(graph, card, options, weighted.sha256, role)
        models[role] = DenseModel(engine, card.preprocess, finisher(card, role), ())
        engine_name = engine.name
    return LoadedModels(models, weighted.sha256, engine_name, "", weighted.parameters)


def tokens(tokenizer: Any, task: str, length: int) -> Tensor:
    """What the network reads of the sentence that names the task, [length]; zeros after its end."""
    given = tokenizer(SENTENCE.format(task), padding="max_length", max_length=length, truncation=True)
    return torch.tensor(given["input_ids"]) * torch.tensor(given["attention_mask"])


class Told(nn.Module):
    """[n,3,h,w] to class logits [n,q,c+1] and mask logits [n,q,h/4,w/4], for one task."""

    def __init__(self, network: Any, task: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("task", task, persistent=False)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised [n,3,h,w] to class logits [n,q,c+1] and mask logits [n,q,h/4,w/4]."""
        task = self.get_buffer("task").expand(len(pixel_values), -1)
        found = self.network(pixel_values=pixel_values, task_inputs=task)
        return found.class_queries_logits, found.masks_queries_logits
