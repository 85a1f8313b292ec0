"""Panels in few words: title, unit, what to do about it, and expressions by the legend of their lines.

Levels turn a panel orange and red: the smaller value is worth a look, the larger one needs a hand now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[dashboard.Panel]
Levels = Sequence[float]
"""None, one (red) or two (orange, red) values, ascending."""
Series = Mapping[str, str]
"""Legend -> expression."""
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRAPH_HEIGHT, FIGURE_HEIGHT = 8, 4


def query(expression: str, legend: str = "", number: int = 0) -> prometheus.Dataquery:
    """One expression over time; `number` makes its letter."""
    found = prometheus.Dataquery().expr(expression).ref_id(chr(ord("A") + number)).datasource(SOURCE)
    return found.legend_format(legend) if legend else found


def thresholds(levels: Levels) -> ThresholdsConfig:
    """Green below all levels."""
    colours = ("orange", "red")[-len(levels) :] if levels else ()
    steps = [dashboard.Threshold(value=level, color=colour) for level, colour in zip(levels, colours, strict=True)]
    base = dashboard.Threshold(value=None, color="green")
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps([base, *steps])


def graph(
    title: str, unit: str, says: str, series: Series, *, levels: Levels = (), stacked: bool = False, width: int = 8
) -> Panel:
    """Lines over time; `stacked` where their sum means something. `width` in 24ths of the page."""
    panel = timeseries.Panel().title(title).description(says).unit(unit).datasource(SOURCE).min(0).fill_opacity(10)
    panel.height(GRAPH_HEIGHT).span(width).show_points(VisibilityMode.NEVER).thresholds(thresholds(levels))
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    panel.legend(legend.placement(LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    if levels:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for number, (name, expression) in enumerate(series.items()):
        panel.with_target(query(expression, name, number))
    return panel


def figure(title: str, unit: str, says: str, expression: str, *, levels: Levels = (), width: int = 4) -> Panel:
    """One number as it is now, with its recent past behind it."""
    panel = stat.Panel().title(title).description(says).unit(unit).datasource(SOURCE).span(width).no_value("none")
    panel.height(FIGURE_HEIGHT).graph_mode(BigValueGraphMode.AREA).thresholds(thresholds(levels))
    panel.color_mode(BigValueColorMode.BACKGROUND if levels else BigValueColorMode.VALUE)
    panel.text_mode(BigValueTextMode.VALUE).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(query(expression))


def listing(title: str, says: str, expression: str, *, counted: str) -> Panel:
    """A table of what is there now by its labels; `counted` is what the value is the number of."""
    panel = table.Panel().title(title).description(says).unit("short").datasource(SOURCE).span(8)
    panel.height(GRAPH_HEIGHT).show_header(True)
    options = {"excludeByName": {"Time": True}, "renameByName": {"Value": counted}}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=options))
    return panel.with_target(query(expression).instant().format(PromQueryFormat.TABLE))


def states(title: str, says: str, expression: str, legend: str, names: Mapping[int, tuple[str, str]]) -> Panel:
    """A coloured band for each series, its value shown by name: value -> (name, colour)."""
    panel = statetimeline.Panel().title(title).description(says).unit("short").datasource(SOURCE).span(12)
    shown = {
        str(value): dashboard.ValueMappingResult(text=name, color=colour, index=index)
        for index, (value, (name, colour)) in enumerate(names.items())
    }
    panel.height(GRAPH_HEIGHT).mappings([dashboard.ValueMap(options=shown)]).show_value(VisibilityMode.NEVER)
    return panel.with_target(query(expression, legend))


def spread(title: str, unit: str, says: str, expression: str, *, width: int = 8) -> Panel:
    """A heat map of a histogram's buckets."""
    panel = heatmap.Panel().title(title).description(says).unit(unit).datasource(SOURCE).height(GRAPH_HEIGHT)
    panel.span(width).y_axis(heatmap.YAxisConfig().unit(unit).min(0)).show_y_histogram()
    panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64))
    return panel.with_target(query(expression, "{{le}}").format(PromQueryFormat.HEATMAP))
