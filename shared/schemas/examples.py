"""One example of each answer, as the interface's documentation shows it. Tests hold each against its type."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "model": "street",
    "model_version": "1",
    "weights_sha256": "5b0d5f4c" * 8,
    "engine": "openvino",
    "label_space": "camvid",
    "width": 480,
    "height": 360,
    "request_id": "5f0c4a1e9d3b4c6c8e0f7a2b1d9c3e55",
}
_RLE = {"size": [360, 480], "counts": "PRk01o:0O2N2N2N2N"}
_IMAGE_ID = "sha256:" + "9f86d081" * 8

SEMANTIC: dict[str, Any] = {
    **_COMMON,
    "task": "semantic",
    "segments": [{"label": "road", "label_id": 3, "score": 0.97, "area": 54_321, "rle": _RLE}],
}
INSTANCE: dict[str, Any] = {
    **_COMMON,
    "task": "instance",
    "instances": [
        {
            "label": "car",
            "label_id": 8,
            "score": 0.91,
            "box": [120, 180, 236, 251],
            "detection_box": [119.4, 179.8, 236.3, 251.1],
            "area": 6120,
            "rle": _RLE,
        }
    ],
}
PANOPTIC: dict[str, Any] = {
    **_COMMON,
    "task": "panoptic",
    "segments": [
        {
            "id": 1,
            "label": "car",
            "label_id": 8,
            "isthing": True,
            "score": 0.91,
            "area": 6120,
            "box": [120, 180, 236, 251],
            "rle": _RLE,
        }
    ],
}
PROMPTABLE: dict[str, Any] = {
    **_COMMON,
    "task": "promptable",
    "label_space": "",
    "image_id": _IMAGE_ID,
    "embedding": "memory",
    "results": [
        {
            "masks": [
                {
                    "predicted_iou": 0.93,
                    "stability_score": 0.96,
                    "area": 6120,
                    "box": [120, 180, 236, 251],
                    "rle": _RLE,
                }
            ]
        }
    ],
}
EVERYTHING: dict[str, Any] = {
    **{name: value for name, value in PROMPTABLE.items() if name != "results"},
    "masks": [
        {
            "predicted_iou": 0.93,
            "stability_score": 0.96,
            "area": 6120,
            "box": [120, 180, 236, 251],
            "point": [187.5, 208.12],
            "rle": _RLE,
        }
    ],
}
UPLOADED: dict[str, Any] = {
    "image_id": _IMAGE_ID,
    "width": 480,
    "height": 360,
    "expires_at": "2026-01-31T12:00:00Z",
    "embeddings": {"street": "computed"},
}
STORED: dict[str, Any] = {name: value for name, value in UPLOADED.items() if name != "embeddings"}
UPLOADED_SEVERAL: dict[str, Any] = {
    "images": [
        UPLOADED,
        {
            "error": {
                "code": "image_too_large",
                "message": "image: The image has a side above 16384 pixels.",
                "details": [
                    {
                        "field": "image",
                        "value": "20000x300",
                        "limit": "16384",
                        "reason": "The image has a side above 16384 pixels.",
                    }
                ],
            }
        },
    ]
}
MODEL: dict[str, Any] = {
    "name": "street",
    "version": "1",
    "tasks": ["semantic", "instance", "panoptic"],
    "default_for": ["semantic", "instance", "panoptic"],
    "label_space": "camvid",
    "weights_sha256": "5b0d5f4c" * 8,
    "engine": "openvino",
    "precision": "int8",
    "parameters": 2_200_000,
    "licence": "CC BY-NC 4.0",
    "summary": "Street scenes: one small encoder with a head for each task.",
    "paper": "",
    "text_prompts": False,
    "tta": False,
    "crf": False,
    "encoder_fingerprint": "",
    "figures": {"mIoU": 0.6},
}
MODELS: dict[str, Any] = {"models": [MODEL]}
LABEL_SPACES: dict[str, Any] = {"label_spaces": [{"name": "camvid", "count": 11}]}
LABEL_SPACE: dict[str, Any] = {
    "name": "camvid",
    "void": 255,
    "labels": [{"label_id": 0, "name": "sky", "category_id": 0, "isthing": False, "color": [128, 128, 128]}],
}
_JOB_PATH = "/v1/jobs/job_019ac8f05a1b9f86d0819f86d0819f86"
JOB: dict[str, Any] = {
    "id": _JOB_PATH.rpartition("/")[2],
    "task": "panoptic",
    "state": "queued",
    "created_at": "2026-01-30T12:00:00Z",
    "expires_at": "2026-01-31T12:00:00Z",
    "links": {"self": _JOB_PATH, "result": f"{_JOB_PATH}/result", "cancel": _JOB_PATH},
}
JOBS: dict[str, Any] = {"jobs": [JOB]}
HEALTH: dict[str, Any] = {"status": "ok"}
READINESS: dict[str, Any] = {
    "ready": True,
    "applications": {"street": {"status": "RUNNING", "replicas": 1, "message": ""}},
}
EVENTS = (
    'event: progress\ndata: {"done":64,"total":1024,"masks":7}\n\n'
    'event: mask\ndata: {"id":3,"predicted_iou":0.93, ...}\n\n'
    'event: dropped\ndata: {"ids":[1]}\n\n'
    'event: result\ndata: {"task":"promptable","masks":[...], ...}\n\n'
)
JOB_EVENTS = (
    'event: state\ndata: {"id":"job_019a...","state":"running", ...}\n\n'
    'event: state\ndata: {"id":"job_019a...","state":"done", ...}\n\n'
)
UPLOAD_EVENTS = (
    'event: image\ndata: {"index":0,"image_id":"sha256:9f86...", ...}\n\n'
    'event: progress\ndata: {"done":1,"failed":0,"total":2}\n\n'
    'event: result\ndata: {"images":[...]}\n\n'
)
PROMPTS: list[dict[str, Any]] = [{"points": [[240.0, 180.0]], "labels": [1]}]
