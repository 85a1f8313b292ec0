"""A network in this process alone: images a second of its passes, one batch size after another; no server.

`python -m load_tests.gpu.bare SPECIFICATION`: a line of JSON out for each network, as it is done. Two threads have a
batch each under way, as in a replica. A pass is pixels in main memory to outputs on the device.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from load_tests.gpu.models import SUBJECTS, Subject, write_card
from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.decode import decode
from shared.models.engines.batch_sizes import batch_sizes
from shared.models.engines.graph import tensors
from shared.types import DenseInput, EncoderInput, UInt8Array

IN_FLIGHT = 2
AGREE_ON = 4
"""Images whose answers are compared with those of eager f32."""
CLOSE = 0.05
"""Values of an embedding agree within this part of their standard deviation."""


def main() -> None:
    """Measure what the specification names."""
    chosen = json.loads(sys.argv[1])
    images = [decode(Path(path).read_bytes(), max_pixels=10**8, max_side=10**5) for path in chosen["images"]]
    if chosen["device"] != "cpu":
        torch.zeros(1, device=chosen["device"])
    for subject in SUBJECTS:
        if subject.card in chosen["models"]:
            say({"model": subject.card, "begun": True})
            try:
                found = measured(subject, chosen, images)
            except Exception as error:
                found = {"failed": f"{type(error).__name__}: {error}"[:600]}
            say({"model": subject.card, **found})
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def say(data: dict[str, Any]) -> None:
    """A line of JSON, at once."""
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def measured(subject: Subject, chosen: dict[str, Any], images: list[UInt8Array]) -> dict[str, Any]:
    """Every figure of one network."""
    card, device = write_card(subject, Path(chosen["cards"]), chosen["tiny"]), chosen["device"]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    options = LoadOptions(
        (subject.role,),
        engine="torch",
        precision=chosen["precision"],
        unchecked=True,
        device=device,
        max_batch=min(subject.max_batch, chosen["max_batch"]),
        in_flight=IN_FLIGHT,
    )
    begun = time.perf_counter()
    model: Any = load(card, options).roles[subject.role]
    loaded = time.perf_counter()
    model.warm()
    warm = time.perf_counter()
    found: dict[str, Any] = {"load_s": round(loaded - begun, 1), "warm_s": round(warm - loaded, 1)}
    found |= {"recorded": recorded(model.engine)}
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        found |= rates(subject, model, options, images, chosen["seconds"], pool)
    if device != "cpu":
        found["gpu_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    found["agreement"] = agreements(subject, card, options, model, images[:AGREE_ON])
    return found


def recorded(engine: Any) -> int:
    """How many passes an engine, or the one within it, has recorded."""
    while engine is not None and not hasattr(engine, "recordings"):
        engine = getattr(engine, "_within", None)
    return 0 if engine is None else len(engine.recordings)


def items(subject: Subject, images: list[UInt8Array], count: int) -> list[Any]:
    """So many inputs of the role."""
    kind = EncoderInput if subject.role == "encoder" else DenseInput
    return [kind(images[index % len(images)]) for index in range(count)]


def rates(
    subject: Subject,
    model: Any,
    options: LoadOptions,
    images: list[UInt8Array],
    seconds: float,
    pool: ThreadPoolExecutor,
) -> dict[str, Any]:
    """Images a second: of passes at each batch size (`passes`), and with resizing and postprocessing at the best of
    them (`predict`)."""
    passes: dict[int, float] = {}
    for size in batch_sizes(options.max_batch):
        arrays = model.arranged(items(subject, images, size))

        def run(arrays: Any = arrays) -> None:
            found = tensors(model.engine, arrays)
            if options.device != "cpu":
                torch.cuda.current_stream().synchronize()
            del found

        passes[size] = size * per_second(run, seconds, pool)
    best = max(passes, key=lambda size: passes[size])
    batch = items(subject, images, best)
    predicted = best * per_second(lambda: model.predict(batch), seconds, pool)
    return {
        "passes": {size: round(rate, 1) for size, rate in passes.items()},
        "best_batch": best,
        "best": round(passes[best], 1),
        "predict": round(predicted, 1),
    }


def per_second(work: Callable[[], object], seconds: float, pool: ThreadPoolExecutor) -> float:
    """How often all threads together do it, over so long and at least twice each, after one turn each."""

    def turns(until: float) -> int:
        done = 0
        while done < 2 or time.perf_counter() < until:
            work()
            done += 1
        return done

    list(pool.map(lambda _: work(), range(IN_FLIGHT)))
    begun = time.perf_counter()
    done = sum(pool.map(turns, [begun + seconds] * IN_FLIGHT))
    return done / (time.perf_counter() - begun)


def agreements(
    subject: Subject, card: Card, options: LoadOptions, model: Any, images: list[UInt8Array]
) -> dict[str, float]:
    """Per cent of labels (or values of embeddings) that are as in eager f32: by this engine in f32, and as chosen."""
    f32 = LoadOptions((subject.role,), engine="torch", device=options.device, max_batch=len(images))
    batch = items(subject, images, len(images))
    plain = load(card, f32).roles[subject.role]
    reference = plain.predict(batch)  # not warm yet: nothing is recorded
    plain.warm()
    answers = {"f32": plain.predict(batch), options.precision: model.predict(batch)}
    return {
        name: round(100 * float(np.mean([equal(*pair) for pair in zip(answer, reference, strict=True)])), 3)
        for name, answer in answers.items()
    }


def equal(ours: Any, theirs: Any) -> float:
    """The part of one answer that is the same in another."""
    if hasattr(ours, "labels"):
        return float(np.mean(ours.labels == theirs.labels))
    parts = []
    for left, right in zip(ours.tensors, theirs.tensors, strict=True):
        exact = right.astype(np.float32)
        parts.append(np.mean(np.abs(left.astype(np.float32) - exact) <= CLOSE * exact.std()))
    return float(np.mean(parts))


if __name__ == "__main__":
    main()
