"""Users who leave a soak early are no clean soak, and what was too rare to be judged is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests import soak
from load_tests.soak import parser, stayed
from load_tests.trends import Asked, Sample


def test_users_who_crashed_midway_are_told(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    log.write_text("Traceback: locust")
    early, late = Asked(3, "click", 9, ""), Asked(595, "click", 9, "")
    assert stayed([late, early], 600, log) == [early, late]
    with pytest.raises(RuntimeError, match=r"gone after 3 of 600 s: Traceback"):
        stayed([early], 600, log)


def test_the_report_names_the_kinds_whose_p99_it_could_not_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [Sample(each, {"gateway": 10**8}, 50, 30) for each in range(600)]
    asked = [Asked(each, "click", 9, "") for each in range(600)] + [Asked(599, "everything", 900, "")]
    monkeypatch.setattr(soak, "soak", lambda given, home: (samples, asked))
    given = parser().parse_args(["--minutes", "10"])
    given.scratch = tmp_path
    assert soak.run(given) == 0
    told = capsys.readouterr().out
    assert "p99 of everything is not judged: 0 requests in the first third, 1 in the last, 100 needed in each" in told
    assert "p99 of click" not in told
