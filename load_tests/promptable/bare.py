"""The model itself in this process, without a server: what served clicks are compared with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from shared.catalog.card import Card
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load, settle
from shared.imaging.compose import encode_picture
from shared.imaging.sample import street_scene
from shared.models.adapters.street_prompt import StreetDecoder
from shared.models.engines.openvino import OpenVinoEngine, OpenVinoOptions, from_ir
from shared.models.files import locate
from shared.protocols import Model
from shared.settings import settings
from shared.types import DecoderInput, DecoderOutput, Embedding, EncoderInput, Prompt, UInt8Array

Decoder = Model[DecoderInput, DecoderOutput]
SERVED, WHOLE = "as served", "one graph"


class Bare:
    """Encoder and decoders of a card, called directly with as many threads as the platform gives them.

    `decoders`: the decoder `SERVED`, and where that one is cut in two halves also the `WHOLE` network in one graph,
    which is faster at computing all of it each time. Whoever compares takes the fastest.
    """

    def __init__(self, model: str, threads: int, max_batch: int, precision: str = "f32") -> None:
        """`precision` as in the Serve YAML; "auto" is decided as a replica decides it."""
        here = settings()
        self.threads = threads
        options = LoadOptions(
            roles=("encoder", "decoder"),
            engine="auto",
            precision=precision,
            device="auto",
            threads=threads,
            weights_dir=here.weights_dir,
            cache_dir=here.home / "compiled",
            max_batch=max_batch,
            in_flight=threads,
        )
        card = find_card(model, here.card_dirs)
        options = settle(card, options)
        loaded = load(card, options)
        self.encoder: Model[EncoderInput, Embedding] = loaded.roles["encoder"]
        self.decoder: Decoder = loaded.roles["decoder"]
        self.decoders: Mapping[str, Decoder] = {SERVED: self.decoder, **_in_one_graph(card, options, loaded.engine)}
        self.encoder.warm()
        for decoder in self.decoders.values():
            decoder.warm()

    def embed(self, pixels: UInt8Array) -> Embedding:
        """Float16. Decoding on it is the whole forward pass each time (but see `read_only`)."""
        return self.encoder.predict([EncoderInput(pixels)])[0]

    def click_ms(self, name: str, item: DecoderInput) -> float:
        """Milliseconds of one forward pass of a decoder, with the prompt drawn in and the masks taken out."""
        begun = time.perf_counter()
        self.decoders[name].predict([item])
        return (time.perf_counter() - begun) * 1000

    def clicks_a_second(self, name: str, items: Sequence[DecoderInput], batch: int, seconds: float) -> float:
        """Throughput of batches of this size for so long."""
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds:
            self.decoders[name].predict([items[(done + offset) % len(items)] for offset in range(batch)])
            done += batch
        return done / elapsed

    def beside_a_second(self, name: str, items: Sequence[DecoderInput], seconds: float) -> float:
        """Throughput of as many threads as the network may have, each with passes of its own, for so long."""
        decoder = self.decoders[name]
        until = time.perf_counter() + seconds

        def passes(first: int) -> int:
            done = 0
            while time.perf_counter() < until:
                decoder.predict([items[(first + done) % len(items)]])
                done += 1
            return done

        begun = time.perf_counter()
        with ThreadPoolExecutor(self.threads) as pool:
            done = sum(pool.map(passes, range(self.threads)))
        return done / (time.perf_counter() - begun)


def _in_one_graph(card: Card, options: LoadOptions, engine: str) -> dict[str, Decoder]:
    """The decoder of exported graphs without its cut; nothing for a card that has no such graph."""
    if engine != OpenVinoEngine.name or "decoder" not in card.extras:
        return {}
    path = locate(card.name, str(card.extras["decoder"]), options.weights_dir)
    return {WHOLE: StreetDecoder(from_ir(path, OpenVinoOptions.of(options)), card.preprocess)}


def read_only(embedding: Embedding) -> Embedding:
    """The embedding as the cache keeps it: an engine may then keep its half of the decoder's work, as in a replica."""
    tensors = tuple(tensor.copy() for tensor in embedding.tensors)
    for tensor in tensors:
        tensor.flags.writeable = False
    return Embedding(embedding.size, tensors)


def drawn(seed: int, width: int = 480, height: int = 360) -> tuple[UInt8Array, bytes]:
    """A drawn street, as pixels and as PNG."""
    pixels = street_scene(width, height, seed)[0]
    return pixels, encode_picture(pixels)


def place(turn: int, width: int = 480, height: int = 360) -> tuple[float, float]:
    """Where click number `turn` falls (x, y)."""
    return float(20 + 37 * turn % (width - 40)), float(40 + 53 * turn % (height - 60))


def item(embedding: Embedding, x: float, y: float) -> DecoderInput:
    """One click, three candidates."""
    prompt = Prompt(np.array([[x, y]], dtype=np.float32), np.ones(1, dtype=np.int32))
    return DecoderInput(embedding, prompt, multimask=True)


def wire(x: float, y: float) -> dict[str, object]:
    """The same click as HTTP has it."""
    return {"points": [[x, y]], "labels": [1]}
