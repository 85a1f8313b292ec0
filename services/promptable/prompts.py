"""Prompts against the image they are about: the embedding knows its size, so every prompt can be checked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.errors import Detail, InvalidOption, detail
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


def check_prompts(prompts: Sequence[Prompt], size: tuple[int, int], takes_text: bool) -> None:
    """Raises `InvalidOption` that names every prompt at fault on an image of `size` (H, W)."""
    problems = [
        problem for index, prompt in enumerate(prompts) for problem in _problems(prompt, size, takes_text, index)
    ]
    if problems:
        raise InvalidOption(f"{problems[0].field}: {problems[0].reason}", tuple(problems))


def _problems(prompt: Prompt, size: tuple[int, int], takes_text: bool, index: int) -> Iterator[Detail]:
    name = f"prompts[{index}]"
    if not len(prompt.points) and prompt.box is None and prompt.mask is None and prompt.text is None:
        yield detail(name, None, "points, box, mask or text", "a prompt needs at least one of these")
    if prompt.text is not None and not takes_text:
        yield detail(f"{name}.text", prompt.text, "points, box, mask", "this model takes no text")
    if len(prompt.labels) != len(prompt.points):
        yield detail(f"{name}.labels", len(prompt.labels), len(prompt.points), "one label a point")
    if not {0, 1}.issuperset(prompt.labels.tolist()):
        yield detail(f"{name}.labels", None, "0 or 1", "a label is 1 (inside) or 0 (outside)")
    width, height = size[1], size[0]
    shown = f"x from 0 to {size[1]}, y from 0 to {size[0]}"
    for number, (x, y) in enumerate(prompt.points.tolist()):
        if not (0 <= x <= width and 0 <= y <= height):
            yield detail(f"{name}.points[{number}]", [x, y], shown, "outside the image")
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if not all(0 <= x <= width and 0 <= y <= height for x, y in ((x0, y0), (x1, y1))):
            yield detail(f"{name}.box", list(prompt.box), shown, "outside the image")
        elif not (x0 < x1 and y0 < y1):
            yield detail(f"{name}.box", list(prompt.box), "x0 < x1 and y0 < y1", "a box has an area")
