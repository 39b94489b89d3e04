"""Bytewax as its documentation has it: Kafka source and sink, batches worked through whole (`flat_map_batch`).

`BENCH_JOIN=1`: requests and responses are matched by its own join (state in memory); without it, the joined topic is
read. No recovery store is given, which is the faster way: a restart would begin anew.
"""

import os
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from job import JOINED, Answer, Job, Setup, request_of

JOIN = os.environ.get("BENCH_JOIN") == "1"

setup = Setup.from_environment()
job = Job(setup)


def source(flow: Dataflow, name: str) -> Any:
    kafka = KafkaSource([setup.broker], [setup.names[name]], batch_size=setup.batch)
    return op.input(name, flow, kafka)


def from_joined(messages: list[Any]) -> list[tuple[str, bytes, bytes]]:
    return job.produced([Answer(one.key, one.value, request_of(one.headers)) for one in messages])


def from_pairs(pairs: list[tuple[str, tuple[bytes, bytes]]]) -> list[tuple[str, bytes, bytes]]:
    return job.produced([Answer(key.encode(), response, request) for key, (response, request) in pairs])


flow = Dataflow("bench")
if JOIN:
    sides = [
        op.map(f"{name}-by-key", source(flow, name), lambda one: (one.key.decode(), one.value))
        for name in ("responses", "requests")
    ]
    produced = op.flat_map_batch("decide", op.join("match", *sides), from_pairs)
else:
    produced = op.flat_map_batch("decide", source(flow, JOINED), from_joined)
records = op.map("record", produced, lambda output: KafkaSinkMessage(output[1], output[2], topic=output[0]))
sink = KafkaSink([setup.broker], None, add_config={"compression.type": "lz4", "linger.ms": 5})
op.output("decisions", records, sink)

if __name__ == "__main__":
    cluster_main(flow, [], 0)
