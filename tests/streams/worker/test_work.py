"""What a worker says on control-status of what it works on."""

import time
from pathlib import Path

from streams.kafka.control_status import WorkerStatus
from streams.kafka.fleet import Fleet
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.worker_process import WorkerProcess
from tests.driving import ITEMS, decisions, send


def test_partitions_and_what_waits(models: Path) -> None:
    """Requests without an answer wait, the oldest for so long; once they are decided nothing does."""
    with EmbeddedBroker() as broker:
        settings = {"broker": broker.bootstrap, "delivery": "at_least_once", "model": models, "web_port": 0}
        with (
            WorkerProcess({**settings, "instance_id": "one", "response_timeout": 12}) as worker,
            Fleet(load_settings({"broker": broker.bootstrap}, environ={})) as fleet,
        ):
            worker.wait_for("assigned")
            send(broker.bootstrap, ITEMS[:5], responses=False)
            sent = time.monotonic()

            def said(requests: int) -> WorkerStatus:
                def waits() -> bool:
                    word = fleet.live.get("one")
                    return word is not None and word.pending is not None and word.pending.requests == requests

                fleet.listen(20, waits)
                assert waits(), fleet.live
                return fleet.live["one"]

            word = said(5)
            assert ([0, 1, 2, 3], False) == (list(word.partitions or ()), word.restoring)
            assert word.pending is not None
            assert word.pending.oldest is not None
            assert word.pending.oldest <= time.monotonic() - sent + 2
            decisions(broker.bootstrap, 5, timeout=30)
            word = said(0)
            assert word.pending is not None
            assert None is word.pending.oldest
