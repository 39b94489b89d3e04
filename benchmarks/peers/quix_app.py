"""Quix Streams as its documentation has it: a StreamingDataFrame, record by record.

`BENCH_EXACTLY_ONCE=1`: its exactly-once guarantee. `BENCH_JOIN=1`: requests and responses are matched by its own
stateful join (RocksDB and a changelog); without it, the joined topic is read.
"""

import os
import tempfile
from datetime import timedelta
from typing import Any

from job import JOINED, Answer, Job, Setup, request_of
from quixstreams import Application
from quixstreams.models import TopicConfig

JOIN = os.environ.get("BENCH_JOIN") == "1"
EXACTLY_ONCE = os.environ.get("BENCH_EXACTLY_ONCE") == "1"
_WINDOW = timedelta(days=1)


def main() -> None:
    setup = Setup.from_environment()
    job = Job(setup)
    app = Application(
        broker_address=setup.broker,
        consumer_group=setup.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if EXACTLY_ONCE else "at-least-once",
        # What a transaction holds is readable at its commit. Every second instead of the default five: as quick, and
        # a lap sees enough commits to be timed by them.
        commit_interval=1.0 if EXACTLY_ONCE else 5.0,
        state_dir=tempfile.mkdtemp(prefix="secondlook-bench-"),
        producer_extra_config={"compression.type": "lz4", "linger.ms": 5},
        loglevel="WARNING",
    )
    config = TopicConfig(num_partitions=4, replication_factor=1)

    def topic(name: str, values: str = "bytes") -> Any:
        raw: dict[str, Any] = dict.fromkeys(("key_serializer", "key_deserializer", "value_serializer"), "bytes")
        return app.topic(setup.names[name], config=config, value_deserializer=values, **raw)

    outputs = {setup.names[name]: topic(name) for name in ("auto_action", "human_review", "vectors")}
    if JOIN:
        # Its state holds JSON, so what waits must be text.
        responses, requests = (app.dataframe(topic(name, "str")) for name in ("responses", "requests"))
        frame = responses.join_interval(
            requests,
            how="inner",
            on_merge=lambda response, request: (response.encode(), request.encode()),
            grace_ms=_WINDOW,
            backward_ms=_WINDOW,
            forward_ms=_WINDOW,
        )
        frame = frame.apply(
            lambda pair, key, _time, _headers: job.produced([Answer(key, *pair)]), metadata=True, expand=True
        )
    else:
        frame = app.dataframe(topic(JOINED)).apply(
            lambda value, key, _time, headers: job.produced([Answer(key, value, request_of(headers))]),
            metadata=True,
            expand=True,
        )
    produce_to(frame, outputs)
    app.run()


def produce_to(frame: Any, outputs: dict[str, Any]) -> None:
    for name, topic in outputs.items():
        frame.filter(lambda output, name=name: output[0] == name).apply(lambda output: output[2]).to_topic(topic)


if __name__ == "__main__":
    main()
