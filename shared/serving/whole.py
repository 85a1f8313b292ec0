"""A card and its arguments in, every service of the model out, in this one process: what the fused layout answers from.

The encoder and the decoder of a promptable model share the process too, and no call leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shared.catalog.card import ROLES_OF_TASK
from shared.protocols import DenseService, PromptableService, Sink
from shared.serving.args import ServiceArgs
from shared.serving.assembly import LoadedCard, dense_services, load_card, named
from shared.settings import Settings
from shared.store.opening import Stores
from shared.types import DenseTask

PROMPTABLE = "services.promptable.assembly:in_one_process"


@dataclass(frozen=True, slots=True)
class WholeModel:
    """One loaded model and its services."""

    loaded: LoadedCard
    dense: Mapping[DenseTask, DenseService]
    promptable: PromptableService | None


def assemble_whole(args: ServiceArgs, settings: Settings, sink: Sink, stores: Stores) -> WholeModel:
    """The services of `args.tasks`. Raises what `load_card` raises."""
    roles = [role for task in args.tasks for role in ROLES_OF_TASK[task]]
    loaded = load_card(args, roles, settings, sink)
    executor = ThreadPoolExecutor(args.codec_threads, "codec")
    dense = dense_services(loaded, settings, sink, executor, args.rides)
    if "promptable" not in args.tasks:
        return WholeModel(loaded, dense, None)
    return WholeModel(loaded, dense, named(PROMPTABLE)(loaded, stores, settings, sink, executor))
