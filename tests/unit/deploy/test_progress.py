"""What a person reads while the platform starts is what there is, brackets included."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.progress import Failed, Progress


def test_brackets_in_paths_and_addresses_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Deploying [old].yaml ...") as progress:
        progress.note("[street] removed")
        progress.ready("http://[fe80::1]:8000", [], Path("/home/[me]/street.png"), "deploy FILE")
        progress.failed(Failed, Failed("no file [b].yaml"), None)
    told = capsys.readouterr().out
    for shown in ("[street] removed", "http://[fe80::1]:8000 after", "/home/[me]/street.png", "no file [b].yaml"):
        assert shown in told


@pytest.mark.parametrize("keyed", [False, True])
def test_the_commands_bring_a_key_where_one_is_asked_for(keyed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.ready("http://127.0.0.1:8000", [], Path("street.png"), "deploy FILE", keyed)
    assert capsys.readouterr().out.count('curl -s -H "X-API-Key: $KEY" -H') == 2 * keyed
