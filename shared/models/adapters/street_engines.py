"""The network `street` on an engine: the exported graphs in OpenVINO without torch, or its torch weights on any engine.

Each engine computes only the outputs that it is asked for; a graph's tail that nobody reads is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.catalog.card import Card, FileWeights
from shared.catalog.loading import LoadOptions
from shared.models.device import choose
from shared.models.engines.engine import Engine

DENSE_OUTPUTS = ("logits", "centres", "offsets")
EMBEDDING, PROMPTS = "embedding", "prompts"
CHANNELS = 80
"""Of an embedding."""


class StreetEngines(Protocol):
    """The parts of the network, each on an engine of its own.

    `dense`: image uint8 [n,h,w,3] to logits [n,11,h/2,w/2], centres [n,3,..] 0 to 1, offsets [n,2,..] in pixels.
    `encoder`: the same image to embedding float16 [n,80,h/4,w/4]. `decoder`: embedding [1,80,h,w] and prompt maps
    float32 [n,6,h,w] to masks [n,3,h,w] and iou [n,3].
    """

    name: str
    sha256: str
    encoder_digest: str
    """Of what makes an embedding: the dense half of the network, without the decoder's weights."""
    parameters: int

    def dense(self, outputs: Sequence[str] = DENSE_OUTPUTS) -> Engine:
        """Semantic, instance and panoptic; semantic alone needs only `logits`, and need not pay for the rest."""
        ...

    def encoder(self) -> Engine:
        """Promptable's embedding."""
        ...

    def decoder(self) -> Engine:
        """Promptable's masks."""
        ...


def open_engines(card: Card, options: LoadOptions) -> StreetEngines:
    """Engines for this card. Raises `WeightsError` or `EngineError`.

    With the engine openvino and a card that names exported graphs (`extras.dense`, `extras.decoder`), torch is not
    imported.
    """
    name, _ = choose(card, options)
    if name == "openvino" and isinstance(card.weights, FileWeights) and "dense" in card.extras:
        from shared.models.adapters.street_exported import ExportedEngines

        return ExportedEngines(card, card.weights, options)
    from shared.models.adapters.street_torch import TorchEngines

    return TorchEngines(card, options)
