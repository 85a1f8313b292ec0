"""The README's code blocks run: shell and Python against the running platform, `make` targets by their existence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import ROOT, drawn_street

pytestmark = pytest.mark.e2e
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8"))]
SETS_UP = re.compile(r"^(git clone|cd |make |HOST=|PORT=|SEGSERVE_)")
"""Lines that set the platform up; it runs already, so they are checked, not run."""


def name_of(block: tuple[str, ...]) -> str:
    """A short test id: the block's first line."""
    return block[1].strip().splitlines()[0][:40]


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_the_block_runs(block: tuple[str, str], server_url: str, tmp_path: Path) -> None:
    language, code = block
    (tmp_path / "street.png").write_bytes(drawn_street())
    code = code.replace("http://127.0.0.1:8000", server_url)
    code = code.replace(".venv/bin/segserve", f"{sys.executable} -m services.cli")
    command = [sys.executable, "-c", code]
    if language == "bash":
        shell = "\n".join(line for line in code.splitlines() if not sets_up(line))
        command = ["bash", "-euo", "pipefail", "-c", shell]
    port = server_url.rpartition(":")[2]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "SEGSERVE_PORT": port}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:]


def sets_up(line: str) -> bool:
    """Whether the line is set-up; a `make` target that does not exist fails here."""
    for target in re.findall(r"\bmake ([a-z-]+)", line):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), line
    return SETS_UP.match(line) is not None


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 5
