"""Prompts against the image they are about: the embedding knows its size, so every prompt can be checked here."""

from __future__ import annotations

from collections.abc import Sequence

from shared.serving.prompts import Asked, Bounds, check_prompts
from shared.types import DecoderInput, Embedding, Prompt


def decoder_items(prompts: Sequence[Prompt], embedding: Embedding, multimask: bool | None) -> list[DecoderInput]:
    """One item a prompt. `multimask` None: three candidates for a single click, one otherwise."""
    return [
        DecoderInput(embedding, prompt, is_single_click(prompt) if multimask is None else multimask)
        for prompt in prompts
    ]


def is_single_click(prompt: Prompt) -> bool:
    """One point inside and nothing else: it may mean a part, an object or a group."""
    alone = prompt.box is None and prompt.mask is None and prompt.text is None
    return alone and len(prompt.points) == 1 and int(prompt.labels[0]) == 1


def check(prompts: Sequence[Prompt], bounds: Bounds) -> None:
    """Raises `InvalidOption` that names every prompt at fault."""
    check_prompts(map(_asked, prompts), bounds)


def _asked(prompt: Prompt) -> Asked:
    box = None if prompt.box is None else list(prompt.box)
    return Asked(prompt.points, prompt.labels.tolist(), box, prompt.mask is not None, prompt.text)
