"""`segserve evaluate` on the running platform: its figures are those of the answers that any caller gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services import cli
from shared.imaging.sample import street_scene
from shared.labels import label_space
from tests.data import CAMVID_VOID, camvid, pixels_of
from tests.unit.evaluation.layouts import write

pytestmark = pytest.mark.e2e


def evaluate(url: str, data: Path, out: Path, *options: str) -> dict[str, Any]:
    """The tasks of the report."""
    assert cli.main(["evaluate", str(data), "--url", url, "--out", str(out), *options]) == 0
    tasks: dict[str, Any] = json.loads((out / "report.json").read_text())["tasks"]
    return tasks


def test_all_four_tasks_on_real_photos(
    http: httpx.Client, server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = camvid("val")[10::30]
    for kind, paths in zip(("images", "labels"), zip(*pairs, strict=True), strict=True):
        (tmp_path / "val" / kind).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, tmp_path / "val" / kind)
    tasks = evaluate(server_url, tmp_path / "val", tmp_path / "out")
    assert list(tasks) == ["semantic", "instance", "panoptic", "promptable"]
    counts = np.zeros((11, 12), np.int64)
    for photo, labels in pairs:
        headers = {"Content-Type": "image/webp", "Accept": "image/png"}
        answer = http.post("/v1/semantic", content=photo.read_bytes(), headers=headers)
        truth, found = pixels_of(labels.read_bytes()), np.minimum(pixels_of(answer.content), 11)
        known = truth != CAMVID_VOID
        np.add.at(counts, (truth[known], found[known]), 1)
    hit, found_pixels = counts.diagonal(), counts[:, :11].sum(0)
    union = counts.sum(1) + found_pixels - hit
    figures = tasks["semantic"]["figures"]
    assert figures["mIoU"] == pytest.approx((hit / union)[union > 0].mean(), abs=2e-3)
    assert figures["pixel accuracy"] == pytest.approx(hit.sum() / counts.sum(), abs=2e-3)
    assert figures["pixel accuracy"] > 0.75
    assert tasks["panoptic"]["figures"]["CC-PQ"] > 0.2
    assert tasks["instance"]["figures"]["CC-AP50"] > 0.05
    clicked = tasks["promptable"]["figures"]
    assert clicked["IoU@3"] > clicked["IoU@1"] > 0.1
    assert clicked["IoU@1 of the best of three masks"] >= clicked["IoU@1"]
    lines = capsys.readouterr().out.splitlines()
    assert f"semantic mIoU = {figures['mIoU']:.4f}" in lines
    for task in tasks:
        assert (tmp_path / f"out/{task}.jpg").read_bytes().startswith(b"\xff\xd8")


def test_another_data_sets_labels(server_url: str, tmp_path: Path) -> None:
    """A drawn street in the folders of Cityscapes: CamVid's names find their places there."""
    pixels, labels = street_scene(512, 256, seed=4)
    city = {label.name: label.category_id or 0 for label in label_space("cityscapes").labels}
    names = ["sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car", "person"]
    official = np.array([*(city[name] for name in names), city["rider"], 0], np.uint16)
    write(tmp_path / "leftImg8bit/val/drawn/drawn_000000_000001_leftImg8bit.png", pixels)
    stem = tmp_path / "gtFine/val/drawn/drawn_000000_000001_gtFine"
    write(Path(f"{stem}_labelIds.png"), official[labels].astype(np.uint8))
    write(Path(f"{stem}_instanceIds.png"), official[labels])
    found = evaluate(server_url, tmp_path, tmp_path / "out", "--tasks", "semantic,panoptic")
    assert found["semantic"]["label_space"] == "camvid"
    assert found["semantic"]["classes"]["vegetation"]["IoU"] > 0
    assert found["semantic"]["figures"]["pixel accuracy"] > 0.3
    lacking = found["semantic"]["notes"][0]
    assert "terrain" in lacking
    assert "sidewalk" not in lacking
    assert found["panoptic"]["classes"]["road"]["PQ"] > 0
