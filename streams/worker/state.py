"""What is known of a worker at one moment, beside what it counts: metrics are read off it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from streams.pipeline.assignment import Place
from streams.pipeline.budget import Finding
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Holdings
from streams.pipeline.positions import Position
from streams.pipeline.quality.judging import Figures, Judgement
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.pipeline.scope import Scope

Values = Mapping[tuple[str, ...], float]
"""Of one metric, by the values of its labels."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything at one moment. Times are in seconds, except `now` (ms of the broker's clock)."""

    controls: Controls
    controls_hash: str
    settings_hash: str
    controls_age: float
    refused: Mapping[str, int]
    holdings: Holdings
    oldest: Mapping[str, float]
    response_timeout: float
    positions: Mapping[Place, Position]
    held: Collection[Place]
    now: int
    rebalances: int
    restoring: bool
    restore_seconds: float
    foreign: int
    skipped: Mapping[str, int]
    broker_silent: float
    clock_skew: float | None
    changelog_records: int
    remembered_reach: float
    producers_replaced: int
    human_decision_errors: int
    budgets: Mapping[Scope, Finding]
    quality: Judgement
    quality_lag: int | None

    def by_llm(self, figure: Callable[[Figures], float | None]) -> Values:
        """A figure of live quality by policy and LLM, where it is known."""
        known = {(one.policy, one.llm): figure(one) for one in self.quality.figures}
        return {labels: value for labels, value in known.items() if value is not None}

    def by_source(self, figure: Callable[[list[Position]], float]) -> Values:
        """A figure of the partitions of each input topic."""
        places = list(self.positions.items())
        return {
            (source,): figure([position for (role, _), position in places if role == source])
            for source in (REQUESTS, RESPONSES)
        }
