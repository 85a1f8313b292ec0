"""Results in, `bench.json` and `bench.md` out: medians over the rounds, who was missing, and every promise judged."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from load_tests.rounds import Missing, Results, Scenario, Standing, failed
from load_tests.rows import Row, rows
from load_tests.summary import summary
from load_tests.verdicts import Verdict

MARKS = {True: "kept", False: "BROKEN", None: "not judged"}


def markdown(machine: Mapping[str, Any], played: Sequence[tuple[Scenario, Results]], judged: Sequence[Verdict]) -> str:
    """The whole report."""
    lines = ["# Benchmark", "", f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, "]
    lines[-1] += f"{machine['memory_gib']} GiB, {machine['system']}, commit {machine['commit'] or 'unknown'}."
    lines += [f"Load average at the start {machine['load_average'][0]}: above a few tenths, only ratios count.", ""]
    for title, versions in (("Versions", machine["versions"]), ("Peers", machine["peers"])):
        lines.append(f"{title}: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    lines += ["", "## Promises", "", "| promise | verdict | measured |", "|---|---|---|"]
    lines += [f"| {each.promise} | **{MARKS[each.kept]}** | {each.found} |" for each in judged]
    for scenario, results in played:
        found = rows(results.records)
        lines += ["", f"## {scenario.title}", "", *summary(found, results.standings), "", *_loads(found)]
        lines += _standing(results.standings)
        lines += [*_equality(results.standings), *_missing(results.missing)]
        lines += [f"- errors: {name}: {count}" for name, count in failed(results.records).items()]
    return "\n".join(lines) + "\n"


def _loads(found: Sequence[Row]) -> list[str]:
    head = "| load | contestant | callers | requests/s (lowest to highest round) | p50 ms | p95 ms | p99 ms "
    lines = [head + "| CPU ms a request | of the client |", "|---|---|---|---|---|---|---|---|---|"]
    for row in sorted(found, key=lambda row: (row.load, row.callers)):
        spread = f"{row.per_second:.1f} ({row.lowest:.1f} to {row.highest:.1f})"
        times = f"{row.p50_ms:.1f} | {row.p95_ms:.1f} | {row.p99_ms:.1f} | {row.cpu_ms:.2f} | {row.client_ms:.2f}"
        lines.append(f"| {row.load} | {row.name} | {row.callers} | {spread} | {times} |")
    return lines


def _standing(standings: Sequence[Standing]) -> list[str]:
    lines = ["", "| contestant | start to first answer, s | memory (PSS), MB |", "|---|---|---|"]
    for each in standings:
        name = ", ".join(filter(None, (each.server, each.label, each.layout)))
        lines.append(f"| {name} | {each.cold_start_s:.1f} | {each.pss_bytes / 1e6:.0f} |")
    return lines


def _equality(standings: Sequence[Standing]) -> list[str]:
    """Whether everyone with the same engine gives the same picture, byte for byte; else how many labels are those of
    the first one of all."""
    by_label: dict[str, list[Standing]] = {}
    for each in standings:
        by_label.setdefault(each.label, []).append(each)
    lines = [""]
    for label, group in by_label.items():
        name = label or "first answers"
        if len({each.first for each in group}) == 1:
            lines.append(f"- {name}: the same answer from all {len(group)}{_shared(group[:1], standings[0])}")
        else:
            lines.append(f"- {name}: answers differ{_shared(group, standings[0])}")
    return lines


def _shared(group: Sequence[Standing], reference: Standing) -> str:
    """How many labels each has in common with the reference; nothing for the reference itself."""
    told = [
        f"{each.server} ({each.layout}) {100 * _agreement(each.first, reference.first):.2f} %"
        for each in group
        if each is not reference
    ]
    return f"; labels as {reference.server}, {reference.label}: {', '.join(told)}" if told else ""


def _agreement(one: bytes, other: bytes) -> float:
    """The part of the pixels with the same value in two pictures; 0 when their sizes differ or one is no picture."""
    try:
        ours, theirs = (np.asarray(Image.open(io.BytesIO(each))) for each in (one, other))
    except UnidentifiedImageError:
        return 0.0
    return float(np.mean(ours == theirs)) if ours.shape == theirs.shape else 0.0


def _missing(missing: Sequence[Missing]) -> list[str]:
    return [f"- took no part: {each.name}: {' '.join(each.reason.split())}" for each in missing]


def write(
    out: Path, machine: Mapping[str, Any], played: Sequence[tuple[Scenario, Results]], judged: Sequence[Verdict]
) -> Path:
    """Both files into `out`; the path of the report."""
    out.mkdir(parents=True, exist_ok=True)
    data = {
        "machine": machine,
        "verdicts": [dataclasses.asdict(each) for each in judged],
        "records": [dataclasses.asdict(each) for _, results in played for each in results.records],
        "standings": [
            {**dataclasses.asdict(each), "first": hashlib.sha256(each.first).hexdigest()}
            for _, results in played
            for each in results.standings
        ],
        "missing": [dataclasses.asdict(each) for _, results in played for each in results.missing],
    }
    (out / "bench.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    report = out / "bench.md"
    report.write_text(markdown(machine, played, judged), encoding="utf-8")
    return report
