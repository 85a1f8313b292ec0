"""What the Serve YAML may say of a model: `args` (a change restarts the application) and `user_config` (changed live).

Both are strict: a misspelt or unknown field stops the deployment with its name, it never passes silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.catalog.loading import one_thread_a_pass
from shared.types import EngineName, Precision, Task

MEBIPIXEL = 2**20


class UserConfig(BaseModel):
    """`user_config` of a model's deployment: applied to running replicas without a restart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_batch: int = Field(default=1, ge=1)
    """Most images in one forward pass. On a CPU 1 is fastest; on a GPU 8 to 32."""
    max_prompts: int | None = Field(default=None, ge=1)
    """Most prompts in one batch of a promptable decoder; none: `max_batch`. A pass takes milliseconds: answers that
    leave together save more on the way than the first of them waits."""
    max_pixels: int = Field(default=8 * MEBIPIXEL, ge=1)
    """Most network pixels in one forward pass; an image that is larger than this runs alone."""
    max_queue: int = Field(default=256, ge=1)
    """Most images that wait in one replica; more get 503 at once."""
    max_wait_ms: float = Field(default=0.0, ge=0, le=1000)
    """How long a batch that is not full waits for more; 0 starts whenever the model is idle."""
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Lowest score kept where a request names none (instance, panoptic); none: the card's."""
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    """Confidence below which a pixel is void where a request names none (semantic)."""
    max_instances: int | None = Field(default=None, ge=1)
    """Most instances in an answer where a request names no number; none: the card's."""


class ServiceArgs(BaseModel):
    """`args` of an application of a model: which card, which of its tasks, and how it runs. Checkpointed by Serve, so
    nothing secret belongs here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """Name of the model's card, or `name@version` to refuse any other version."""
    tasks: tuple[Task, ...] = ()
    """Tasks served from this one application; empty: the service's own task. A universal network takes several."""
    engine: Literal["auto", EngineName] = "auto"
    """auto: the card's first engine that is installed."""
    precision: Precision | Literal["auto"] = "f32"
    """Arithmetic of the forward pass. Others than f32 are refused where the card has no check of them, or this machine
    cannot compute in them. auto: the fastest that changes next to nothing by the card's checks, else f32."""
    unchecked: bool = False
    """Take a precision although the card has no check of it (`segserve agree` makes one)."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto: a GPU where the engine finds one."""
    threads: int = Field(default=0, ge=0)
    """Threads of one forward pass; 0 leaves it to the engine (all cores)."""
    in_flight: int = Field(default=0, ge=0, le=8)
    """Batches under way at once. With two, one is prepared and another finished while the GPU computes a third's
    forward pass. On a CPU they share its cores; OpenVINO then gives each that overlaps its share of `threads`, which
    is more throughput, and one that is alone all of them. 0: two where `device` names a GPU, else one."""
    max_batch: int = Field(default=8, ge=1, le=1024)
    """Largest batch that the engine is prepared for; `user_config.max_batch` lies at or below it."""
    codec_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode images and encode masks beside the forward pass; unused by dense tasks where each pass has
    one thread, which then does both (`rides`)."""
    embeddings: Literal["fp16", "int8"] = "fp16"
    """How promptable keeps embeddings. int8 halves their bytes in memory and in the store, for a small change of the
    masks, which `python -m load_tests.embeddings` measures."""
    tiny: bool = False
    """A small random network of the same architecture, for tests: its answers mean nothing."""

    @property
    def slots(self) -> int:
        """Batches under way at once, decided."""
        return self.in_flight or (2 if self.device.startswith("cuda") else 1)

    @property
    def rides(self) -> bool:
        """Whether decoding and encoding go with the pass, in its thread: each that overlaps others has but one."""
        return one_thread_a_pass(self.threads, self.slots)

    @property
    def packed(self) -> bool:
        """Whether embeddings are kept as int8."""
        return self.embeddings == "int8"

    def live(self, user_config: Mapping[str, Any] | None) -> UserConfig:
        """The deployment's `user_config`, checked. Raises `ValidationError` or `ValueError` naming the field."""
        config = UserConfig.model_validate(user_config or {})
        for name, wanted in (("max_batch", config.max_batch), ("max_prompts", config.max_prompts or 1)):
            if wanted > self.max_batch:
                raise ValueError(
                    f"user_config.{name}: {wanted} is above args.max_batch ({self.max_batch}), "
                    "the largest batch that the engine is prepared for"
                )
        return config
