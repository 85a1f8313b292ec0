"""What a task is to the gateway: its options, and how a received request becomes work for its service.

`prepare` finds whatever is wrong with a request without decoding its image, and gives the work that is left. Routes do
it at once. A job's request is prepared when it is sent, to be refused like any other, and again when its turn comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from services.gateway.context import Gateway
from services.gateway.uploads import Upload
from shared.calls import Answer, Caller
from shared.schemas.options import TaskOptions
from shared.types import JobTask, Task

Work = Callable[[], Awaitable[Answer]]
"""Asks the service. Called at most once."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """`stage_task`: the label of its stages' times. `prepare` takes the header `Accept` last, and raises what the
    model's name, the options and the image's id deserve."""

    name: JobTask
    stage_task: Task
    options: type[TaskOptions]
    prepare: Callable[[Gateway, Caller, Upload[Any], str], Awaitable[Work]]
