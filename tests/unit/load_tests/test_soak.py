"""Users who leave a soak early are no clean soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.soak import stayed
from load_tests.trends import Asked


def test_users_who_crashed_midway_are_told(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    log.write_text("Traceback: locust")
    early, late = Asked(3, "click", 9, ""), Asked(595, "click", 9, "")
    assert stayed([late, early], 600, log) == [early, late]
    with pytest.raises(RuntimeError, match=r"gone after 3 of 600 s: Traceback"):
        stayed([early], 600, log)
