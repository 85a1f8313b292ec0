"""The torch weights of `street` as graphs for any engine: the only part of its adapter that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared.catalog.card import Card, FileWeights, RandomWeights
from shared.catalog.loading import LoadOptions
from shared.models.adapters.street_engines import DENSE_OUTPUTS
from shared.models.device import choose
from shared.models.engines.choice import engine_for
from shared.models.engines.engine import Engine
from shared.models.engines.graph import Graph
from shared.models.files import WeightsError, digest, locate, verify
from shared.models.networks.street import StreetNet, normalise
from shared.models.networks.street_graph import DecoderGraph
from shared.models.networks.street_weights import Street, build, load_street, parameter_count
from shared.models.weights import digest_of, digest_tensors

UINT8, FLOAT16, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float16), np.dtype(np.float32)


class Heads(nn.Module):
    """Image uint8 [n,h,w,3] to logits at 1/2, centres (0 to 1) and offsets at 1/4."""

    def __init__(self, net: StreetNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 RGB to logits [n,11,h/2,w/2], centre scores [n,3,h/4,w/4] in 0-1, offsets [n,2,h/4,w/4] in pixels."""
        out = self.net(normalise(image.permute(0, 3, 1, 2).float()))
        return out.logits, out.centres.sigmoid(), out.offsets


class Encoder(nn.Module):
    """Image uint8 [n,h,w,3] to the embedding at 1/4."""

    def __init__(self, net: StreetNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 RGB [n,h,w,3] to the embedding [n,80,h/4,w/4], the only output."""
        return (self.net.embed(normalise(image.permute(0, 3, 1, 2).float())),)


class TorchEngines:
    """See `StreetEngines`."""

    def __init__(self, card: Card, options: LoadOptions) -> None:
        self.name: str = choose(card, options)[0]
        self._card, self._options = card, options
        self._street, self.sha256 = _weights(card, options)
        self.encoder_digest = digest_of(digest_tensors(self._street.dense))
        self.parameters = parameter_count(self._street)
        if card.parameters not in (0, self.parameters):
            raise WeightsError(
                f"card {card.name}: the network has {self.parameters} parameters, the card says {card.parameters}"
            )

    def dense(self, outputs: Sequence[str] = DENSE_OUTPUTS) -> Engine:
        """See `StreetEngines`: all outputs, whichever are needed."""
        return self._engine(Graph(Heads(self._street.dense), {"image": UINT8}, DENSE_OUTPUTS))

    def encoder(self) -> Engine:
        """See `StreetEngines`."""
        return self._engine(Graph(Encoder(self._street.dense), {"image": UINT8}, ("embedding",)))

    def decoder(self) -> Engine:
        """See `StreetEngines`."""
        inputs: dict[str, np.dtype[Any]] = {"embedding": FLOAT16, "prompts": FLOAT32}
        graph = Graph(DecoderGraph(self._street.decoder), inputs, ("masks", "iou"), frozenset(("embedding",)))
        return self._engine(graph)

    def _engine(self, graph: Graph) -> Engine:
        return engine_for(graph, self._card, self._options, self.sha256, type(graph.module).__name__)


def _weights(card: Card, options: LoadOptions) -> tuple[Street, str]:
    """Both halves of the network, and the digest of their weights."""
    match card.weights:
        case FileWeights(path=path, sha256=sha256):
            file = locate(card.name, path, options.weights_dir)
            verify(card.name, file, sha256)
            try:
                return load_street(file), digest(file)
            except (RuntimeError, OSError) as error:
                raise WeightsError(f"card {card.name}: {file} does not hold this network: {error}") from error
        case RandomWeights(seed=seed):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                street = build()
            return street, digest_of(digest_tensors(nn.ModuleList(street)))
        case other:
            raise WeightsError(f"card {card.name}: weights of source {other.source} are not offered for this network")
