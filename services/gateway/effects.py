"""The fields of `cutout`, `blur`, `replace` and `recolor` in, one checked `Effect` out.

A field that the format asked for has no use for is refused: it would be ignored in silence.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from services.gateway.body import BACKGROUND
from services.gateway.context import Gateway
from services.gateway.negotiation import packing
from shared.calls import Caller, Effect, Format
from shared.errors import InvalidOption, told_of
from shared.schemas.options import EffectFields

USED_BY: dict[str, Format] = {
    "background": "replace",
    "background_id": "replace",
    BACKGROUND: "replace",
    "color": "recolor",
    "tint": "recolor",
    "blur_strength": "blur",
}
LOOKS = frozenset(EffectFields.model_fields)


async def effect_of(
    here: Gateway, caller: Caller, fields: EffectFields, form: Format, background: bytes | None, accept: str
) -> Effect:
    """Raises `InvalidOption` for fields that do not fit the format, and what the image store raises for a background
    by its id."""
    if form not in ("replace", "recolor") and background is None and fields.model_fields_set.isdisjoint(LOOKS):
        return _plain(packing(accept))
    given = {name for name in USED_BY if name != BACKGROUND and getattr(fields, name) is not None}
    given |= {BACKGROUND} if background is not None else set()
    for name in sorted(given):
        if USED_BY[name] != form:
            raise InvalidOption.of(name, None, f"format={USED_BY[name]}", f"has no use with format={form}")
    behind = sorted(given & {"background", "background_id", BACKGROUND})
    if form == "replace" and len(behind) != 1:
        wanted = f"one of background, background_id, {BACKGROUND}"
        raise InvalidOption.of("background", ", ".join(behind) or None, wanted, "replace needs one background")
    if form == "recolor" and fields.color is None:
        raise InvalidOption.of("color", None, "#rrggbb", "recolor needs a colour")
    if fields.background_id is not None:
        with told_of("background_id"):
            background = await here.images.get(caller.tenant, fields.background_id)
    return Effect(
        background=_rgb(fields.background),
        background_image=background,
        background_field=BACKGROUND if fields.background_id is None else "background_id",
        color=_rgb(fields.color),
        tint=fields.tint,
        blur_strength=fields.blur_strength,
        matting=fields.matting,
        packing=packing(accept),
    )


@cache
def _plain(packed: Literal["auto", "one", "zip"]) -> Effect:
    """Where no look is asked for: what most requests have."""
    return Effect(packing=packed)


def _rgb(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
