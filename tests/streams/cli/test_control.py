"""`secondlook control`: what it writes, and what it says it reaches."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.pipeline.controls import EVERY_POLICY, ControlMessage, SetModel, parse_control
from streams.settings import load_settings
from streams.trials.brokers.embedded import EmbeddedBroker

TOPICS = load_topics()
MODEL = "a" * 64


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"]]) as broker:
        yield broker


def last_message(broker: EmbeddedBroker) -> ControlMessage:
    settings = load_settings({"broker": broker.bootstrap}, environ={})
    *_, last = read_values(settings, TOPICS["control"].name, [0])
    return parse_control(last)


@pytest.mark.parametrize(
    ("arguments", "policy", "reach"),
    [
        (["set-threshold", "0.3"], EVERY_POLICY, "for every policy, in place of their own settings"),
        (["set-threshold", "0.3", "--policy", "hate"], "hate", "for policy hate"),
        (["set-costs", "--review", "1", "--mistake", "3"], EVERY_POLICY, "for every policy, in place of"),
        (["set-audit-rate", "0.1", "--policy", "hate"], "hate", "for policy hate"),
        (["set-model", MODEL], None, "for every policy\n"),
    ],
)
def test_the_command_says_which_policies_it_reaches(
    broker: EmbeddedBroker, arguments: list[str], policy: str | None, reach: str
) -> None:
    """An operator who forgets --policy sees at once that every policy has changed."""
    result = CliRunner().invoke(main, ["control", *arguments, "--wait", "0", "--broker", broker.bootstrap])
    assert 0 == result.exit_code, result.output
    assert reach in result.output
    message = last_message(broker)
    assert policy == (None if isinstance(message, SetModel) else message.policy)
