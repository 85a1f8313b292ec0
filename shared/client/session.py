"""The client: one method a task. Pictures and prompts in, results out; the server's errors are raised as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from shared.calls import ModelInfo
from shared.client.clicks import MAX_IMAGE_BYTES, Clicks
from shared.client.jobs import Jobs
from shared.client.pictures import Picture, encoded, image_id_of, url_of
from shared.client.results import Everything, Instances, Panoptic, Prompted, Semantic, Uploaded
from shared.client.sending import Options, Result, given, read, sent, wire
from shared.client.transport import Closing, Transport
from shared.client.uploading import Progress, background_taken, upload, upload_many
from shared.errors import SegServeError
from shared.types import Prompt


class Client(Closing):
    """Speaks to one server, over connections that it keeps; a context manager. Blocking, not shared between threads.

    `timeout_s` is for one request; one refused with 429 or 503 is sent again when the server says, `retries` times.
    Every method raises the classes of `shared.errors`, whose `.code`, `.message` and `.details` are the server's.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._timeout_s = timeout_s
        self._transport = Transport(self._http, retries, sleep)

    @property
    def jobs(self) -> Jobs:
        """Work to be done later."""
        return Jobs(self._transport, self._timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def semantic(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        classes: Sequence[str] | None = None,
        min_confidence: float | None = None,
        tta: bool | None = None,
        crf: bool | None = None,
    ) -> Semantic:
        """The class of every pixel; `min_confidence` 0 to 1 makes unsure pixels void. `tta` and `crf` where the model
        offers them."""
        options = {"model": model, "classes": classes, "min_confidence": min_confidence, "tta": tta, "crf": crf}
        return self._ask(Semantic, "/v1/semantic", picture, options)

    def instance(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        classes: Sequence[str] | None = None,
        score_threshold: float | None = None,
        max_instances: int | None = None,
    ) -> Instances:
        """Objects, best score first; `score_threshold` 0 to 1, by default the model's own."""
        options = {"score_threshold": score_threshold, "max_instances": max_instances}
        return self._ask(Instances, "/v1/instance", picture, {"model": model, "classes": classes, **options})

    def panoptic(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        classes: Sequence[str] | None = None,
        score_threshold: float | None = None,
    ) -> Panoptic:
        """Every pixel to one thing, one stuff region, or void."""
        options = {"model": model, "classes": classes, "score_threshold": score_threshold}
        return self._ask(Panoptic, "/v1/panoptic", picture, options)

    def promptable(
        self,
        picture: Picture,
        prompts: Prompt | Options | Sequence[Prompt | Options],
        *,
        model: str | None = None,
        multimask: bool | None = None,
        return_logits: bool | None = None,
        store: bool | None = None,
    ) -> Prompted:
        """Masks under points, in a box, from an earlier mask, or of a phrase.

        A prompt is a `shared.types.Prompt` or the wire's own object, `{"points": [[x, y]], "labels": [1]}`; pixels of
        the upright image. The next prompts on the picture may name it by the result's `image_id`.
        """
        several = [prompts] if isinstance(prompts, Prompt | Mapping) else prompts
        options = {"multimask": multimask, "return_logits": return_logits, "store": store, "model": model}
        several_wire = [wire(prompt) if isinstance(prompt, Prompt) else dict(prompt) for prompt in several]
        return self._ask(Prompted, "/v1/promptable", picture, {"prompts": several_wire, **options})

    def everything(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        progress: Callable[[int, int, int], None] | None = None,
        **parameters: Any,
    ) -> Everything:
        """Every mask that the automatic generator finds; `parameters` are named as in SAM, `points_per_side` ...

        `progress` is called with the clicks done, the clicks in all and the masks that stand so far; a run that is
        followed in this way may take longer than `timeout_s`.
        """
        path, request = "/v1/promptable/everything", sent(picture, {"model": model, **parameters})
        if progress is None:
            return read(Everything, self._transport.request("POST", path, **request))
        result = None
        for name, data in self._transport.events(path, **request):
            if name == "progress":
                progress(data["done"], data["total"], data["masks"])
            elif name == "result":
                result = data
        return read(Everything, result)

    def clicks(self, picture: Picture, *, model: str | None = None) -> Clicks:
        """A connection for clicks on this picture, embedded already: see `Clicks`."""
        base = self._http.base_url
        url = base.copy_with(
            scheme={"http": "ws", "https": "wss"}[base.scheme],
            path=f"{base.path.rstrip('/')}/v1/promptable/stream",
            params=given({"model": model}),
        )
        keys = {name: text for name, text in self._http.headers.items() if name == "authorization"}
        clicks = Clicks(str(url), keys, self._timeout_s)
        try:
            clicks.open(self._for_stream(picture))
        except BaseException:
            clicks.close()
            raise
        return clicks

    def _for_stream(self, picture: Picture) -> bytes | str:
        """The picture as a stream takes it: its id, where it was or must be stored, else as a file."""
        if (known := image_id_of(picture)) is not None:
            return known
        if url_of(picture) is not None:
            return self.upload(picture).image_id
        data = encoded(picture)
        return data if len(data) <= MAX_IMAGE_BYTES else self.upload(data).image_id

    def upload(self, picture: Picture, *, embed: Sequence[str] | None = None) -> Uploaded:
        """Store a picture, to be named in place of sending it; `embed`: models whose embedding is computed ahead."""
        return upload(self._transport, picture, embed)

    def upload_many(
        self,
        pictures: Sequence[Picture],
        *,
        embed: Sequence[str] | None = None,
        progress: Progress = lambda *_: None,
    ) -> tuple[Uploaded | SegServeError, ...]:
        """Store many pictures, those that are sent in one request: for each the upload, or the error that it alone met.

        `progress` is called with the pictures done, those of them that failed, and how many there are in all (None
        while they are being sent). It may take longer than `timeout_s`.
        """
        return upload_many(self._transport, pictures, embed, progress)

    def picture(self, task: str, picture: Picture, form: str, **options: Any) -> bytes:
        """A picture made of the masks: `form` overlay, cutout, blur, replace or recolor, as PNG (of several cut-outs a
        zip).

        `task` is semantic, instance, panoptic, promptable (with `prompts` as on the wire) or promptable/everything.
        With replace, `background` is a colour `#rrggbb` or another picture; one by URL is stored on the way.
        """
        second = background_taken(self._transport, options)
        return self._transport.content(f"/v1/{task}", **sent(picture, {"format": form, **options}, second))

    def delete(self, picture: Uploaded | str) -> None:
        """Have the server's store forget a picture and its embeddings. Raises `ImageNotFound`."""
        image_id = picture.image_id if isinstance(picture, Uploaded) else picture
        self._transport.request("DELETE", f"/v1/images/{image_id}")

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model that is served just now."""
        return tuple(_model(each) for each in self._transport.request("GET", "/v1/models")["models"])

    def ready(self) -> bool:
        """Whether the server can be reached and every model that it must have answers."""
        return self._transport.status("/readyz") == 200

    def _ask(self, kind: type[Result], path: str, picture: Picture, options: Options) -> Result:
        """POST a picture with the options that were given."""
        return read(kind, self._transport.request("POST", path, **sent(picture, options)))


def _model(entry: Options) -> ModelInfo:
    known = {name: value for name, value in entry.items() if name in ModelInfo.__dataclass_fields__}
    lists = {name: tuple(entry[name]) for name in ("tasks", "default_for")}
    return ModelInfo(**known | lists | {"figures": tuple(entry["figures"].items())})
