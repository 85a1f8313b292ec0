"""Answers of a running server and the truth of a data set in, figures out: mIoU, AP, PQ, IoU after clicks."""

from __future__ import annotations

from shared.types import Task

FORMATS = ("camvid", "voc", "pascal-context", "cityscapes", "ade20k", "sunrgbd", "coco")
"""Data sets that can be read, by the names that the command takes."""
TASKS: tuple[Task, ...] = ("semantic", "instance", "panoptic", "promptable")
"""What can be measured."""
