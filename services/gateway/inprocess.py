"""Services of this very process, handed over at the start, as a model directory.

Makes tests fast, and serves the fused layout: the gateway inside a model's own replica, one hop instead of two.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.gateway.backends import ApplicationState, Readiness, select
from shared.calls import ModelInfo
from shared.protocols import DenseService, PromptableService
from shared.types import DenseTask


class InProcessDirectory:
    """A fixed set of services. Each is described once, at the start."""

    def __init__(self, dense: Sequence[DenseService] = (), promptable: Sequence[PromptableService] = ()) -> None:
        self._dense = [(service.describe(), service) for service in dense]
        self._promptable = [(service.describe(), service) for service in promptable]

    def models(self) -> Sequence[ModelInfo]:
        """Every service's model, dense ones first."""
        return [info for info, _ in self._dense] + [info for info, _ in self._promptable]

    def dense(self, task: DenseTask, model: str | None) -> DenseService:
        """The service for `model`. Raises `ModelNotFound`."""
        return self._dense[select([info for info, _ in self._dense], task, model)][1]

    def promptable(self, model: str | None) -> PromptableService:
        """The promptable service for `model`. Raises `ModelNotFound`."""
        return self._promptable[select([info for info, _ in self._promptable], "promptable", model)][1]

    async def known(self) -> None:
        """At once."""

    async def readiness(self) -> Readiness:
        """Always ready: a service is only handed over once it is loaded and warm."""
        names = dict.fromkeys(info.name for info in self.models())
        return Readiness(True, {name: ApplicationState("RUNNING", 1) for name in names})
