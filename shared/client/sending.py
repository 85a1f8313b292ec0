"""A picture and options in, what an HTTP request carries out; an answer's JSON in, its typed result out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from shared.client.pictures import Picture, encoded, image_id_of, url_of
from shared.client.results import Everything, Instances, Panoptic, Prompted, Semantic, Uploaded
from shared.client.transport import foreign
from shared.client.values import plain
from shared.types import Prompt

Options = Mapping[str, Any]
Result = TypeVar("Result", Semantic, Instances, Panoptic, Prompted, Everything, Uploaded)


def read(kind: type[Result], answer: Any) -> Result:
    """An answer's JSON as its result. Raises `InternalError` for one that is no such answer."""
    try:
        return kind.of(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise foreign(200) from error


def sent(picture: Picture, options: Options, more: Mapping[str, bytes] | None = None) -> dict[str, Any]:
    """A picture as multipart, or its id or URL as JSON, with the options; `more` are further images by their field."""
    image_id, url = image_id_of(picture), url_of(picture)
    if image_id is None and url is None:
        return {"files": {"image": encoded(picture), **(more or {})}, "data": form(options)}
    images = {name: base64.b64encode(data).decode() for name, data in (more or {}).items()}
    named = {"image_url": url} if image_id is None else {"image_id": image_id}
    return {"json": {**named, **images, **given(options)}}


def given(options: Options) -> dict[str, Any]:
    """Options that are not left to the server, as JSON has them."""
    return {name: plain(value) for name, value in options.items() if value is not None}


def form(options: Options) -> dict[str, str]:
    """Options as fields of a form: text as it is, anything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given(options).items()}


def wire(prompt: Prompt) -> dict[str, Any]:
    """A prompt as the interface has it."""
    fields: dict[str, Any] = {}
    if len(prompt.points):
        fields["points"] = prompt.points.tolist()
    if len(prompt.labels):
        fields["labels"] = prompt.labels.tolist()
    if prompt.box is not None:
        fields["box"] = list(prompt.box)
    if prompt.mask is not None:
        data = base64.b64encode(np.ascontiguousarray(prompt.mask, "<f2").tobytes()).decode()
        fields["mask"] = {"shape": list(prompt.mask.shape), "dtype": "float16", "data": data}
    if prompt.text is not None:
        fields["text"] = prompt.text
    return fields
