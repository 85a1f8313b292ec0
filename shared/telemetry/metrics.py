"""Every metric's name, kind, help, labels and buckets, once. Sinks look them up here; rules and panels quote them.

Declared as `segserve_*`; Ray exports them as `ray_segserve_*`, and so does every page of ours. Label values come from
closed sets only: routes, tasks, served models, roles, reasons; never an id, a tenant or anything a caller sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

EXPORT_PREFIX = "ray_"
"""What Ray puts before every name; our own pages do the same, so that one dashboard fits both."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LOAD_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
BATCH_SIZES = (*(size + 0.5 for size in range(17)), 24.5, 32.5, 64.5)
"""Ray's agents rebuild a histogram's `_sum` from the middles of its buckets. Here these are the sizes themselves up to
16, so that `_sum / _count` is exact. Of other histograms read quantiles, or the exact `_total` beside them."""
BYTES = (10e3, 30e3, 100e3, 300e3, 1e6, 3e6, 10e6, 30e6)
PIXELS = (65_536.0, 262_144.0, 1_048_576.0, 2_097_152.0, 4_194_304.0, 8_388_608.0, 16_777_216.0, 50_000_000.0)


class UndeclaredMetric(LookupError):
    """A metric was used that is not declared so: another name, kind or set of labels."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `buckets` are upper bounds above 0, ascending, of a histogram; empty otherwise."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Its name on every page."""
        return EXPORT_PREFIX + self.name


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"{name}_total", "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, "gauge", text, labels)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Metric:
    return Metric(name, "histogram", text, labels, buckets)


_GATEWAY = (
    _counter("segserve_requests", "Requests answered.", "route", "method", "status"),
    _histogram("segserve_request_seconds", "From the head of a request to the end of its answer.", "route"),
    _gauge("segserve_in_flight_requests", "Requests being worked on."),
    _counter("segserve_rejections", "Requests refused before any work.", "reason"),
    _histogram("segserve_stage_seconds", "One stage of one request.", "stage", "task"),
    _counter("segserve_client_gone", "Callers who left before their answer.", "route"),
    _histogram("segserve_image_bytes", "Encoded images as received.", buckets=BYTES),
    _histogram("segserve_image_fetch_seconds", "Images fetched by URL, until all of one came or it failed.", "outcome"),
    _histogram("segserve_image_pixels", "Images as received, by their header.", buckets=PIXELS),
    _counter("segserve_stream_clicks", "Clicks on WebSockets, by what became of them.", "outcome"),
    _gauge("segserve_streams_open", "WebSockets that are open."),
    _gauge("segserve_metrics_endpoint_up", "Whether a collected metrics page could be read: 1 or 0.", "endpoint"),
)
_JOBS = (
    _counter("segserve_jobs", "Jobs that came into a state.", "task", "state"),
    _gauge("segserve_jobs_waiting", "Jobs that wait, those of all gateways."),
    _gauge("segserve_jobs_running", "Jobs that this gateway works on."),
    _counter("segserve_job_takeovers", "Jobs begun again: the gateway that had them died.", "task"),
    _counter("segserve_job_failures", "Jobs that failed, by the code of their error.", "task", "reason"),
    _histogram("segserve_job_wait_seconds", "From a job's submission to its first try.", "task", buckets=LOAD_SECONDS),
)
_BATCHER = (
    _histogram("segserve_batch_size", "Items in one forward pass.", "model", "role", buckets=BATCH_SIZES),
    _counter("segserve_batch_items", "Items through forward passes.", "model", "role"),
    _histogram("segserve_batch_seconds", "One forward pass, with what goes with it.", "model", "role"),
    _counter("segserve_batch_busy_seconds", "Time in forward passes: its rate is slots in use.", "model", "role"),
    _histogram("segserve_queue_seconds", "An item's wait for its batch to start.", "model", "role"),
    _gauge("segserve_queue_depth", "Items that wait for a batch.", "model", "role"),
    _gauge("segserve_batch_limit", "Most items in one forward pass, as configured.", "model", "role"),
    _counter("segserve_dropped", "Items that no forward pass answered.", "model", "role", "reason"),
)
_MODELS = (
    _histogram("segserve_model_load_seconds", "Loading and warming.", "model", "role", buckets=LOAD_SECONDS),
    _gauge("segserve_model_info", "Always 1; says what runs.", "model", "role", "engine", "precision", "version"),
    _gauge("segserve_slots", "Forward passes that may be under way at once.", "model"),
    _counter("segserve_source_pixels", "Pixels of images that a network answered, as sent.", "model", "role"),
    _counter("segserve_network_pixels", "Pixels that the network saw of them, padding too.", "model", "role"),
    _counter("segserve_content_pixels", "Pixels that the network saw of them, padding left out.", "model", "role"),
    _counter("segserve_model_fallback", "Passes outside the compiled shapes.", "model", "reason"),
    _counter("segserve_encoder_runs", "Images that an encoder embedded.", "model"),
    _counter("segserve_decoder_prompts", "Prompts that a decoder was asked about.", "model"),
)
_STORE = (
    _counter("segserve_store_lookups", "Lookups of embeddings and images.", "tier", "outcome"),
    _histogram("segserve_store_call_seconds", "One call of the store.", "operation"),
    _counter("segserve_store_errors", "Calls of the store that failed.", "operation", "reason"),
    _gauge("segserve_store_bytes", "Bytes held.", "tier"),
    _counter("segserve_store_evictions", "Entries that left this process's memory unasked.", "tier", "reason"),
    _gauge("segserve_store_breaker_open", "Whether calls to the store are skipped: 1 or 0."),
)
_BUILD = (_gauge("segserve_build_info", "Always 1; says which version runs.", "version", "python"),)


def _table(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


METRICS: Mapping[str, Metric] = _table((*_GATEWAY, *_JOBS, *_BATCHER, *_MODELS, *_STORE, *_BUILD))


def declared(name: str, kind: Kind, labels: Mapping[str, str]) -> Metric:
    """The metric of this name. Raises `UndeclaredMetric` where name, kind or the set of labels is not as declared."""
    metric = METRICS.get(name)
    if metric is None:
        raise UndeclaredMetric(f"{name} is not declared in shared.telemetry.metrics")
    if metric.kind != kind:
        raise UndeclaredMetric(f"{name} is declared as a {metric.kind}, not a {kind}")
    if len(labels) != len(metric.labels) or not all(label in labels for label in metric.labels):
        raise UndeclaredMetric(f"{name} takes the labels {metric.labels}, not {tuple(labels)}")
    return metric
