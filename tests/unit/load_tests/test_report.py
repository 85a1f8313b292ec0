"""The report: medians over rounds, who was missing, whether answers are equal, and promises with their verdicts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from load_tests import report
from load_tests.machine import described
from load_tests.rounds import Missing, Results, Scenario, Standing
from load_tests.rows import rows
from load_tests.summary import HEAD, summary
from load_tests.verdicts import Verdict, verdicts
from tests.unit.load_tests.figures import record

RECORDS = tuple(record("mosec", rate, round=number) for number, rate in enumerate((9.0, 30.0, 10.0)))


def results(*firsts: bytes) -> Results:
    standings = (
        Standing("street", f"server {index}", "OpenVINO f32", "2 x 1", 1.5, 300_000_000, first)
        for index, first in enumerate(firsts)
    )
    missing = (Missing("street", "Triton, 2 x 1", "did not start:\n its interpreter\n is too old"),)
    return Results(RECORDS, tuple(standings), missing)


def text(of: Results) -> str:
    scenario = Scenario("street", "street, OpenVINO f32", (), (), 3)
    return report.markdown(described(Path("nowhere")), [(scenario, of)], verdicts(of.records))


def test_a_row_is_the_median_of_its_rounds_with_their_spread() -> None:
    (row,) = rows(RECORDS)
    assert (row.per_second, row.lowest, row.highest) == (10.0, 9.0, 30.0)
    assert (
        "| photo | mosec, OpenVINO f32, 2 x 1 | 8 | 10.0 (9.0 to 30.0) | 100.0 | 200.0 | 300.0 | 50.00 | 0.10 |"
        in text(results(b"a"))
    )


def test_the_summary_has_each_contestant_once_in_its_best_layout() -> None:
    found = rows(
        [
            record("mosec", 9.0, layout="1 x 2", callers=1, p50_ms=80.0),
            record("mosec", 10.0, layout="1 x 2", callers=8),
            record("mosec", 12.0, layout="2 x 1", callers=8, p50_ms=200.0),
            record("FastAPI", 20.0, layout="2 x 1", callers=8),
            record("FastAPI", 90.0, layout="2 x 1", callers=1, load="3 MP", p50_ms=1.0),
        ]
    )
    standings = [Standing("street", "mosec", "OpenVINO f32", "2 x 1", 1.5, 300_000_000, b"")]
    head, _, first, second = summary(found, standings)
    assert head == HEAD[0]
    assert first == "| FastAPI, OpenVINO f32 | 2 x 1 | 20.0 | 100 | 300 | 50.0 |  |  |"
    assert second == "| mosec, OpenVINO f32 | 2 x 1 | 12.0 | 200 | 600 | 50.0 | 300 | 80.0 |"


def test_the_missing_are_named_with_their_reason() -> None:
    assert "- took no part: Triton, 2 x 1: did not start: its interpreter is too old" in text(results(b"a"))


def picture(*values: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.array([values], dtype=np.uint8)).save(written, "PNG")
    return written.getvalue()


def test_unequal_answers_of_one_engine_are_told_with_the_labels_that_they_share() -> None:
    same, other = picture(1, 2, 3, 4), picture(1, 2, 3, 5)
    assert "- OpenVINO f32: the same answer from all 2\n" in text(results(same, same))
    assert "answers differ; labels as server 0, OpenVINO f32: server 1 (2 x 1) 75.00 %" in text(results(same, other))
    assert "server 1 (2 x 1) 0.00 %" in text(results(same, b"no picture"))


def test_both_files_are_written_and_say_the_same(tmp_path: Path) -> None:
    judged = [Verdict("fast enough", False, "0.80")]
    scenario = Scenario("street", "street, OpenVINO f32", (), (), 3)
    path = report.write(tmp_path, described(tmp_path), [(scenario, results(b"a", b"b"))], judged)
    assert "| fast enough | **BROKEN** | 0.80 |" in path.read_text()
    data = json.loads((tmp_path / "bench.json").read_text())
    assert data["verdicts"] == [{"promise": "fast enough", "kept": False, "found": "0.80"}]
    assert [each["per_second"] for each in data["records"]] == [9.0, 30.0, 10.0]
    assert data["machine"]["cores"] >= 1
    assert data["machine"]["versions"]["ray"]
