"""What /metrics says of the controls: what is in force here, whether it can be honoured, and whether the log can be read."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from streams.pipeline.controls import Controls
from streams.pipeline.reasons import REFUSALS
from streams.pipeline.scope import Scope


class ControlMetrics:
    """The gauges and the counter of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.version = Gauge(
            "secondlook_control_version",
            "Version of the controls: offset + 1 of the last message applied.",
            registry=registry,
        )
        self.info = Gauge(
            "secondlook_controls_info",
            "1; its labels are hashes of what the control log says, and of the model and costs in the worker's settings. Workers of a "
            "group differ in them only while they read a new message.",
            ["hash", "settings_hash"],
            registry=registry,
        )
        self.honoured = Gauge(
            "secondlook_controls_honoured",
            "0: what is in force cannot be honoured, everything goes to humans.",
            registry=registry,
        )
        self.stopped = Gauge(
            "secondlook_automation_stopped",
            "1: a control message has stopped automation (* = of all).",
            Scope._fields,
            registry=registry,
        )
        self.age = Gauge(
            "secondlook_control_last_read_age_seconds",
            "Seconds since the control topic was last known to be read to its end.",
            registry=registry,
        )
        self.threshold = Gauge(
            "secondlook_threshold",
            "Threshold in force; of all that a decision lies in, the most specific counts (* = every).",
            Scope._fields,
            registry=registry,
        )
        self.model = Gauge("secondlook_model_info", "The model in force.", ["name", "sha256"], registry=registry)
        self.shadow = Gauge("secondlook_shadow_info", "1: the shadow's model.", ["name", "sha256"], registry=registry)
        self.shadow_honoured = Gauge(
            "secondlook_shadow_honoured",
            "0: a shadow is set that this worker leaves out, as it cannot honour it; what is in force is not touched by that.",
            registry=registry,
        )
        self.refused = Counter(
            "secondlook_control_messages_refused",
            "Control messages refused since the start, by reason.",
            ["reason"],
            registry=registry,
        )
        self._refused_told: dict[str, int] = {}
        for reason in REFUSALS:
            self.refused.labels(reason)

    def render(self, controls: Controls, *, hashes: tuple[str, str], age: float, refused: Mapping[str, int]) -> None:
        """Bring all up to date."""
        self.version.set(controls.version)
        self.info.clear()
        self.info.labels(*hashes).set(1)
        self.honoured.set(controls.problem is None)
        self.age.set(age)
        self.stopped.clear()
        for scope in controls.stopped:
            self.stopped.labels(*scope).set(1)
        self.threshold.clear()
        for scope, threshold in controls.thresholds.items():
            self.threshold.labels(*scope).set(threshold)
        self.model.clear()
        if controls.model is not None:
            self.model.labels(controls.model.name, controls.model.sha256).set(1)
        self.shadow.clear()
        if controls.shadow is not None and controls.shadow.model is not None:
            self.shadow.labels(controls.shadow.model.name, controls.shadow.model.sha256).set(1)
        self.shadow_honoured.set(controls.shadow_problem is None)
        for reason, count in refused.items():
            self.refused.labels(reason).inc(count - self._refused_told.get(reason, 0))
            self._refused_told[reason] = count
