"""Rows in, pictures out: throughput over callers, latency over the size of the picture, throughput against p99.

matplotlib is in the extra `bench`; without it there are tables only, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load_tests.rows import Row

Points = Sequence[tuple[float, float]]


def lines(
    path: Path, title: str, axes: tuple[str, str], series: Mapping[str, Points], limit: float | None = None
) -> None:
    """One line a name over a logarithmic axis, written as PNG; a dashed one at `limit`. Raises `ImportError` without
    matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    figure, plot = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    for name, points in series.items():
        across, up = zip(*sorted(points), strict=True)
        plot.plot(across, up, marker="o", label=name, linewidth=2.5 if name.startswith("SegServe") else 1.2)
    plot.set(title=title, xlabel=axes[0], ylabel=axes[1], ylim=(0, None))
    if limit is not None:
        plot.axvline(limit, color="tab:red", linestyle="--", linewidth=1.2, label=f"limit, {limit:g}")
    plot.set_xscale("log")
    plot.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8)))
    plot.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    plot.xaxis.set_minor_locator(ticker.NullLocator())
    plot.grid(alpha=0.3)
    plot.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def bars(path: Path, title: str, axis: str, values: Mapping[str, float]) -> None:
    """One bar a name, written as PNG. Raises `ImportError` without matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, plot = pyplot.subplots(figsize=(9, 0.6 + 0.32 * len(values)), layout="constrained")
    names = list(values)[::-1]
    colors = ["tab:blue" if name.startswith("SegServe") else "tab:grey" for name in names]
    drawn: Any = plot.barh(names, [values[name] for name in names], color=colors)
    plot.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8)
    plot.set(title=title, xlabel=axis)
    plot.margins(x=0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw(out: Path, rows: Sequence[Row]) -> list[Path]:
    """Every plot of the benchmark that these rows allow. Raises `ImportError` without matplotlib."""
    made = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        here = [row for row in rows if row.scenario == scenario]
        at_8 = {row.name: row.per_second for row in here if row.callers == 8 and row.load in ("photo", "null", "click")}
        if at_8:
            made.append(out / f"{scenario}-8-callers.png")
            bars(made[-1], f"{scenario}: 8 callers", "requests/s", at_8)
        over_callers = _series(
            [row for row in here if not row.load.endswith("MP")], lambda row: row.callers, "per_second"
        )
        if over_callers:
            made.append(out / f"{scenario}-callers.png")
            lines(made[-1], f"{scenario}: throughput", ("callers", "requests/s"), over_callers)
        sizes = _series([row for row in here if row.load.endswith("MP")], _megapixels, "p50_ms")
        if sizes:
            made.append(out / f"{scenario}-sizes.png")
            lines(made[-1], f"{scenario}: one caller", ("megapixels", "p50 ms"), sizes)
    return made


def _megapixels(row: Row) -> float:
    return float(row.load.removesuffix("MP"))


def _series(rows: Sequence[Row], across: Any, up: str) -> dict[str, list[tuple[float, float]]]:
    """Points by contestant, of those that have several."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        series.setdefault(row.name, []).append((across(row), getattr(row, up)))
    return {name: points for name, points in series.items() if len(points) > 1}
