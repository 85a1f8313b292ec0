"""Pictures into the server's store: files together in one request, those that the server fetches one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.client.pictures import Picture, encoded, image_id_of, url_of
from shared.client.reach import ServerUnreachable
from shared.client.results import Uploaded
from shared.client.sending import form, read, sent
from shared.client.transport import Transport, foreign, told
from shared.errors import Forbidden, ModelNotFound, SegServeError, Unauthorized

PATH = "/v1/images"
Entry = Uploaded | SegServeError
Progress = Callable[[int, int, int | None], None]
"""Is told of the pictures done, those of them that failed, and how many there are in all (None: still being sent)."""
_OF_EVERY_PICTURE = (Unauthorized, Forbidden, ModelNotFound, ServerUnreachable)
"""What another picture would fare no better with."""


def upload(transport: Transport, picture: Picture, embed: Sequence[str] | None = None) -> Uploaded:
    """Store one picture. Raises the server's error."""
    options = {"embed": embed}
    if url_of(picture) is None:
        request: dict[str, Any] = {"files": {"image": encoded(picture)}, "data": form(options)}
    else:
        request = sent(picture, options)
    return read(Uploaded, transport.request("POST", PATH, **request))


def upload_many(
    transport: Transport, pictures: Sequence[Picture], embed: Sequence[str] | None, progress: Progress
) -> tuple[Entry, ...]:
    """Store many: for each the upload, or the error that it alone met. Raises what would meet every one."""
    urls = [index for index, picture in enumerate(pictures) if url_of(picture) is not None]
    files = [index for index in range(len(pictures)) if index not in set(urls)]
    found: dict[int, Entry] = {}

    def report(done: int, failed: int, total: int | None) -> None:
        progress(done, failed, None if total is None else len(pictures))

    if files or not urls:
        found.update(zip(files, _together(transport, [pictures[index] for index in files], embed, report), strict=True))
    for index in urls:
        try:
            found[index] = upload(transport, pictures[index], embed)
        except _OF_EVERY_PICTURE:
            raise
        except SegServeError as error:
            found[index] = error
        report(len(found), sum(isinstance(each, SegServeError) for each in found.values()), len(pictures))
    return tuple(found[index] for index in range(len(pictures)))


def background_taken(transport: Transport, options: dict[str, Any]) -> dict[str, bytes]:
    """The option `background` where it is a picture: taken out, for its image to be sent or its id to be named. One
    that the server is to fetch is stored first."""
    background = options.get("background")
    if background is None or (isinstance(background, str) and background.startswith("#")):
        return {}
    del options["background"]
    if url_of(background) is not None:
        background = upload(transport, background)
    if (known := image_id_of(background)) is None:
        return {"background_image": encoded(background)}
    options["background_id"] = known
    return {}


def _together(
    transport: Transport, pictures: Sequence[Picture], embed: Sequence[str] | None, report: Progress
) -> Sequence[Entry]:
    """What became of each, of one request with all of them, which may take longer than another."""
    files = [("image", (str(index), encoded(picture))) for index, picture in enumerate(pictures)]
    answer: Any = None
    for name, data in transport.events(PATH, files=files, data=form({"embed": embed})):
        if name == "progress":
            report(data["done"], data["failed"], data["total"])
        elif name == "result":
            answer = data
    try:
        return [_entry(each) for each in answer["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(200) from error


def _entry(each: Mapping[str, Any]) -> Entry:
    return told(each["error"], 200) if "error" in each else Uploaded.of(each)
