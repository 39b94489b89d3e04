"""A histogram that takes a batch at once: `prometheus_client`'s takes a value at a time, which is too slow for one per record."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString


class BatchHistogram:
    """Counts values by `bounds`, ascending: a value at a bound is counted below it, as Prometheus has it. What is NaN is left out."""

    type: Final = "histogram"

    def __init__(
        self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self.name, self.about, self.labels = name, about, tuple(labels)
        self._bounds = np.array(bounds)
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._counts: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._add((), np.zeros(len(self._names), dtype=np.int64), 0.0)
        registry.register(self)

    def observe(self, values: NDArray[np.float64], *labels: str) -> None:
        """Count the values [n] of one batch under these labels."""
        known = values[~np.isnan(values)]
        if len(known):
            buckets = np.searchsorted(self._bounds, known, side="left")
            self._add(labels, np.bincount(buckets, minlength=len(self._names)), float(known.sum()))

    def _add(self, labels: tuple[str, ...], counts: NDArray[np.int64], total: float) -> None:
        before = self._counts.get(labels)
        self._counts[labels] = counts if before is None else before + counts
        self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterator[Metric]:
        """As Prometheus reads it: counts of all values up to each bound."""
        family = HistogramMetricFamily(self.name, self.about, labels=self.labels)
        for labels, counts in self._counts.items():
            upto = np.cumsum(counts).tolist()
            family.add_metric(labels, list(zip(self._names, map(float, upto), strict=True)), self._sums[labels])
        yield family
