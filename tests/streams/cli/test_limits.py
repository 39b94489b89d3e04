"""`secondlook control set-review-budget` and `set-risk-bound`: what they write, what they refuse, and how it is shown."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from msgspec.structs import replace

from scoring import RECORDING, load_model
from scoring.data import load
from scoring.evaluation import risk_bound_threshold
from streams.cli.control_risk_bound import certify
from streams.cli.main import main
from streams.errors import ControlError
from streams.kafka.clock import BrokerClock
from streams.kafka.control_status import BudgetStatus, StatusWriter, WorkerStatus
from streams.kafka.publishing import publish_control
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.audits import Labels
from streams.pipeline.budget import BudgetState, Finding
from streams.pipeline.control_limits import AdjustThreshold, SetReviewBudget, SetRiskBound
from streams.pipeline.control_messages import ControlMessage, SetAuditRate, SetModel, SetThreshold, parse_control
from streams.pipeline.quality.judging import Alert, Figures
from streams.pipeline.routing import rfc3339
from streams.pipeline.scope import EVERYTHING, Scope
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.streams.pipeline.test_controls import BOUND

pytestmark = pytest.mark.usefixtures("_no_worker_to_hear")
TOPICS = load_topics()
ROLES = ("control", "control_status", "models", "human_review", "human_decisions")
DATA = load([RECORDING])


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS[role] for role in ROLES]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({"broker": broker.bootstrap}, environ={})


def control(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["control", *arguments, "--broker", settings.broker])


def written(settings: Settings) -> list[ControlMessage]:
    return [parse_control(one) for one in read_values(settings, TOPICS["control"].name, [0])]


def bound(settings: Settings, models: Path, *arguments: str) -> Result:
    return control(settings, "set-risk-bound", "--model", str(models), "--wait", "0", *arguments)


BUDGET = ["set-review-budget", "0.2", "--lowest", "0.05", "--highest", "0.5", "--wait", "0"]


def test_a_budget_is_one_message_and_is_shown_with_its_moves(settings: Settings) -> None:
    """Who set it and who moved it, in show, history and diff; nobody says how it stands while no worker is live."""
    assert 0 == control(settings, *BUDGET, "--policy", "hate", "--issued-by", "ana", "--reason", "two shifts").exit_code
    (message,) = written(settings)
    assert (0.2, 0.05, 0.5, Scope("hate")) == (message.share, message.lowest, message.highest, message.scope)  # type: ignore[union-attr]
    publish_control(settings, AdjustThreshold(policy="hate", threshold=0.3, expected_version=1, issued_by="worker-1"))
    said = control(settings, "show").output
    assert "0.3 (budget)" in said
    assert "budget of hate: 20.0% to humans, threshold from 0.05 to 0.5 (version 1, by ana" in " ".join(said.split())
    assert "no live worker says how it stands" in " ".join(said.split())
    shown = orjson.loads(control(settings, "show", "--json").stdout)["thresholds"]["hate"]
    assert ("worker-1", "ana", 0.5) == (shown["issued_by"], shown["budget"]["issued_by"], shown["budget"]["highest"])
    told = [orjson.loads(line)["what"] for line in control(settings, "history", "--json").stdout.splitlines()]
    assert "adjust_threshold threshold=0.3 policy=hate" == told[1]
    assert "budget: 0.2 to humans, from 0.05 to 0.5" in control(settings, "diff", "0", "2").output


def test_how_a_budget_stands_is_what_the_leader_says(settings: Settings) -> None:
    """On control-status, of the window that it judges by."""
    control(settings, *BUDGET)
    writer = StatusWriter(settings, topic_names(TOPICS), "worker-1", BrokerClock())
    found = Finding(BudgetState.ALWAYS_ESCALATED, 0.2, 0.5, 0.4321, 2500)
    status = WorkerStatus(
        worker="",
        event="alive",
        at=rfc3339(int(time.time() * 1000)),
        control_version=1,
        position=1,
        honoured=True,
        budgets=[BudgetStatus.of(EVERYTHING, found)],
    )
    writer.write(status)
    writer.flush(5)
    said = " ".join(control(settings, "show").output.split())
    assert "43.2% of 2,500 decisions: Cannot be met: what goes to humans whatever the threshold exceeds" in said
    assert 2500 == orjson.loads(control(settings, "show", "--json").stdout)["budgets"][0]["decisions"]


def test_what_live_quality_alerts_to_is_shown(settings: Settings) -> None:
    """With whom it is about, and the figures; what is not known is no number."""
    writer = StatusWriter(settings, topic_names(TOPICS), "worker-1", BrokerClock())
    status = WorkerStatus(
        worker="",
        event="quality_alert",
        at=rfc3339(int(time.time() * 1000)),
        control_version=0,
        position=0,
        honoured=True,
        alerts=[Alert("calibration", "hate", llm="a [model]", about="forty errors where five were expected")],
        quality=[
            Figures("hate", "a [model]", "a" * 64, audits=7, drawn=1200, error=0.05, low=0.01, high=0.2, escalated=9),
            Figures("spam", "another", "a" * 64, estimated=0.1),
        ],
    )
    writer.write(status)
    writer.flush(5)
    said = " ".join(control(settings, "show").output.split())
    assert "calibration (hate, LLM a [model]): forty errors where five were expected" in said
    assert "hate a [model] 5.0% [1.0%, 20.0%] not known not known 7 of 1,200 0 of 9 escalated" in said
    assert "spam another not known not known 10.0% 0 of 0 0 of 0 escalated" in said
    assert 7 == orjson.loads(control(settings, "show", "--json").stdout)["quality"][0]["audits"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["set-review-budget", "0.2", "--lowest", "0.1"], 2, "--highest"),
        (["set-review-budget", "0", "--lowest", "0.1", "--highest", "0.5"], 4, "'0' is no share"),
        (["set-review-budget", "1", "--lowest", "0.1", "--highest", "0.5"], 4, "share"),
        (
            ["set-review-budget", "0.2", "--lowest", "0.6", "--highest", "0.5"],
            4,
            "lowest threshold, 0.6, is above its highest",
        ),
        (["set-risk-bound", "--max-risk", "0.1"], 2, "say which labels"),
        (["set-risk-bound", "--max-risk", "0.1", "--from-topics", "--labels", str(RECORDING)], 2, "say which labels"),
        (["set-risk-bound", "--max-risk", "0.1", "--labels", str(RECORDING)], 4, "say --drawn-at-random if every item"),
    ],
)
def test_what_makes_no_sense_is_not_written(settings: Settings, arguments: list[str], code: int, line: str) -> None:
    """Or is refused by the log; it says what there may be."""
    result = control(settings, *arguments, "--wait", "0")
    assert (code, True) == (result.exit_code, line in result.output), result.output
    assert all(isinstance(one, SetReviewBudget) for one in written(settings))


def test_labels_drawn_at_random_certify_what_the_report_certifies(settings: Settings, models: Path) -> None:
    """On the part that no training has seen, for the model in force; the message says on what."""
    labels = ["--labels", str(RECORDING), "--drawn-at-random"]
    result = bound(settings, models, "--max-risk", "0.2", "--confidence", "0.9", *labels)
    assert 0 == result.exit_code, result.output
    model = load_model(models)
    held_out = DATA.take(DATA.held_out & DATA.decided)
    scores = np.round(model.score(held_out.values, held_out.policies).error_probability.astype(float), 7)
    expected = risk_bound_threshold(scores, held_out.errors, max_risk=0.2, delta=1 - 0.9)
    (message,) = written(settings)
    assert isinstance(message, SetRiskBound)
    assert (model.sha256, expected.threshold, len(held_out)) == (message.model, message.threshold, message.labels)
    assert (expected.automated, expected.errors) == (message.automated, message.errors)
    assert ("drawn-at-random", "learn-then-test") == (message.sample, message.method)
    assert "bound: 0.2 at 0.9 confidence" in control(settings, "diff", "0", "1").output
    shown = orjson.loads(control(settings, "show", "--json").stdout)["thresholds"]["*"]
    assert {"max_risk": 0.2, "confidence": 0.9} == shown["bound"]
    other = bound(settings, models, "--max-risk", "0.2", "--policy", "hate", "--tenant", "acme", *labels)
    assert (4, True) == (other.exit_code, "files do not say whose requests" in other.output)


def test_what_cannot_be_certified_is_not_issued(settings: Settings, models: Path) -> None:
    """It says which risk these labels could certify, and that a target chosen by looking takes new ones."""
    labels = ["--labels", str(RECORDING), "--drawn-at-random"]
    result = bound(settings, models, "--max-risk", "0.01", *labels)
    assert 4 == result.exit_code, result.output
    assert "The smallest risk that they certify is" in result.output
    assert "takes new labels. Nothing was written" in result.output
    none = bound(settings, models, "--max-risk", "0.2", "--policy", "no-such-policy", *labels)
    assert (4, True) == (none.exit_code, "no label is of policy no-such-policy" in none.output)
    assert not written(settings)


def produce(settings: Settings, role: str, values: Sequence[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": settings.broker})
    for value in values:
        producer.produce(TOPICS[role].name, json.dumps(value).encode(), value["request_id"].encode())
    assert 0 == producer.flush(20)


def test_audits_certify_and_reviews_do_not(settings: Settings, models: Path) -> None:
    """From the topics; nothing above the threshold that was in force, and only what was decided since the audits are as they are."""
    sha256 = load_model(models).sha256
    refused = bound(settings, models, "--max-risk", "0.1", "--from-topics")
    assert (4, True) == (refused.exit_code, "is audited" in refused.output), refused.output
    for message in (
        SetModel(sha256=sha256),
        SetThreshold(policy="*", threshold=0.4),
        SetAuditRate(policy="*", rate=0.1),
    ):
        publish_control(settings, message)
    decided, human = [], []
    for number in range(1000):
        is_audit = number < 600
        request_id, score = str(number), (number % 100) / 250 if is_audit else 0.9
        decided.append(
            {
                "request_id": request_id,
                "policy": "hate",
                "error_probability": score,
                "threshold": 0.4,
                "audit_probability": 0.1 if is_audit else 1.0,
                "reasons": ["audit" if is_audit else "above_threshold"],
                "llm": {"outcome": 0},
                "model": {"name": "stub", "sha256": sha256},
                "control_version": 3,
            }
        )
        human.append({"request_id": request_id, "policy": "hate", "outcome": int(number % 20 == 0 or not is_audit)})
    produce(settings, "human_review", decided)
    produce(settings, "human_decisions", human[:-410])
    early = bound(settings, models, "--max-risk", "0.1", "--from-topics")
    assert (0, True) == (early.exit_code, "10 more without a human decision" in early.output), early.output
    produce(settings, "human_decisions", human[-410:])
    result = bound(settings, models, "--max-risk", "0.1", "--from-topics")
    assert 0 == result.exit_code, result.output
    assert (
        "threshold 0.4: below it 30 of 600 verdicts are wrong, and with 95% confidence at most 10.0% of all (600 audits)"
        in result.output
    )
    message = written(settings)[-1]
    assert isinstance(message, SetRiskBound)
    assert (0.4, 600, 30, "audits") == (message.threshold, message.automated, message.errors, message.sample)
    swap = control(settings, "set-model", "b" * 64, "--keep-thresholds", "--force", "--yes", "--wait", "0")
    assert 0 == swap.exit_code
    assert "0 (bound: none for this model, so humans decide)" in control(settings, "diff", "0", "6").output


def test_keeping_thresholds_says_what_it_does_not_keep(settings: Settings) -> None:
    """A budget begins anew; a bound is gone."""
    control(settings, *BUDGET)
    result = control(settings, "set-model", "b" * 64, "--keep-thresholds", "--wait", "0")
    assert (0, True) == (result.exit_code, "the review budget of * begins anew" in result.output), result.output
    publish_control(
        settings,
        replace(BOUND, policy="*", model="b" * 64),
    )
    result = control(settings, "set-model", "d" * 64, "--keep-thresholds", "--wait", "0")
    assert "a risk bound is of one model: * goes to humans" in result.output


def test_a_certified_bound_holds_as_often_as_it_says() -> None:
    """Of 400 draws of 300 audits it breaks in no more than it may, though the model says less than it should."""
    random, broken, certified = np.random.default_rng(5), 0, 0
    for _ in range(400):
        scores = random.beta(1, 3, 300)
        errors = random.random(300) < scores * 1.5
        labels = Labels(tuple((str(n), "hate") for n in range(300)), scores, errors)
        try:
            message = certify(labels, EVERYTHING, "a" * 64, 0.15, 0.9, "audits")
        except ControlError:
            continue
        certified += 1
        traffic = random.beta(1, 3, 20_000)
        broken += 1.5 * traffic[traffic < message.threshold].mean() > 0.15
    assert certified > 200
    assert broken / 400 <= 0.1
