"""Worker processes as the demo and the stress test start them."""

import pytest

from streams.settings import load_settings
from streams.trials.worker_process import WorkerProcess

SHOW = "import json, os, sys; print(json.dumps({'message': 'shown', 'args': sys.argv, 'environ': dict(os.environ)}))"


def test_secrets_are_not_among_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine sees those; the process is given them all the same, whatever our environment says."""
    monkeypatch.setenv("SECONDLOOK_KAFKA_SASL_PASSWORD_FILE", "/none")
    kafka = {"sasl.password": "hunter2", "sasl.username": "ann"}
    with WorkerProcess({"group": "a"}, kafka=kafka, program=("-c", SHOW)) as process:
        assert 0 == process.wait(20)
        shown = process.wait_for("shown")
    assert ["worker", "--group=a", "-X", "sasl.username=ann"] == shown["args"][1:]
    assert {"sasl.password": "hunter2"} == load_settings(environ=shown["environ"]).kafka
