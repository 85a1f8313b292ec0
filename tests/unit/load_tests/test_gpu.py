"""The GPU bench away from a GPU: its cards load, its configuration is one, and its report says what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from load_tests.client import Window
from load_tests.gpu.__main__ import layout, parser
from load_tests.gpu.bare import equal, recorded
from load_tests.gpu.models import HEIGHT, SUBJECTS, WIDTH, Subject, write_card
from load_tests.gpu.report import Report
from load_tests.gpu.served import request_form, stamped, yaml_of
from load_tests.pictures import drawn
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.decode import decode
from shared.models.adapters import street_frame
from shared.models.engines.engine import Around
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from shared.models.geometry import place
from shared.serving.args import ServiceArgs, UserConfig
from shared.types import DenseInput, Embedding, EncoderInput, SemanticOutput
from tests.unit.models.small import small_graph

CHOSEN = {"device": "cuda", "precision": "bf16", "max_batch": 16}


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: str(subject.card))
def test_every_subject_loads_answers_and_says_what_its_engine_is_given(subject: Subject, tmp_path: Path) -> None:
    card = write_card(subject, tmp_path, tiny=True)
    assert card.tasks == (subject.task,)
    options = LoadOptions((subject.role,), engine="torch", device="cpu")
    model = load(card, options).roles[subject.role]
    pixels = decode(drawn(0, 64, 48, "JPEG"), max_pixels=10**6, max_side=10**4)
    item = EncoderInput(pixels) if subject.role == "encoder" else DenseInput(pixels)
    (answer,) = model.predict([item])
    assert equal(answer, answer) == 1.0
    arrays = model.arranged([item, item])  # type: ignore[attr-defined]
    outputs = model.engine.run(arrays)  # type: ignore[attr-defined]
    assert {len(array) for array in arrays.values()} == {len(array) for array in outputs.values()} == {2}


def test_the_picture_falls_into_the_one_bucket_that_is_warmed() -> None:
    for subject in SUBJECTS:
        preprocess = find_card(subject.card).preprocess.model_copy(update=dict(subject.preprocess))
        buckets = preprocess.dense_buckets or preprocess.buckets
        if subject.card == "street":
            canvas = street_frame.place((HEIGHT, WIDTH), buckets).canvas
        else:
            canvas = place(preprocess, HEIGHT, WIDTH).canvas
        assert canvas in buckets or preprocess.window or preprocess.size == canvas, subject.card


def test_the_configuration_books_a_share_of_the_gpu_for_each_replica() -> None:
    given = parser().parse_args(["--gateways", "3"])
    front, *applications = yaml_of(SUBJECTS, CHOSEN, layout(given))["applications"]
    assert front["deployments"][0]["num_replicas"] == 3
    assert len({each["name"] for each in applications}) == len(SUBJECTS)
    for subject, each in zip(SUBJECTS, applications, strict=True):
        args = ServiceArgs.model_validate(each["args"])
        assert args.max_batch == min(subject.max_batch // 2, 16)
        for deployment in each["deployments"]:
            args.live(deployment["user_config"])
            assert UserConfig.model_validate(deployment["user_config"]).max_batch == args.max_batch
            assert deployment["ray_actor_options"]["num_gpus"] > 0
    on_cpu = yaml_of(SUBJECTS[:1], {**CHOSEN, "device": "cpu"}, layout(given))["applications"][1]
    assert on_cpu["deployments"][0]["ray_actor_options"]["num_gpus"] == 0


def test_requests_name_their_model_and_differ() -> None:
    images = stamped([drawn(0, 64, 48, "JPEG")], 5)
    assert len(set(images)) == 5
    assert decode(images[4], max_pixels=10**6, max_side=10**4).shape == (48, 64, 3)
    for subject in SUBJECTS:
        path, form = request_form(subject)
        target = form("http://127.0.0.1:1", images)
        assert len(set(target.requests)) == 5
        assert target.requests[0].startswith(f"POST {path} ".encode())
        assert subject.name.encode() in target.requests[0]


def test_the_report_keeps_what_was_measured_after_each_step(tmp_path: Path) -> None:
    report = Report(tmp_path, {"date": "today", "gpu": "one", "options": {}})
    found = {"model": "b5", "best": 200.0, "best_batch": 16, "passes": {1: 50.0, 16: 200.0}}
    report.bare(found)
    assert "best_batch 16" in report.line_of(found)
    line = report.served("b5", 8, Window(8, 2.0, (40.0,) * 360), {}, {(1, 1.0): 3.6})
    assert "ratio 0.9" in line
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["served"]["b5"][0]["server_cpu_ms"] == 10.0
    assert "180.0" in report.table()
    report.failure("b0", "no answer")
    assert json.loads((tmp_path / "gpu.json").read_text())["served"]["b0"] == [{"failed": "no answer"}]


@pytest.mark.parametrize("errors", [{}, {"503": 1}])
def test_a_figure_with_refusals_in_it_is_none(errors: dict[str, int], tmp_path: Path) -> None:
    report = Report(tmp_path, {})
    report.served("b5", 8, Window(8, 2.0, (40.0,) * 360, errors), {}, {})
    assert report.failed is bool(errors)


def test_answers_are_compared_by_their_labels_and_by_their_values() -> None:
    labels = np.zeros((4, 4), np.uint8)
    other = labels.copy()
    other[0] = 1
    sure = np.ones((4, 4), np.float16)
    assert equal(SemanticOutput(other, sure), SemanticOutput(labels, sure)) == 0.75
    values = torch.randn(8, 8).half().numpy()
    moved = values.copy()
    moved[:4] += np.float16(0.5)
    assert equal(Embedding((8, 8), (moved,)), Embedding((8, 8), (values,))) == 0.5


def test_recorded_passes_are_counted_however_deep_their_engine_lies() -> None:
    recording: Any = Around(TorchEngine(small_graph(), TorchOptions(torch.device("cpu"))))
    assert recorded(recording) == recorded(Around(recording)) == 0
    recording.recordings = {"one": 1, "two": 2}
    assert recorded(recording) == recorded(Around(recording)) == 2
