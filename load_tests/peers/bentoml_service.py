"""BentoML: `workers` processes, the image as the body. Adaptive batching stays off: batches gain nothing on a CPU."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import prediction

plan = Plan.from_environment()
Photo = Annotated[Path, ContentType("image/jpeg")]
Labels = Annotated[bytes, ContentType("image/png")]


@bentoml.service(workers=plan.workers, traffic={"timeout": 120, "max_concurrency": 256})
class Segment:
    """An image file to a picture of labels."""

    def __init__(self) -> None:
        self.run = prediction(plan)

    @bentoml.api
    def predict(self, image: Photo, /) -> Labels:
        """Of one request."""
        return self.run(image.read_bytes())
