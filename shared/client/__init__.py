"""Python for SegServe: pictures in, typed results with numpy masks out.

`with Client("http://127.0.0.1:8000") as client: client.semantic("street.png").label_map()`
"""

from __future__ import annotations

from shared.client.jobs import Job, Jobs
from shared.client.reach import ServerUnreachable
from shared.client.results import (
    Everything,
    EverythingMask,
    Instances,
    InstanceSegment,
    Panoptic,
    PanopticPart,
    Prompted,
    PromptedMask,
    Semantic,
    SemanticSegment,
    Uploaded,
)
from shared.client.session import Client

__all__ = [
    "Client",
    "Everything",
    "EverythingMask",
    "InstanceSegment",
    "Instances",
    "Job",
    "Jobs",
    "Panoptic",
    "PanopticPart",
    "Prompted",
    "PromptedMask",
    "Semantic",
    "SemanticSegment",
    "ServerUnreachable",
    "Uploaded",
]
