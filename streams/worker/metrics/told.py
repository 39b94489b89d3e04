"""A metric that is known anyway: read off the worker when Prometheus asks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from streams.worker.state import State, Values


@dataclass(frozen=True, slots=True)
class Told:
    """A metric that is read off the state: a counter if its name ends in `_total`, else a gauge."""

    name: str
    about: str
    read: Callable[[State], Values | float]
    labels: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Prometheus' name for its kind."""
        return "counter" if self.name.endswith("_total") else "gauge"

    def collect(self, state: State) -> Metric:
        """The metric as it is now."""
        family = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        metric = family(self.name, self.about, labels=self.labels)
        values = self.read(state)
        for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
            metric.add_metric(labels, value)
        return metric
