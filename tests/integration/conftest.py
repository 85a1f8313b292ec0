"""One platform of trivial models for every suite of this folder that heals what it does to it: a start costs more CPU
than most of their tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.trivial.platform import HERE, deploy, environment, eventually, settled
from tests.platform import Platform, running


@pytest.fixture(scope="session")
def trivial() -> Iterator[Platform]:
    """The platform of `serve.yaml` as the last test left it."""
    with running("--config", str(HERE / "serve.yaml"), SEGSERVE_JOB_LEASE_S="3", **environment()) as found:
        yield found


@pytest.fixture
def platform(trivial: Platform) -> Platform:
    """The platform as `serve.yaml` says, after whatever an earlier test did to it has healed."""
    if not eventually(lambda: settled(trivial, "serve.yaml")):
        assert deploy(trivial).returncode == 0
        assert eventually(lambda: settled(trivial, "serve.yaml")), trivial.log.read_text()[-5000:]
    return trivial
