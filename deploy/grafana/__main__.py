"""`python -m deploy.grafana`: write every dashboard's JSON. A test says that what lies there is what this makes."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.boards import BOARDS

FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write the files, and remove those of dashboards that are no more."""
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(board.json(), encoding="utf-8")


if __name__ == "__main__":
    main()
