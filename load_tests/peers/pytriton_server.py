"""Triton through NVIDIA's pytriton: one infer function an instance, BYTES in and out, HTTP only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import Predict, prediction

plan = Plan.from_environment()


def instance(predict: Predict) -> object:
    """One instance of the model as pytriton calls it."""

    @batch
    def infer(image: NDArray[np.object_]) -> list[NDArray[np.object_]]:
        return [np.array([[predict(bytes(row[0]))] for row in image], dtype=np.object_)]

    return infer


def main() -> None:
    """Serve until we are told to stop."""
    config = TritonConfig(
        http_address="127.0.0.1", http_port=plan.port, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="segment",
            infer_func=[instance(prediction(plan)) for _ in range(plan.workers)],
            inputs=[Tensor(name="image", dtype=np.bytes_, shape=(1,))],
            outputs=[Tensor(name="labels", dtype=np.bytes_, shape=(1,))],
            config=ModelConfig(max_batch_size=1, batching=True),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
