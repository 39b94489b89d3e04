"""What the Kafka client says over and over is logged once a minute, and counted."""

import logging

from streams.kafka.client_log import OnceAMinute


class Listener:
    """A filter with a clock of its own, and what passed it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.filter = OnceAMinute(lambda: self.now)
        self.passed: list[tuple[str, int]] = []

    def hear(self, message: str) -> None:
        record = logging.makeLogRecord({"msg": message, "levelno": logging.WARNING})
        if self.filter.filter(record):
            self.passed.append((message, getattr(record, "repeated", 0)))


def refused(client: int, milliseconds: int, port: int = 9092) -> str:
    return (
        f"FAIL [rdkafka#producer-{client}] [thrd:localhost:{port}/1]: localhost:{port}/1: Connect to ipv4#127.0.0.1:{port} "
        f"failed: Connection refused (after {milliseconds}ms in state CONNECT, {client} identical error(s) suppressed)"
    )


def test_repetitions_are_counted_and_said_a_minute_later() -> None:
    """Whichever client says it, after however many milliseconds."""
    listener = Listener()
    for second in range(59):
        listener.now = second
        listener.hear(refused(second, 3 * second))
    listener.now = 60.0
    listener.hear(refused(1, 1))
    assert [(refused(0, 0), 0), (refused(1, 1), 58)] == listener.passed


def test_another_broker_and_another_trouble_are_news() -> None:
    """Only what is the same is a repetition."""
    listener = Listener()
    said = [refused(1, 1, 9092), refused(1, 1, 9093), "1 request(s) timed out", "Authentication failed"]
    for message in said:
        listener.hear(message)
    assert [(message, 0) for message in said] == listener.passed


def test_messages_that_never_come_again_are_forgotten() -> None:
    """The memory of them stays small."""
    listener = Listener()
    for number in range(5000):
        listener.now = number
        listener.hear(f"topic t{number} is gone")
    assert 5000 == len(listener.passed)
    assert len(listener.filter._seen) <= 1000


def test_what_kills_a_client_is_an_error_and_does_not_end_a_worker() -> None:
    """Only the line that says why a worker ends is critical."""
    record = logging.makeLogRecord({"msg": "FATAL: fenced", "levelno": logging.CRITICAL, "levelname": "CRITICAL"})
    assert OnceAMinute().filter(record)
    assert (logging.ERROR, "ERROR") == (record.levelno, record.levelname)
