"""Words after a command that becomes another program, and what does not depend on the machine of a command."""

from __future__ import annotations

import os
import socket

import httpx
import pytest

from services import cli
from services.cli import main
from shared.settings import parse


@pytest.mark.parametrize(("command", "module"), [("tune", "load_tests.tuning"), ("agree", "shared.models.agreement")])
@pytest.mark.parametrize("words", [["--help"], ["--model", "street", "x"], []])
def test_every_word_is_passed_on(command: str, module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: became.append(arguments))
    assert main([command, *words]) == 0
    assert became[0][1:] == ["-m", module, *words]


def test_a_setting_that_is_none_is_told_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "settings", lambda: parse({"SEGSERVE_PORT": "abc"}))
    assert main(["models"]) == 1
    assert "segserve: SEGSERVE_PORT: " in capsys.readouterr().out


def test_doctor_looks_at_machines_that_do_not_count_their_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str | int) -> int:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert main(["doctor"]) == 0


def test_a_platform_at_an_address_of_ipv6_is_asked_and_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr(cli, "settings", lambda: parse({"SEGSERVE_HOST": "::1", "SEGSERVE_PORT": str(port)}))
    asked: list[str] = []

    def answer(client: httpx.Client, path: str) -> httpx.Response:
        asked.append(str(client.base_url))
        raise httpx.ConnectError("nobody")

    monkeypatch.setattr(httpx.Client, "get", answer)
    assert main(["models"]) == 1
    assert asked == [f"http://[::1]:{port}"]
    families: list[int] = []
    monkeypatch.setattr(socket.socket, "bind", lambda listener, _: families.append(listener.family))
    assert main(["doctor"]) == 0
    assert families == [socket.AF_INET6]
    assert f"port {port} is free\n" in capsys.readouterr().out
