"""The floor: the shortest loop that does the job on one Kafka client. No matching, no transactions, no restart safety."""

from confluent_kafka import Consumer, Producer
from job import JOINED, Answer, Job, Setup, request_of


def main() -> None:
    setup = Setup.from_environment()
    job = Job(setup)
    consumer = Consumer(
        {
            "bootstrap.servers": setup.broker,
            "group.id": setup.group,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,  # the default leaves a full prefetch queue to run dry
        }
    )
    producer = Producer({"bootstrap.servers": setup.broker, "compression.type": "lz4", "linger.ms": 5})
    consumer.subscribe([setup.names[JOINED]])
    while True:
        messages = consumer.consume(setup.batch, timeout=0.1)
        answers = [
            Answer(message.key(), message.value(), request_of(message.headers()))
            for message in messages
            if message.error() is None
        ]
        for topic, key, value in job.produced(answers) if answers else ():
            producer.produce(topic, value, key)
        producer.poll(0)


if __name__ == "__main__":
    main()
