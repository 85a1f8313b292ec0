"""What the launcher says before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import local
from deploy.cluster import free_port
from shared.settings import parse


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_said(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    assert local.up(local.parser().parse_args(["--host", host, "--port", port])) == 1
    assert capsys.readouterr().err.startswith(f"SegServe did not start: port {port} on {host}: ")


@pytest.mark.parametrize("text", ["0", "-1", "65536", "eighty", ""])
def test_what_is_no_port_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        local.parser().parse_args(["--port", text])
    assert "is no port from 1 to 65535" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.yaml"
    assert local.up(local.parser().parse_args(["--port", str(free_port()), "--config", str(missing)])) == 1
    assert capsys.readouterr().err == f"SegServe did not start: {missing}: No such file or directory\n"


def test_a_home_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(local, "settings", lambda: parse({"SEGSERVE_HOME": str(tmp_path / "file")}))
    assert local.up(local.parser().parse_args(["--port", str(free_port())])) == 1
    assert f"SegServe did not start: {tmp_path / 'file'}" in capsys.readouterr().err
