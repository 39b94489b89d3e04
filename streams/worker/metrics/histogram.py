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

    def observe(
        self,
        values: NDArray[np.float64],
        which: NDArray[np.intp] | None = None,
        labels: Sequence[tuple[str, ...]] = ((),),
    ) -> None:
        """Count the values [n] of one batch, each under the one of the `labels` that its number in `which` [n] says."""
        width, buckets = len(self._names), np.searchsorted(self._bounds, values, side="left")
        if which is None:
            which = np.zeros(len(values), dtype=np.intp)
        known = values == values  # noqa: PLR0124 - NaN
        if not known.all():
            values, which, buckets = values[known], which[known], buckets[known]
        counts = np.bincount(which * width + buckets, minlength=len(labels) * width).reshape(len(labels), width)
        totals = np.bincount(which, values, len(labels)).tolist()
        for names, row, total in zip(labels, counts, totals, strict=True):
            if row.any():
                self._add(names, row, total)

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
