"""`pyproject.toml` in, one requirement a line out: those of the platform, or of the extra that is named.

Standard library only: the image runs it before anything is installed.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def requirements(extra: str | None) -> list[str]:
    """The platform's requirements, or the extra's. Raises `KeyError` where there is no such extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: list[str] = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return found


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1] if len(sys.argv) > 1 else None)))
