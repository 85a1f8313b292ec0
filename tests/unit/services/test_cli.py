"""Words after a command that becomes another program."""

from __future__ import annotations

import os

import pytest

from services.cli import main


@pytest.mark.parametrize(("command", "module"), [("tune", "load_tests.tuning"), ("agree", "shared.models.agreement")])
@pytest.mark.parametrize("words", [["--help"], ["--model", "street", "x"], []])
def test_every_word_is_passed_on(command: str, module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: became.append(arguments))
    assert main([command, *words]) == 0
    assert became[0][1:] == ["-m", module, *words]
