"""What a person sees while the platform starts, and the few lines that say how to use it."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Failed(RuntimeError):
    """The platform cannot start; the message says why, in the user's terms."""


class Progress:
    """One line a step with the seconds since the start; a spinner on a terminal until the platform is ready."""

    def __init__(self, title: str = "Starting SegServe ...", begun: float | None = None) -> None:
        """`begun`: when the start began, by the monotonic clock, where that was before now."""
        self._title = title
        self._begun = time.monotonic() if begun is None else begun
        self._console = Console(highlight=False, markup=False)
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        self._status = self._console.status(Text(self._title))
        self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def failed(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """On the way out of a failed start: say why, before the processes that are ended now can take us with them."""
        if error is None or isinstance(error, SystemExit):
            return
        if self._status:
            self._status.stop()
        if isinstance(error, Failed):
            self._console.print(f"It did not work: {error}", soft_wrap=True)
        else:
            traceback.print_exception(kind, error, trace)

    def note(self, step: str) -> None:
        """Say that a step is done."""
        self._console.print(f"  {time.monotonic() - self._begun:5.1f} s  {step}")

    def ready(
        self, url: str, models: Sequence[Mapping[str, object]], picture: Path, redeploy: str, keyed: bool = False
    ) -> None:
        """Say where the platform is, what it serves, how to ask it for a mask (`keyed`: with a key) and how to hand it
        another YAML."""
        if self._status:
            self._status.stop()
        self._console.print(f"SegServe is ready at {url} after {time.monotonic() - self._begun:.1f} s")
        for model in models:
            self._console.print(f"  {model['name']}@{model['version']}: {', '.join(tasks(model))}")
        self._console.print("Labels of every pixel, as a picture and as run lengths; then everything else:")
        key = '-H "X-API-Key: $KEY" ' if keyed else ""
        curl = f"curl -s {key}-H 'Content-Type: image/png'"
        upload = f"--data-binary @{shlex.quote(str(picture))} {url}/v1/semantic"
        self._console.print(f"  {curl} -H 'Accept: image/png' {upload} -o labels.png", soft_wrap=True)
        self._console.print(f"  {curl} {upload}", soft_wrap=True)
        self._console.print(f"  {url}/docs", soft_wrap=True)
        self._console.print(f"An edited serve.yaml, while it runs: {redeploy}", soft_wrap=True)
        self._console.print("Ctrl-C ends it all.")


def tasks(model: Mapping[str, object]) -> list[str]:
    """The task names of a model as `/v1/models` lists it."""
    found = model["tasks"]
    return [str(task) for task in found] if isinstance(found, list) else []
