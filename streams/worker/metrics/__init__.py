"""Prometheus metrics: what happens is counted by `Metrics`, what is known elsewhere stands in `TOLD`; `described` lists both."""

from streams.worker.metrics.counted import OTHER_POLICY, TOLD, Described, Metrics, described
from streams.worker.metrics.told import Told

__all__ = ["OTHER_POLICY", "TOLD", "Described", "Metrics", "Told", "described"]
