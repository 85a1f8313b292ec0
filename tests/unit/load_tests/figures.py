"""Records of a benchmark, made up, for tests of what is concluded from them."""

from __future__ import annotations

from load_tests.rounds import Record


def record(
    server: str,
    per_second: float,
    *,
    scenario: str = "street",
    label: str = "OpenVINO f32",
    layout: str = "2 x 1",
    callers: int = 8,
    round: int = 0,
    p50_ms: float = 100.0,
    load: str = "photo",
    errors: dict[str, int] | None = None,
) -> Record:
    """One window."""
    return Record(
        scenario=scenario,
        load=load,
        server=server,
        label=label,
        layout=layout,
        callers=callers,
        round=round,
        per_second=per_second,
        p50_ms=p50_ms,
        p95_ms=2 * p50_ms,
        p99_ms=3 * p50_ms,
        cpu_ms=50.0,
        client_ms=0.1,
        answers=100,
        errors=errors or {},
    )
