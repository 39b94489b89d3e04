"""aiokafka + asyncio: `getmany`, and the documentation's consume-process-produce with a transaction per batch.

Without matching: aiokafka is a client, it keeps no state. `BENCH_EXACTLY_ONCE=1` chooses transactions.
"""

import asyncio
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from job import JOINED, Answer, Job, Setup, request_of

EXACTLY_ONCE = os.environ.get("BENCH_EXACTLY_ONCE") == "1"


async def main() -> None:
    setup = Setup.from_environment()
    job = Job(setup)
    consumer = AIOKafkaConsumer(
        setup.names[JOINED],
        bootstrap_servers=setup.broker,
        group_id=setup.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=setup.broker,
        compression_type="lz4",
        linger_ms=5,
        transactional_id=setup.group if EXACTLY_ONCE else None,
    )
    await consumer.start()
    await producer.start()
    while True:
        batches = await consumer.getmany(timeout_ms=100, max_records=setup.batch)
        offsets = {partition: messages[-1].offset + 1 for partition, messages in batches.items()}
        answers = [
            Answer(message.key, message.value, request_of(message.headers))
            for messages in batches.values()
            for message in messages
        ]
        if not answers:
            continue
        if EXACTLY_ONCE:
            async with producer.transaction():
                await _send(producer, job, answers)
                await producer.send_offsets_to_transaction(offsets, setup.group)
        else:
            sent = await _send(producer, job, answers)
            await asyncio.gather(*sent)
            await consumer.commit(offsets)


async def _send(producer: AIOKafkaProducer, job: Job, answers: list[Answer]) -> list[asyncio.Future[object]]:
    return [await producer.send(topic, value, key) for topic, key, value in job.produced(answers)]


if __name__ == "__main__":
    asyncio.run(main())
