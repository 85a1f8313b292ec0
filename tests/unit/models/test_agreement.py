"""The command that compares engines: equal ones pass, others fail, and what it prints goes onto a card."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from shared.catalog.card import Check
from shared.evaluation.dataset import Sample
from shared.imaging.sample import street_scene
from shared.models import agreement
from shared.models.agreement import Agreement, compare, main
from shared.models.answer_maps import MAPS
from shared.types import UInt8Array


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn streets, laid out like CamVid."""
    folder = tmp_path_factory.mktemp("camvid")
    for kind in ("images", "labels"):
        (folder / "val" / kind).mkdir(parents=True)
    for seed in range(2):
        pixels, labels = street_scene(240, 180, seed)
        cv2.imwrite(str(folder / "val" / "images" / f"{seed}.png"), pixels[..., ::-1])
        cv2.imwrite(str(folder / "val" / "labels" / f"{seed}.png"), labels)
    return folder


def test_an_engine_that_agrees_passes_and_its_line_is_a_check(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "street",
        "--engine",
        "openvino",
        "--data",
        str(camvid),
        "--tasks",
        "semantic",
        "panoptic",
        "--threads",
        "1",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("  - {")]
    checks = [Check.model_validate(each) for line in lines for each in yaml.safe_load(line)]
    assert [check.on.split(",")[0] for check in checks] == ["semantic", "panoptic"]
    assert all(check.agreement >= 99.9 for check in checks)
    assert abs(checks[0].miou_cost or 0) < 0.1
    assert checks[0].source.startswith("segserve agree street --engine openvino --data FOLDER"), "no path of a machine"
    assert printed.count("pass") == 2


def test_what_cannot_be_compared_is_said(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["street", "--engine", "tensorrt", "--data", str(camvid)]) == 2
    assert "runs in openvino" in capsys.readouterr().out
    assert main(["street", "--engine", "openvino", "--data", str(tmp_path)]) == 2
    assert "no data set and no pictures" in capsys.readouterr().out


def test_disagreement_fails(camvid: Path) -> None:
    def right(pixels: UInt8Array) -> np.ndarray:
        return np.zeros(pixels.shape[:2], np.uint8)

    def wrong(pixels: UInt8Array) -> np.ndarray:
        labels = np.zeros(pixels.shape[:2], np.uint8)
        labels[:18] = 1
        return labels

    samples = [Sample(path.name, path, agreement._nothing) for path in sorted((camvid / "val" / "images").iterdir())]
    found = compare(wrong, right, samples, Agreement("semantic"), None)
    assert found.agreement == pytest.approx(90)
    assert not found.passes("int8")
    same = compare(right, right, samples, Agreement("semantic"), None)
    assert (same.agreement, same.worst, same.passes("f32")) == (100, 100, True)
    one = np.array([[90, 10, 0], [0, 100, 0]])
    same.counts = one, one
    assert same.passes("f32")
    same.counts = np.array([[80, 20, 0], [0, 100, 0]]), one
    assert same.miou is not None
    assert same.miou[1] - same.miou[0] > 0.5
    assert not same.passes("f32"), "labels may agree in all and cost a class that is rare"


def test_every_task_has_a_map() -> None:
    assert set(MAPS) == {"semantic", "instance", "panoptic", "promptable"}
