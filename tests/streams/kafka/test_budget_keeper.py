"""Review budgets held by a simulated fleet on the embedded broker: real control messages, a clock that the test moves."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.errors import SettingsError
from streams.kafka.budget_keeper import MOVE_EVERY, BudgetKeeper
from streams.kafka.clock import BrokerClock
from streams.kafka.control_history import read_history
from streams.kafka.control_keys import write_private_key
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import StatusWriter
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.budget import ALWAYS, COUNT, SPAN, BudgetState, Fate, Seen, band, seen
from streams.pipeline.control_limits import AdjustThreshold, SetReviewBudget
from streams.pipeline.control_log import Taken
from streams.pipeline.control_messages import ControlMessage, SetModel, SetThreshold, StopAutomation
from streams.pipeline.controls import Baseline
from streams.pipeline.matching import Case
from streams.pipeline.routing import HUMAN_REVIEW, Verdict, decide
from streams.pipeline.scope import EVERYTHING, Scope
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.driving import wait_until
from tests.rig import request
from tests.streams.pipeline.test_controls import OTHER, Model, Shelf

TOPICS = load_topics()
NAMES = topic_names(TOPICS)
RECORD = request()
BUDGET = SetReviewBudget(policy="*", share=0.2, lowest=0.05, highest=0.9)


@pytest.fixture
def settings() -> Iterator[Settings]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"]]) as broker:
        yield load_settings({"broker": broker.bootstrap}, environ={})


class Worker:
    """What a worker has to do with controls and budgets, and nothing else of it."""

    def __init__(self, fleet: "SimulatedFleet", name: str, settings: Settings) -> None:
        clock = BrokerClock()
        status = StatusWriter(settings, NAMES, name, clock)
        shelf = Shelf({OTHER: Model(OTHER)})
        self.reader = ControlReader(settings, NAMES, Baseline(Model(), 0.4), shelf, status, clock)  # type: ignore[arg-type]
        self.leads = False
        self.keeper = BudgetKeeper(
            settings,
            name,
            lambda: self.reader.current,
            lambda: self.reader.log.position,
            lambda: self.leads,
            clock.now,
            lambda: fleet.time,
        )
        self.reader.start()

    def decide(self, scores: Any, policy: str) -> int:
        """Decide so many verdicts, and count them; how many went to humans."""
        controls, counts, humans = self.reader.current, Counter[Any](), 0
        for number, score in enumerate(scores.tolist()):
            case, verdict = Case(str(number), policy, RECORD, None, None), Verdict()
            verdict.outcome, verdict.error_probability = number % 2, score
            decision = decide(case, verdict, controls)
            humans += decision.route == HUMAN_REVIEW
            if (one := seen(case, verdict, decision.reason, controls)) is not None:
                counts[one] += 1
        self.keeper.count(counts)
        return humans


class SimulatedFleet:
    """Workers that share the traffic; the first leads."""

    def __init__(self, settings: Settings, count: int = 2) -> None:
        self.settings = settings
        self.time = 0.0
        self.random = np.random.default_rng(1)
        self.workers = [Worker(self, f"worker-{number}", settings) for number in range(count)]
        self.workers[0].leads = True
        self.shares: list[float] = []

    def issue(self, message: ControlMessage) -> None:
        publish_control(self.settings, message)
        self.settle()

    def settle(self) -> None:
        """Wait until every worker has read all that is written."""
        end = read_history(self.settings).log.position
        wait_until(lambda: all(one.reader.log.position >= end for one in self.workers))
        wait_until(lambda: len({one.reader.current.version for one in self.workers}) == 1)

    def run(self, minutes: int, a: float = 2, b: float = 6, policy: str = "hate") -> None:
        """So many minutes of traffic, P(error) drawn from a beta distribution."""
        each = COUNT // SPAN // len(self.workers) * 2
        for _ in range(minutes):
            humans = sum(one.decide(self.random.beta(a, b, each), policy) for one in self.workers)
            self.shares.append(humans / each / len(self.workers))
            self.time += 60
            for one in self.workers:
                one.keeper.look()
            self.settle()

    @property
    def moves(self) -> list[Taken]:
        taken = read_history(self.settings).taken.values()
        return [one for one in taken if isinstance(one.message, AdjustThreshold)]

    def state(self, scope: Scope = EVERYTHING) -> BudgetState:
        return self.workers[0].keeper.findings[scope].state

    def close(self) -> None:
        for one in self.workers:
            one.keeper.close()
            one.reader.close()


@pytest.fixture
def fleet(settings: Settings) -> Iterator[SimulatedFleet]:
    fleet = SimulatedFleet(settings)
    yield fleet
    fleet.close()


def near(shares: list[float], wanted: float = 0.2) -> bool:
    return abs(float(np.mean(shares)) - wanted) <= 1.5 * band(wanted, COUNT)


def test_a_fleet_holds_the_share_by_messages_that_all_workers_have(fleet: SimulatedFleet) -> None:
    """From where nearly everything goes to humans; one worker moves it, once a minute, and when it goes another one does."""
    fleet.issue(BUDGET)
    fleet.run(35)
    leader, other = fleet.workers
    leader.leads, other.leads = False, True
    fleet.run(35)
    assert fleet.shares[0] > 0.9
    assert near(fleet.shares[-10:]), fleet.shares[-10:]
    assert leader.reader.log.content.hash == other.reader.log.content.hash
    assert all(one.is_applied for one in fleet.moves)
    by = [one.message.issued_by for one in fleet.moves if one.message is not None]
    assert ["worker-0 (review budget)", "worker-1 (review budget)"] == sorted(set(by))
    assert by == sorted(by)
    assert len(by) <= 70 - SPAN
    assert BudgetState.HELD is other.keeper.findings[EVERYTHING].state
    assert "20.0% are wanted" in str(fleet.moves[-1].message)
    assert ([], "held") == (leader.keeper.told(), other.keeper.told()[0].state)


def test_two_that_think_that_they_lead_move_it_as_one(fleet: SimulatedFleet) -> None:
    """Both look at the same version; the log takes one of the two moves."""
    fleet.workers[1].leads = True
    fleet.issue(BUDGET)
    fleet.run(SPAN + 5)
    taken = Counter(one.is_applied for one in fleet.moves)
    assert 4 <= taken[True] <= 6
    assert {"stale"} == {one.refusal.code for one in fleet.moves if one.refusal is not None}


def test_under_a_stop_nothing_moves_and_nothing_counts(fleet: SimulatedFleet) -> None:
    """All of it, or of a part: humans see everything then, and that says nothing of the threshold."""
    fleet.issue(BUDGET)
    fleet.run(SPAN + 2)
    moved = len(fleet.moves)
    count = fleet.workers[0].keeper.findings[EVERYTHING].count
    fleet.issue(StopAutomation(policy="spam"))
    fleet.run(5)
    assert (moved, BudgetState.STOPPED) == (len(fleet.moves), fleet.state())
    assert fleet.workers[0].keeper.findings[EVERYTHING].count <= count


def test_controls_that_are_not_honoured_move_nothing(fleet: SimulatedFleet) -> None:
    """Everything goes to humans, whatever the threshold."""
    fleet.issue(BUDGET)
    fleet.run(SPAN)
    moved = len(fleet.moves)
    for one in fleet.workers:
        one.reader.current = replace(one.reader.current, problem="the log cannot be read")
        one.keeper.look()
    assert BudgetState.STOPPED is fleet.state()
    assert moved == len(fleet.moves)


def test_another_model_is_counted_anew(fleet: SimulatedFleet) -> None:
    """What the one before said of its answers says nothing of this one; it begins at the lowest threshold and is moved from there."""
    fleet.issue(BUDGET)
    fleet.run(SPAN + 3)
    fleet.issue(SetModel(sha256=OTHER, keep_thresholds=True))
    version = fleet.workers[0].reader.current.version
    keeper = fleet.workers[0].keeper
    fleet.time += 2 * MOVE_EVERY
    keeper.look()
    assert (BudgetState.GATHERING, 0) == (fleet.state(), keeper.findings[EVERYTHING].count)
    fleet.run(1)
    keeper.count({Seen(Model().sha256, EVERYTHING, ALWAYS, Fate.HUMAN): 1_000_000})  # decided before, committed after
    fleet.run(1)
    assert 2 * COUNT // SPAN == keeper.findings[EVERYTHING].count
    assert (BudgetState.GATHERING, 0.05) == (fleet.state(), fleet.workers[0].reader.current.thresholds[EVERYTHING])
    fleet.run(SPAN + 1)
    assert version < fleet.workers[0].reader.current.version


def test_a_threshold_set_by_hand_is_left_alone(fleet: SimulatedFleet) -> None:
    """It ended the budget; a threshold of a part of it is no part of it any more."""
    fleet.issue(BUDGET)
    fleet.issue(SetThreshold(policy="hate", threshold=0.9))
    fleet.run(SPAN + 3)
    assert (BudgetState.GATHERING, 0) == (fleet.state(), fleet.workers[0].keeper.findings[EVERYTHING].count)
    fleet.issue(SetThreshold(policy="*", threshold=0.3))
    fleet.run(3)
    assert not fleet.workers[0].keeper.findings
    assert not fleet.moves


def test_several_budgets_are_moved_one_after_another(fleet: SimulatedFleet) -> None:
    """A look moves one of them, the one that has stood longest."""
    for outcome in ("allow", "remove"):
        fleet.issue(SetReviewBudget(policy="*", outcome=outcome, share=0.2, lowest=0.05, highest=0.9))  # type: ignore[arg-type]
    fleet.run(2 * SPAN + 8)
    moved = Counter(str(getattr(one.message, "outcome", "")) for one in fleet.moves)
    assert {"allow", "remove"} == set(moved)
    assert abs(moved["allow"] - moved["remove"]) <= 1


def test_with_signed_controls_a_worker_needs_a_key(settings: Settings, tmp_path: Path) -> None:
    """Without one nothing moves, and it says so; with one that nobody trusts it does not start."""
    mine, strange, keys = tmp_path / "mine.key", tmp_path / "strange.key", tmp_path / "keys.pub"
    keys.write_text(f"{write_private_key(mine)} workers\n")
    write_private_key(strange)
    offset = publish_control(settings, BUDGET) + 1
    signed = replace(settings, control_keys=keys, control_signed_from=offset)
    with pytest.raises(SettingsError, match="not among the control_keys"):
        SimulatedFleet(replace(signed, control_sign_with=strange), 1)
    for more, moved, state in (({}, 0, BudgetState.NO_KEY), ({"control_sign_with": mine}, 4, BudgetState.MOVING)):
        fleet = SimulatedFleet(replace(signed, **more), 1)  # type: ignore[arg-type]
        fleet.settle()
        fleet.run(SPAN + 3)
        assert (moved, state) == (len(fleet.moves), fleet.state())
        assert {"workers"} >= {one.signed_by for one in fleet.moves}
        fleet.close()


def test_a_broker_that_is_away_is_waited_for(fleet: SimulatedFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The move fails, and is tried again a minute later."""
    from streams.errors import BrokerError
    from streams.kafka import budget_keeper

    def away(*_: object) -> int:
        raise BrokerError("away")

    fleet.issue(BUDGET)
    with monkeypatch.context() as context:
        context.setattr(budget_keeper, "publish_control", away)
        fleet.run(SPAN + 2)
    fleet.workers[0].keeper.look()
    assert ([], BudgetState.UNWRITTEN) == (fleet.moves, fleet.state())
    fleet.time += MOVE_EVERY
    fleet.workers[0].keeper.look()
    fleet.settle()
    fleet.workers[0].keeper.look()
    assert (1, BudgetState.MOVING) == (len(fleet.moves), fleet.state())
