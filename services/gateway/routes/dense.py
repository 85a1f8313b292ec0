"""One image to one task of a dense service and back: what `/v1/semantic`, `/v1/instance` and `/v1/panoptic` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

from services.gateway.context import Gateway
from services.gateway.effects import effect_of
from services.gateway.negotiation import answer_format
from services.gateway.tasks import TaskKind, Work
from services.gateway.uploads import Upload, identify
from shared.calls import Caller, DenseCall, DenseOptions, Effect, Format
from shared.schemas.options import DenseOptionFields, EffectFields, InstanceOptions, PanopticOptions, SemanticOptions
from shared.types import DenseTask

OPTIONS: Mapping[DenseTask, type[DenseOptionFields]] = {
    "semantic": SemanticOptions,
    "instance": InstanceOptions,
    "panoptic": PanopticOptions,
}
"""What each task takes."""
HAS_LABEL_MAP: frozenset[DenseTask] = frozenset({"semantic", "panoptic"})
"""Tasks that answer `Accept: image/png` with the bare map."""


async def prepared(
    task: DenseTask, here: Gateway, caller: Caller, upload: Upload[DenseOptionFields], accept: str
) -> Work:
    """See `TaskKind`."""
    fields = upload.options
    form = answer_format(fields.format, accept, task in HAS_LABEL_MAP)
    service = here.directory.dense(task, fields.model)
    effect = await effect_of(here, caller, fields, form, upload.background, accept)
    call = DenseCall(task, await image_bytes(here, caller, upload), caller, dense_options(fields, form, effect))
    return partial(service.segment, call)


KINDS: Mapping[DenseTask, TaskKind] = {
    task: TaskKind(task, task, options, partial(prepared, task)) for task, options in OPTIONS.items()
}


def dense_options(fields: DenseOptionFields, form: Format, effect: Effect) -> DenseOptions:
    """The call's options: whatever the task takes and the service sees."""
    given = {name: getattr(fields, name) for name in _passed_on(type(fields))}
    classes = None if fields.classes is None else tuple(fields.classes)
    return DenseOptions(format=form, classes=classes, effect=effect, **given)


@cache
def _passed_on(fields: type[DenseOptionFields]) -> Sequence[str]:
    """The fields that go to the service as they are."""
    taken = {"model", "store", "format", "classes", *EffectFields.model_fields}
    return tuple(name for name in fields.model_fields if name not in taken)


async def image_bytes(here: Gateway, caller: Caller, upload: Upload[DenseOptionFields]) -> bytes:
    """The encoded image: the one sent, or the stored one. Raises `ImageMismatch` when both came and differ."""
    if upload.image is None:
        return await here.images.get(caller.tenant, upload.image_id or "")
    if upload.image_id is not None:
        await identify(upload.image.data, upload.image_id)
    return upload.image.data
