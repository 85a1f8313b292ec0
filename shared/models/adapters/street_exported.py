"""The graphs of `street` that training exported, in OpenVINO: the only part of its adapter that imports it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import openvino as ov

from shared.catalog.card import Card, FileWeights
from shared.catalog.loading import LoadOptions
from shared.models.adapters.street_engines import CHANNELS, DENSE_OUTPUTS, EMBEDDING, PROMPTS
from shared.models.device import EngineError
from shared.models.engines.engine import Engine, counted
from shared.models.engines.halves import HalvedEngine
from shared.models.engines.openvino import OpenVinoEngine, OpenVinoOptions, core, input_dtypes, reshaped
from shared.models.files import digest, locate, quick_digest, verify
from shared.models.postprocess.street_prompts import MAPS

INT8_OUTPUTS = (*DENSE_OUTPUTS, EMBEDDING)
"""What the quantised graph computes; prompts are decoded in f32."""
SOURCE_KEY = ("segserve", "quantised_from")
"""Where a quantised graph keeps the SHA-256 of the f32 weights that it was made from."""


class ExportedEngines:
    """The graphs that training exported, from their files."""

    name = "openvino"

    def __init__(self, card: Card, weights: FileWeights, options: LoadOptions) -> None:
        path = locate(card.name, weights.path, options.weights_dir)
        verify(card.name, path, weights.sha256)
        self.sha256 = digest(path)
        self.parameters = card.parameters
        self._dense = locate(card.name, str(card.extras["dense"]), options.weights_dir)
        if options.precision == "int8":
            self._dense = quantised(card, options, self.sha256)
            self.sha256 = digest(self._dense.with_suffix(".bin"))
        self.encoder_digest = quick_digest(self._dense, self._dense.with_suffix(".bin"))
        self._decoder = locate(card.name, str(card.extras["decoder"]), options.weights_dir)
        self._options = OpenVinoOptions.of(options)
        self._on_unforeseen = counted(options.on_unforeseen_shape)

    def dense(self, outputs: Sequence[str] = DENSE_OUTPUTS) -> Engine:
        """See `StreetEngines`."""
        return self._engine(self._dense, outputs)

    def encoder(self) -> Engine:
        """See `StreetEngines`."""
        return self._engine(self._dense, (EMBEDDING,))

    def decoder(self) -> Engine:
        """See `StreetEngines`. What the embedding alone decides is computed once for each embedding."""
        model = core().read_model(str(self._decoder))
        return HalvedEngine(model, (EMBEDDING, CHANNELS), (PROMPTS, MAPS), self._options, self._on_unforeseen)

    def _engine(self, path: Path, outputs: Sequence[str]) -> Engine:
        model = pruned(core().read_model(str(path)), outputs)
        return OpenVinoEngine(partial(reshaped, model), input_dtypes(model), self._options, self._on_unforeseen)


def quantised(card: Card, options: LoadOptions, weights_sha256: str) -> Path:
    """The graph in int8. Raises `EngineError` where the card names none, or it was made from other weights."""
    if "dense_int8" not in card.extras:
        raise EngineError(f"card {card.name}: precision int8 needs a quantised graph, and this card names none")
    path = locate(card.name, str(card.extras["dense_int8"]), options.weights_dir)
    model, key = core().read_model(str(path)), list(SOURCE_KEY)
    if not model.has_rt_info(key) or model.get_rt_info(key).astype(str) != weights_sha256:
        raise EngineError(
            f"card {card.name}: {path.name} was quantised from other weights: "
            "`python -m shared.models.training.quantise` makes it anew"
        )
    return path


def pruned(model: ov.Model, outputs: Sequence[str]) -> ov.Model:
    """The part of the graph that these outputs need. Raises `KeyError` for an output that it does not have."""
    results = {port.get_any_name(): port.get_node() for port in model.outputs}
    return ov.Model([results[name] for name in outputs], model.get_parameters(), model.get_friendly_name())
