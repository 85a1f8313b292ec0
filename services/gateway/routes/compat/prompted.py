"""Prompts of a foreign client on one image in, the native answer to them out: what annotation tools' doors share."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from services.gateway.body import Sent
from services.gateway.routes import promptable
from services.gateway.routes.compat.door import Visit, ask


async def ask_prompts(
    request: Request, visit: Visit, model: str | None, sent: Sent, prompts: list[dict[str, Any]], **options: Any
) -> dict[str, Any]:
    """The native answer; the image is `sent`'s, by bytes or in its values. Raises what `/v1/promptable` would."""
    values = {**sent.values, **options, "prompts": prompts, **({} if model is None else {"model": model})}
    return await ask(request, visit, promptable.KIND, Sent(images=sent.images, values=values))


def best_masks(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The best mask of each prompt that has any."""
    return [result["masks"][0] for result in found["results"] if result["masks"]]
