"""Every alert leads to a board and to a part of the runbook, which speak of panels and settings that there are."""

from __future__ import annotations

import re

from shared.settings import Settings
from tests.unit.grafana.known import PROMETHEUS, rules
from tests.unit.grafana.queries import boards, panels

RUNBOOK = (PROMETHEUS / "RUNBOOK.md").read_text(encoding="utf-8")
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_every_alert_has_its_board_with_variables_of_that_board() -> None:
    by_uid = {board["uid"]: board for board in boards().values()}
    for name, rule in ALERTS.items():
        path, _, asked = rule["annotations"]["dashboard"].partition("?")
        board = by_uid[path.removeprefix("/d/")]
        variables = {variable["name"] for variable in board["templating"]["list"]}
        assert set(re.findall(r"\bvar-(\w+)=", asked)) <= variables, name


def test_every_alert_has_its_part_of_the_runbook_and_there_are_no_others() -> None:
    parts = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert parts.keys() == ALERTS.keys()
    for name, text in parts.items():
        assert ALERTS[name]["annotations"]["runbook"] == f"deploy/prometheus/RUNBOOK.md#{name.lower()}"
        assert re.search(r"\*\*Means\*\*.*\*\*Look\*\*.*\*\*Do\*\*", text, re.DOTALL), name


def test_the_runbook_names_panels_that_there_are() -> None:
    titles = {panel["title"] for board in boards().values() for panel in board["panels"]}
    named = {" ".join(name.split()) for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", RUNBOOK)}
    assert len(named) > 10
    assert named <= titles


def test_settings_that_the_runbook_and_panels_name_are_settings() -> None:
    says = [panel["description"] for board in boards().values() for panel in panels(board)]
    named = {name.lower() for name in re.findall(r"\bSEGSERVE_(\w+)", "\n".join([RUNBOOK, *says]))}
    assert named
    assert named <= Settings.model_fields.keys()
