"""Faust as its documentation has it: an agent on a topic, record by record, or `take` for batches (`BENCH_TAKE=1`).

Without matching. Faust's own consumer and producer (aiokafka); offsets are committed every 2.8 s, its default.
"""

import os
import tempfile
from typing import Any

import faust
from job import JOINED, Answer, Job, Setup, request_of

TAKE = os.environ.get("BENCH_TAKE") == "1"

setup = Setup.from_environment()
job = Job(setup)
app = faust.App(
    setup.group,
    broker=f"kafka://{setup.broker}",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    producer_compression_type="lz4",
    producer_linger=0.005,
    stream_buffer_maxsize=16_384,
    datadir=tempfile.mkdtemp(prefix="secondlook-bench-"),
)
joined = app.topic(setup.names[JOINED], key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
outputs = {
    name: app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    for name in (setup.names["auto_action"], setup.names["human_review"], setup.names["vectors"])
}


def answer(event: Any) -> Answer:
    headers = event.headers
    return Answer(event.key, event.value, request_of(headers.items() if isinstance(headers, dict) else headers))


async def send(answers: list[Answer]) -> None:
    for topic, key, value in job.produced(answers):
        await outputs[topic].send(key=key, value=value)


if TAKE:

    @app.agent(joined)
    async def in_batches(stream: Any) -> None:
        async for events in stream.take_events(setup.batch, within=0.05):
            await send([answer(event) for event in events])

else:

    @app.agent(joined)
    async def one_by_one(stream: Any) -> None:
        async for event in stream.events():
            await send([answer(event)])


if __name__ == "__main__":
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()
