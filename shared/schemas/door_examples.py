"""One example of each answer at the doors, as the documentation shows it."""

from __future__ import annotations

from typing import Any

_MASK = "iVBORw0KGgoAAAANSUhEUgAA..."
HF_SEGMENTS: list[dict[str, Any]] = [{"label": "road", "score": 0.97, "mask": _MASK}]
HF_MASKS: dict[str, Any] = {
    "masks": [_MASK],
    "scores": [0.93],
    "rle_mask": [{"size": [360, 480], "counts": [86580, 120, 86100]}],
    "bounding_boxes": [[240, 180, 241, 300]],
}
INFER: dict[str, Any] = {
    "model_name": "street",
    "model_version": "1",
    "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [2], "data": [0.97, 0.91]},
        {"name": "label_map", "datatype": "UINT16", "shape": [360, 480], "parameters": {"binary_data_size": 345600}},
    ],
}
INFER_REQUEST: dict[str, Any] = {
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["<base64>"]}],
    "parameters": {"task": "semantic"},
}
SERVER: dict[str, Any] = {"name": "segserve", "version": "1", "extensions": ["binary_tensor_data", "model_repository"]}
METADATA: dict[str, Any] = {
    "name": "street",
    "versions": ["1"],
    "platform": "segserve_openvino",
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}],
    "outputs": [{"name": "label_map", "datatype": "UINT16", "shape": [-1, -1]}],
}
REPOSITORY: list[dict[str, Any]] = [{"name": "street", "version": "1", "state": "READY", "reason": ""}]
CONFIG: dict[str, Any] = {
    "name": "street",
    "platform": "segserve_openvino",
    "backend": "segserve",
    "max_batch_size": 0,
    "input": [{"name": "image", "data_type": "TYPE_STRING", "dims": [1]}],
    "output": [{"name": "label_map", "data_type": "TYPE_UINT16", "dims": [-1, -1]}],
}
INTERACTOR: dict[str, Any] = {"mask": [[0, 0, 1], [0, 1, 1]]}
INTERACTOR_REQUEST: dict[str, Any] = {"image": "<base64>", "pos_points": [[240, 300]], "neg_points": []}
BACKEND_HEALTH: dict[str, Any] = {"status": "UP", "model_class": "SegServe"}
BACKEND_SETUP: dict[str, Any] = {"model_version": "street@1"}
_REGION: dict[str, Any] = {"original_width": 480, "original_height": 360, "image_rotation": 0}
PREDICT: dict[str, Any] = {
    "tasks": [{"id": 1, "data": {"image": "https://example.org/street.png"}}],
    "label_config": '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">...',
    "params": {
        "context": {
            "result": [
                {
                    **_REGION,
                    "type": "keypointlabels",
                    "is_positive": True,
                    "value": {"x": 50.0, "y": 83.3, "width": 0.3, "keypointlabels": ["car"]},
                }
            ]
        }
    },
}
PREDICTIONS: dict[str, Any] = {
    "results": [
        {
            "result": [
                {
                    **_REGION,
                    "id": "9f86d08188",
                    "from_name": "brush",
                    "to_name": "image",
                    "type": "brushlabels",
                    "value": {"format": "rle", "rle": [0, 10, 140, 0, 57], "brushlabels": ["car"]},
                    "score": 0.93,
                    "readonly": False,
                }
            ],
            "score": 0.93,
            "model_version": "street@1",
        }
    ],
    "model_version": "street@1",
}
_STORED = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_BASE64 = {"type": "base64", "value": "<base64>"}
EMBED: dict[str, Any] = {"image_id": _STORED, "time": 0.04, "model": "street@1"}
EMBED_REQUEST: dict[str, Any] = {"image": _BASE64}
SEGMENT: dict[str, Any] = {
    "predictions": [{"masks": [[[230, 280], [250, 280], [250, 310]]], "confidence": 0.93, "format": "polygon"}],
    "time": 0.02,
    "model": "street@1",
}
SEGMENT_REQUEST: dict[str, Any] = {
    "image": _BASE64,
    "prompts": {"prompts": [{"points": [{"x": 240, "y": 300, "positive": True}]}]},
}
