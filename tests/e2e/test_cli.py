"""The command line against the running platform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli import main
from tests.data import drawn_street, pixels_of

pytestmark = pytest.mark.e2e


def test_segment_prints_a_table_and_writes_the_overlay(
    server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "street.png"
    photo.write_bytes(drawn_street())
    assert main(["segment", str(photo), "--task", "semantic", "--overlay", "--url", server_url]) == 0
    assert "street.png: 480x360, street@" in capsys.readouterr().out
    assert pixels_of((tmp_path / "street.semantic.png").read_bytes()).shape == (360, 480, 3)


def test_models_lists_the_bundled_model(server_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--url", server_url]) == 0
    assert "street" in capsys.readouterr().out


def test_errors_are_told_plainly(server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image at all")
    photo = tmp_path / "street[1].png"
    photo.write_bytes(drawn_street())
    assert main(["segment", str(text), str(photo), "--url", server_url]) == 1
    told = "".join(capsys.readouterr().out.split())
    assert "notes.png:unsupported_format" in told
    assert "street[1].png:480x360" in told  # one bad file does not stop the next
    assert main(["segment", str(tmp_path / "absent.png"), "--url", server_url]) == 1
    assert main(["models", "--url", "http://127.0.0.1:9"]) == 1
    assert "nothing answers there. Is the platform up" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("options", [["--task", "semantic"], ["--everything"]])
def test_a_picture_that_cannot_be_written_is_told_with_its_file(
    options: list[str], server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "street.png"
    photo.write_bytes(drawn_street())
    for kind in ("semantic", "everything"):
        (tmp_path / f"street.{kind}.png").mkdir()
    assert main(["segment", str(photo), *options, "--overlay", "--url", server_url]) == 1
    assert "Isadirectory" in "".join(capsys.readouterr().out.split())


def test_doctor_finds_what_the_platform_needs(server_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "missing" not in capsys.readouterr().out


def test_jobs_are_submitted_waited_for_read_and_forgotten(
    server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--url", server_url]
    photo, text = tmp_path / "street.png", tmp_path / "notes.png"
    photo.write_bytes(drawn_street())
    text.write_text("no image at all")
    assert main(["jobs", "submit", str(text), str(photo), "--task", "semantic", "--set", "format=png", *at]) == 1
    refused, accepted = capsys.readouterr().out.splitlines()
    assert "notes.png: unsupported_format" in refused
    job = accepted.split()[0]
    assert main(["jobs", "wait", job, *at]) == 0
    assert f"{job}  done" in capsys.readouterr().out
    assert main(["jobs", "result", job, "--out", str(tmp_path / "found.json"), *at]) == 0
    assert json.loads((tmp_path / "found.json").read_bytes())["task"] == "semantic"
    capsys.readouterr()
    assert main(["jobs", "list", "--state", "done", *at]) == 0
    assert any(line.split()[:3] == [job, "semantic", "done"] for line in capsys.readouterr().out.splitlines())
    assert main(["jobs", "cancel", job, *at]) == 0
    assert main(["jobs", "result", job, *at]) == 1
    assert "job_not_found" in capsys.readouterr().out
