"""The Open Inference Protocol (version 2) as it travels: requests for inference, and what models say of themselves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from shared.schemas.doors import Guest
from shared.schemas.wire import Reply, Request

Dimension = Annotated[int, Field(ge=0, le=2**31)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class InputParameters(Request):
    """Of one input: how many bytes of it follow the JSON."""

    binary_data_size: int | None = Field(default=None, ge=0)


class InferInput(Request):
    """One tensor. `data`: its values, nested or flat; or they follow the JSON."""

    name: Name
    datatype: Name
    shape: Annotated[list[Dimension], Field(max_length=4)]
    parameters: InputParameters = InputParameters()
    data: Any = None


class OutputParameters(Request):
    """Of one output: whether it follows the JSON of the answer."""

    binary_data: bool = False


class InferOutput(Request):
    """One tensor that is asked for."""

    name: Name
    parameters: OutputParameters = OutputParameters()


class InferRequest(Guest):
    """`parameters`: `task`, the task's own options, `binary_data_output`."""

    id: Annotated[str, Field(max_length=200)] | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=8, fail_fast=True)]
    outputs: Annotated[list[InferOutput], Field(max_length=8, fail_fast=True)] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class OutputTensor(Reply):
    """One tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(Reply):
    """The tensors that were asked for."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class TensorMetadata(Reply):
    """A tensor as a model describes it; -1 is a side of any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Reply):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Reply):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(Reply):
    """Whether the process runs."""

    live: bool


class ServerReady(Reply):
    """Whether every required application can answer."""

    ready: bool


class ModelReady(Reply):
    """Whether a model can answer."""

    name: str
    ready: bool


class RepositoryEntry(Reply):
    """A model of Triton's repository index."""

    name: str
    version: str
    state: str
    reason: str
