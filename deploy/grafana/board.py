"""A board: rows of panels, variables and links in, the JSON that Grafana loads out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from deploy.grafana.panels import SOURCE, Panel

TAG = "segserve"

VARIABLES: Mapping[str, str] = {
    "application": "label_values(ray_serve_deployment_status, application)",
    "route": "label_values(ray_segserve_requests_total, route)",
    "task": "label_values(ray_segserve_stage_seconds_count, task)",
    "model": "label_values(ray_segserve_batch_limit, model)",
    "node": 'label_values(up{job="ray"}, instance)',
}
"""Where the values of a variable come from. All are closed sets; there is none of tenants, which no metric names."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks over every graph where the expression has a value; `title` may quote labels."""

    name: str
    title: str
    colour: str
    expression: str


NEW = "count by ({by}) ({metric} unless on ({by}, {one}) {metric} offset 2m)"
"""What was not there two minutes ago. A counter of a dead replica stays, and is not new."""
STARTS = NEW.format(by="application, deployment", one="replica", metric="ray_serve_deployment_replica_starts_total")
BUILDS = NEW.format(by="version", one="python", metric="ray_segserve_build_info")
ANNOTATIONS = (
    Annotation("Alerts", "{{alertname}}", "red", 'ALERTS{alertstate="firing", alertname=~"SegServe.*"}'),
    Annotation("Replica starts", "{{application}}/{{deployment}} started", "blue", STARTS),
    Annotation("Deployments", "version {{version}}", "purple", BUILDS),
)


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: `name` is its file's, and its uid after `segserve-`; `rows` are panels by the title above them."""

    name: str
    title: str
    says: str
    variables: Sequence[str]
    rows: Mapping[str, Sequence[Panel]]

    @property
    def uid(self) -> str:
        """Its address in Grafana: `/d/<uid>`."""
        return f"{TAG}-{self.name}"

    def json(self) -> str:
        """What Grafana loads, the same text every time."""
        return json.dumps(self._built(), cls=_Encoder, indent=1, ensure_ascii=False) + "\n"

    def _built(self) -> dashboard.Dashboard:
        made = Dashboard(self.title).uid(self.uid).description(self.says).tags([TAG]).timezone("browser")
        made.time("now-3h", "now").refresh("30s").tooltip(dashboard.DashboardCursorSync.CROSSHAIR).editable()
        links = DashboardLink("SegServe").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
        made.link(links.include_vars(True).keep_time(True))
        made.with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        for name in self.variables:
            made.with_variable(_variable(name))
        for annotation in ANNOTATIONS:
            query = AnnotationQuery().name(annotation.name).datasource(SOURCE).enable(True)
            made.annotation(query.icon_color(annotation.colour).expr(annotation.expression))
        for title, panels in self.rows.items():
            made.with_row(Row(title))
            for panel in panels:
                made.with_panel(panel)
        built = made.build()
        for number, each in enumerate(built.panels or (), start=1):
            each.id_val = number
        return built


class _Encoder(JSONEncoder):
    """The SDK's, and what it does not know of an annotation by Prometheus: its title and its steps."""

    def default(self, obj: object) -> object:
        found = super().default(obj)
        if isinstance(obj, dashboard.AnnotationQuery):
            (title,) = (each.title for each in ANNOTATIONS if each.name == obj.name)
            return {**found, "titleFormat": title, "step": "60s"}
        return found


def _variable(name: str) -> QueryVariable:
    """Any number of a label's values, by default all."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    made = QueryVariable(name).label(name.capitalize()).datasource(SOURCE).query(VARIABLES[name])
    made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    return made.multi(True).include_all(True).all_value(".*").current(everything)
