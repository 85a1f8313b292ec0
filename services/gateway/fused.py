"""The fused layout: the gateway inside a model's own replica. One hop instead of two, for one model that must be as
fast as possible; every route, limit and metric is the gateway's own.

Each replica stands for the whole service: more replicas are more copies of both.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from services.gateway.app import create_app
from services.gateway.deployment import cluster_page, found_again
from services.gateway.inprocess import InProcessDirectory
from shared.catalog.catalog import find_card
from shared.serving.args import ServiceArgs
from shared.serving.replica import DEPLOYMENT_OPTIONS, LiveDense, ModelReplica
from shared.serving.whole import assemble_whole
from shared.settings import settings
from shared.store.opening import open_stores


class FusedReplica(ModelReplica):
    """One model with the whole HTTP interface over it."""

    def __init__(self, args: ServiceArgs) -> None:
        super().__init__(args)
        self._stores = open_stores(self.settings, self.sink, packed=args.packed)
        self._model = assemble_whole(args, self.settings, self.sink, self._stores)
        self.loaded = self._model.loaded

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the replica: the application itself never travels."""
        dense = [LiveDense(self, self._model.dense)] if self._model.dense else []
        promptable = [self._model.promptable] if self._model.promptable else []
        directory = InProcessDirectory(dense, promptable)
        page, stores = cluster_page(), self._stores
        closes = (stores.close, page.close)
        return create_app(self.settings, directory, stores.images, self.sink, page.render, closes, stores.jobs)


FusedDeployment = found_again(serve.ingress()(FusedReplica), "FusedDeployment", __name__)


def build(args: dict[str, Any]) -> Application:
    """What `import_path: services.gateway.fused:build` runs; its deployment is named `Fused`. `args.tasks` empty: all
    tasks of the card. Raises `ValidationError` naming the argument that is not valid."""
    chosen = ServiceArgs.model_validate(args)
    if not chosen.tasks:
        chosen = chosen.model_copy(update={"tasks": find_card(chosen.model, settings().card_dirs).tasks})
    return serve.deployment(name="Fused", **DEPLOYMENT_OPTIONS)(FusedDeployment).bind(chosen)
