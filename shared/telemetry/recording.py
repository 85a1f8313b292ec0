"""Metrics into a list: what tests read, checked against the declarations like every other sink."""

from __future__ import annotations

from dataclasses import dataclass

from shared.telemetry.metrics import Kind, declared


@dataclass(frozen=True, slots=True)
class Record:
    """One call of a sink; `labels` sorted by name."""

    kind: Kind
    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


class RecordingSink:
    """Keeps every call in `records`, in order. Raises `UndeclaredMetric` like the others."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._record("counter", name, amount, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        self._record("histogram", name, value, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._record("gauge", name, value, labels)

    def values(self, name: str, **labels: str) -> list[float]:
        """Values recorded under this name whose labels include these, in order."""
        wanted = labels.items()
        return [
            record.value for record in self.records if record.name == name and wanted <= dict(record.labels).items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Sum of `values`: what a counter says, or a histogram's sum."""
        return sum(self.values(name, **labels))

    def _record(self, kind: Kind, name: str, value: float, labels: dict[str, str]) -> None:
        declared(name, kind, labels)
        self.records.append(Record(kind, name, value, tuple(sorted(labels.items()))))
