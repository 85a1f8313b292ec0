"""Every dashboard, in the order in which an operator reads them."""

from __future__ import annotations

from deploy.grafana.boards.cluster import CLUSTER
from deploy.grafana.boards.jobs import JOBS
from deploy.grafana.boards.models import MODELS
from deploy.grafana.boards.overview import OVERVIEW
from deploy.grafana.boards.promptable import PROMPTABLE

BOARDS = (OVERVIEW, MODELS, PROMPTABLE, JOBS, CLUSTER)
