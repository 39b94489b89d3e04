"""What the /metrics page says."""

from types import MappingProxyType, SimpleNamespace
from typing import Any

from streams.pipeline.controls import Controls
from streams.pipeline.matching import Matcher
from streams.worker.metrics import Metrics


def page(metrics: Metrics, *, rebalances: int, refused: int) -> list[str]:
    source: Any = SimpleNamespace(positions={}, paused=frozenset(), rebalances=rebalances)
    model: Any = SimpleNamespace(name="stub", sha256="0" * 64, policies=frozenset())
    controls = Controls(model=model, thresholds=MappingProxyType({"*": 0.4}))
    matcher = Matcher(response_timeout=1000, dedup_window=1000)
    return metrics.render(source, matcher, controls, refused).decode().splitlines()


def test_what_only_grows_is_a_counter() -> None:
    """However often the page is read, it says the total; and it begins at 0, so that the first increase is seen."""
    metrics = Metrics()
    for rebalances, refused in ((0, 0), (1, 0), (3, 2), (3, 2)):
        lines = page(metrics, rebalances=rebalances, refused=refused)
        assert f"secondlook_assignments_total {rebalances}.0" in lines
        assert f"secondlook_control_messages_refused_total {refused}.0" in lines
    assert "# TYPE secondlook_assignments_total counter" in lines
    assert "# TYPE secondlook_control_messages_refused_total counter" in lines
