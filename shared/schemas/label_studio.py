"""Label Studio's machine learning backend as it travels. Lengths are percentages of the image's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from shared.schemas.doors import Guest
from shared.schemas.wire import Reply

Percentage = Annotated[float, Field(ge=0.0, le=100.0)]
Side = Annotated[int, Field(ge=1, le=2**20)]
MAX_REGIONS = 1024


class RegionValue(Guest):
    """Where a region is, and its labels under the name of its type."""

    model_config = ConfigDict(extra="allow")

    x: Percentage
    y: Percentage
    width: Percentage | None = None
    height: Percentage | None = None


class Region(Guest):
    """One smart keypoint or rectangle."""

    type: Annotated[str, Field(max_length=100)]
    original_width: Side
    original_height: Side
    value: RegionValue
    is_positive: bool | int | None = None

    def label(self) -> str:
        """The label that was chosen; empty where none was."""
        chosen = (self.value.model_extra or {}).get(self.type)
        return chosen[0] if isinstance(chosen, list) and chosen and isinstance(chosen[0], str) else ""


class PredictContext(Guest):
    """What was drawn so far."""

    result: Annotated[list[Region], Field(default_factory=list, max_length=MAX_REGIONS, fail_fast=True)]


class PredictParams(Guest):
    """`context` is null until something is drawn."""

    context: PredictContext | None = None


class LabelTask(Guest):
    """A task's data by name, the image among it."""

    data: dict[str, Any]


class PredictFields(Guest):
    """Body of `predict`."""

    tasks: Annotated[list[LabelTask], Field(min_length=1)]
    label_config: str = ""
    params: PredictParams = PredictParams()


class Prediction(Reply):
    """Brush regions for one task."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class Predictions(Reply):
    """One prediction, or none before anything is drawn."""

    results: list[Prediction]
    model_version: str


class BackendSetup(Reply):
    """The model that answers, `name@version`."""

    model_version: str


class BackendHealth(Reply):
    """The backend is up."""

    status: str
    model_class: str
