"""The dashboards' JSON: what the code makes, well formed, laid out without overlaps, provisioned."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER as WRITTEN
from deploy.grafana.boards import BOARDS
from tests.unit.grafana.queries import FOLDER, boards, panels

UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
COLUMNS = 24


def test_the_files_are_what_the_code_makes() -> None:
    """`python -m deploy.grafana` writes them."""
    assert {path.name: path.read_text(encoding="utf-8") for path in WRITTEN.glob("*.json")} == {
        f"{board.name}.json": board.json() for board in BOARDS
    }


@pytest.mark.parametrize("name", boards())
def test_grafanas_schema_takes_all_of_it(name: str) -> None:
    """As far as the foundation SDK has one: what it reads and writes again is the same, nothing is unknown to it but
    how annotations are shown."""
    board = boards()[name]
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    for annotation in board["annotations"]["list"]:
        assert annotation.pop("titleFormat")
        assert annotation.pop("step")
    assert again == board


def test_uids_and_titles_are_unique_and_name_the_file() -> None:
    found = boards()
    assert {name: board["uid"] for name, board in found.items()} == {name: f"segserve-{name}" for name in found}
    assert len({board["title"] for board in found.values()}) == len(found) == 5


@pytest.mark.parametrize("name", boards())
def test_panels_are_told_apart_and_do_not_overlap(name: str) -> None:
    board = boards()[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
    for one, other in combinations(board["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two places on the grid share a cell."""
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("name", boards())
def test_every_panel_says_what_it_shows_in_which_unit_and_from_where(name: str) -> None:
    board = boards()[name]
    assert board["description"]
    for panel in panels(board):
        assert re.fullmatch(r"\S.{10,}[.?]", panel["description"]), panel["title"]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit in UNITS or unit.startswith("suffix: "), (panel["title"], unit)
        assert panel["targets"]
        assert {each["uid"] for each in (panel["datasource"], *(t["datasource"] for t in panel["targets"]))} == {
            "${datasource}"
        }
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("name", boards())
def test_variables_are_declared_and_used(name: str) -> None:
    board = boards()[name]
    asked = " ".join(target["expr"] for panel in panels(board) for target in panel["targets"])
    declared = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", asked)) - {"__rate_interval"} == declared - {"datasource"}
    assert "datasource" in declared


def test_thresholds_ascend() -> None:
    for name, board in boards().items():
        for panel in panels(board):
            steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
            values = [step["value"] for step in steps[1:]]
            assert values == sorted(values), (name, panel["title"])


def provisioned(part: str) -> dict[str, Any]:
    """The one file of a folder of provisioning."""
    (path,) = (FOLDER / "provisioning" / part).glob("*.yaml")
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def test_the_data_source_and_the_dashboards_are_provisioned() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
