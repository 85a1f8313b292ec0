"""What the evaluation asks of a server: answers of the project's own client, their labels in the data set's space."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from numpy.typing import NDArray

from shared.calls import ModelInfo
from shared.client import Client
from shared.client.transport import Transport
from shared.evaluation.dataset import EvaluationError
from shared.labels import Label, LabelSpace, remap
from shared.types import Task

TIMEOUT_S = 120.0
RETRIES = 8
"""How often a request that the server is too busy for is sent again."""


class Served:
    """A running server: clients for a number of threads, its models, and the way from its label spaces to `space`."""

    def __init__(self, url: str, space: LabelSpace, threads: int, api_key: str | None = None) -> None:
        self.url = url
        self._space = space
        self._open = ExitStack()
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        http = self._open.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=headers))
        self._transport = Transport(http, RETRIES)
        self._clients: queue.SimpleQueue[Client] = queue.SimpleQueue()
        for _ in range(threads):
            self._clients.put(self._open.enter_context(Client(url, api_key, TIMEOUT_S, RETRIES)))
        self._tables: dict[str, NDArray[np.uint16]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for this thread alone."""
        client = self._clients.get()
        try:
            yield client
        finally:
            self._clients.put(client)

    def model(self, task: Task, wanted: str | None) -> ModelInfo | None:
        """The model that answers `task`: the one `wanted` ("name" or "name@version"), else the task's default; None
        where there is none. Raises `shared.errors`."""
        with self.client() as client:
            served = [model for model in client.models() if task in model.tasks]
        if wanted is None:
            return next((model for model in served if task in model.default_for), None)
        named = [model for model in served if wanted in (model.name, f"{model.name}@{model.version}")]
        return named[-1] if named else None

    def table(self, space: str) -> NDArray[np.uint16]:
        """For each label id of a space of the server, the id in the data set's. Raises `shared.errors`."""
        with self._lock:
            if space not in self._tables:
                self._tables[space] = remap(self._server_space(space), self._space)
            return self._tables[space]

    def lacking(self, space: str) -> tuple[str, ...]:
        """Classes of the data set that no class of a space of the server stands for."""
        reached = set(self.table(space).tolist())
        return tuple(label.name for label in self._space.labels if label.id not in reached)

    def _server_space(self, name: str) -> LabelSpace:
        found = self._transport.request("GET", f"/v1/labels/{name}")
        try:
            labels = tuple(
                Label(each["label_id"], each["name"], tuple(each["color"]), each["isthing"], each["category_id"])
                for each in found["labels"]
            )
            return LabelSpace(name, labels)
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"the server's label space {name} cannot be read: {error}") from None
