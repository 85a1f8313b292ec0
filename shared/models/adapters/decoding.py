"""A batch of prompts through a decoder: prompts of one kind together, across images and callers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from shared.models.engines.engine import Engine
from shared.types import DecoderInput, DecoderOutput

Kind = TypeVar("Kind", bound=Hashable)


def by_kind(
    batch: Sequence[DecoderInput],
    kind_of: Callable[[DecoderInput], Kind],
    engine_of: Callable[[Kind], Engine],
    decode: Callable[[Engine, Sequence[DecoderInput]], Sequence[DecoderOutput]],
) -> list[DecoderOutput]:
    """What `decode` says of prompts of one kind, no more at once than the kind's engine wants, in the batch's order."""
    groups: dict[Kind, list[int]] = defaultdict(list)
    for index, item in enumerate(batch):
        groups[kind_of(item)].append(index)
    outputs: dict[int, DecoderOutput] = {}
    for kind, members in groups.items():
        engine = engine_of(kind)
        for start in range(0, len(members), engine.batch_limit):
            part = members[start : start + engine.batch_limit]
            outputs.update(zip(part, decode(engine, [batch[i] for i in part]), strict=True))
    return [outputs[index] for index in range(len(batch))]
