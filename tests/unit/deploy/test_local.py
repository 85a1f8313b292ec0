"""What the launcher says before it starts anything."""

from __future__ import annotations

import pytest

from deploy import local
from deploy.cluster import free_port


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_said(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    assert local.up(local.parser().parse_args(["--host", host, "--port", port])) == 1
    assert capsys.readouterr().err.startswith(f"SegServe did not start: port {port} on {host}: ")
