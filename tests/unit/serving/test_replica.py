"""What a replica offers to Serve: named methods, and nothing to an HTTP port of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.promptable.deployment import DecoderReplica, EncoderReplica
from shared.errors import InternalError, Overloaded
from shared.serving.replica import DEPLOYMENT_OPTIONS, DenseReplica, ModelReplica, refusal_as_value


@pytest.mark.parametrize("replica", [DenseReplica, EncoderReplica, DecoderReplica])
def test_a_replica_cannot_be_called_over_http(replica: type[ModelReplica]) -> None:
    assert not issubclass(replica, Callable)  # type: ignore[arg-type]  # what Serve itself asks


def test_an_update_starts_the_new_before_it_stops_the_old() -> None:
    assert DEPLOYMENT_OPTIONS["max_surge_percent"] == 100


async def test_a_refusal_is_a_value_and_a_failure_is_raised() -> None:
    async def refuse() -> str:
        raise Overloaded("busy")

    async def fail() -> str:
        raise InternalError

    answer = await refusal_as_value("r", refuse())
    assert isinstance(answer, Overloaded)
    with pytest.raises(InternalError):
        await refusal_as_value("r", fail())
