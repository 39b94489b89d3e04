"""Exactly once, against a client that fails in every way the broker can make it fail."""

import logging

import pytest
from confluent_kafka import KafkaError

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka import delivery as module
from streams.kafka.delivery import BatchAborted, ExactlyOnce
from streams.pipeline.records import REQUESTS, RESPONSES, Headers, Output
from streams.pipeline.stages import Ticket
from streams.settings import Settings
from tests.rig import assignment
from tests.streams.kafka.delivering import (
    FATAL,
    NAMES,
    OFFSETS,
    PERMANENT,
    STEPS,
    WRITTEN,
    double,
    exactly_once,
    outbox,
    read_offsets,
    until_closed,
)
from tests.streams.kafka.faulty_clients import FaultyProducer, away, problem


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Producer", FaultyProducer)


def test_a_batch_is_one_transaction_with_the_offsets_in_it() -> None:
    """The steps of docs/guarantees.md, in their order."""
    way, producer = exactly_once()
    way.start()
    way.deliver(outbox())
    assert ["init", *STEPS] == producer.calls
    assert WRITTEN == producer.committed
    assert OFFSETS == read_offsets(producer)


def test_batches_that_have_gathered_are_one_transaction() -> None:
    """In their order, up to where the last of them has read in each partition."""
    way, producer = exactly_once()
    held = assignment()
    first = Ticket(1, held, {(REQUESTS, 0): 3, (RESPONSES, 0): 9}, 0.0)
    second = Ticket(2, held, {(REQUESTS, 0): 5}, 0.0)
    way.deliver(outbox(ticket=first), outbox(ticket=second))
    begin, offsets, *produce, commit = STEPS
    assert [begin, offsets, *produce, *produce, commit] == producer.calls
    assert WRITTEN + WRITTEN == producer.committed
    assert {(REQUESTS, 0): 5, (RESPONSES, 0): 9} == read_offsets(producer)


@pytest.mark.parametrize("headers", [None, [], [("traceparent", b"00-1"), ("own", None)]], ids=str)
@pytest.mark.parametrize("partition", [None, 0, 3])
def test_each_record_goes_out_whole(
    headers: Headers | None, partition: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its key, its headers, and the partition that it is for; without one the client's partitioner chooses (-1)."""
    way, producer = exactly_once()
    written = []

    def produce(topic: str, value: bytes, key: bytes, number: int = -1, *, headers: Headers | None = None) -> None:
        written.append((topic, value, key, number, headers or []))

    monkeypatch.setattr(producer, "produce", produce)
    way.deliver(outbox(outputs=[Output("vectors", b"key", b"value", headers, partition)], changelog=[]))
    assert [("vectors", b"value", b"key", -1 if partition is None else partition, headers or [])] == written


def test_a_batch_of_timeouts_alone_sends_an_offset_all_the_same() -> None:
    """Nothing was read, but by its offsets the group tells a worker that has lost its partitions without knowing."""
    way, producer = exactly_once()
    standing = {(REQUESTS, 0): 7}
    way.deliver(outbox(ticket=Ticket(1, assignment(), {}, 0.0, standing)))
    assert STEPS == producer.calls
    assert standing == read_offsets(producer)


@pytest.mark.parametrize("step", ["init", "begin", "offsets", "commit"])
def test_a_broker_that_is_away_is_waited_for(
    step: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is repeated until it succeeds, nothing is written twice, and the log says what is waited for."""
    monkeypatch.setattr(module, "_WARN_EVERY", 0.0)
    way, producer = exactly_once()
    producer.faults.on(step, away(), away())
    with caplog.at_level(logging.WARNING):
        way.start()
        way.deliver(outbox())
    repeated = [call for call in ["init", *STEPS] for _ in range(3 if call == step else 1)]
    assert repeated == producer.calls
    assert WRITTEN == producer.committed
    assert "waiting for the broker: no answer" in caplog.text


@pytest.mark.parametrize("step", ["begin", "offsets", "commit"])
def test_a_worker_that_stops_no_longer_waits_for_the_broker(step: str) -> None:
    """The wait ends at the first call after `close`; one try to abort spares the readers, and the batch is redone."""
    way, producer = exactly_once()
    producer.faults.always(step, until_closed(way))
    producer.faults.always("abort", iter(away, None))
    with pytest.raises(DeliveryStopped, match="redone after the restart"):
        way.deliver(outbox())
    assert 3 == producer.calls.count(step)
    assert 1 == producer.calls.count("abort")
    assert [] == producer.committed


def test_a_worker_that_stops_does_not_wait_for_its_first_broker() -> None:
    """Also before the first batch."""
    way, producer = exactly_once()
    producer.faults.always("init", until_closed(way))
    with pytest.raises(DeliveryStopped):
        way.start()


def test_a_broker_without_transactions_is_told_with_the_setting_that_does_without() -> None:
    """The embedded broker of the demo is one."""
    way, producer = exactly_once()
    producer.faults.on("init", problem(KafkaError.UNSUPPORTED_VERSION, "no such request"))
    with pytest.raises(DeliveryError, match=r"'secondlook:pod-1'.*no such request.*delivery = at_least_once"):
        way.start()


@pytest.mark.parametrize("step", ["begin", "produce vectors", "offsets", "commit"])
def test_a_transaction_that_must_be_aborted_is_and_the_batch_is_redone(step: str) -> None:
    """Nothing of it is committed; the same batch, delivered again, is committed once."""
    way, producer = exactly_once()
    producer.faults.on(step, problem(KafkaError.ILLEGAL_GENERATION, "old generation", txn_requires_abort=True))
    with pytest.raises(BatchAborted, match="old generation"):
        way.deliver(outbox())
    assert [*STEPS[: STEPS.index(step) + 1], "abort"] == producer.calls
    assert [] == producer.committed
    way.deliver(outbox())
    assert WRITTEN == producer.committed


@pytest.mark.parametrize("step", ["begin", "produce auto_action", "offsets", "commit"])
@pytest.mark.parametrize("code", FATAL.values(), ids=FATAL)
def test_a_producer_that_cannot_go_on_is_replaced_and_its_batch_redone(step: str, code: int) -> None:
    """The next one fences it, which aborts what it left open; the process lives on."""
    way, producer = exactly_once()
    producer.faults.on(step, problem(code, "no way forward", fatal=True))
    producer.faults.always(
        "poll", iter(lambda: problem(code, "no way forward", fatal=True), None)
    )  # as the client does
    with pytest.raises(BatchAborted, match="no way forward"):
        way.deliver(outbox())
    assert "abort" not in producer.calls
    successor = double(way)
    assert successor is not producer
    way.deliver(outbox())
    assert ["init", *STEPS] == successor.calls
    assert (1, WRITTEN, []) == (way.replaced, successor.committed, producer.committed)


def test_a_producer_that_is_fenced_again_and_again_stops_the_worker() -> None:
    """Then somebody else has its name, and the line says which setting to look at."""
    way, _ = exactly_once()
    for _ in range(module._MOST_REPLACED):
        double(way).faults.on("commit", problem(KafkaError._FENCED, "a newer producer", fatal=True))
        with pytest.raises(BatchAborted):
            way.deliver(outbox())
    double(way).faults.on("commit", problem(KafkaError._FENCED, "a newer producer", fatal=True))
    with pytest.raises(DeliveryError, match="a newer producer; give each worker an instance_id of its own"):
        way.deliver(outbox())


def test_where_one_must_end_the_other_fencing_is_final() -> None:
    """Of two redrives at once the later one stops the earlier."""
    way = ExactlyOnce(Settings(), NAMES, fenced_is_final=True)
    double(way).faults.on("commit", problem(KafkaError._FENCED, "a newer producer", fatal=True))
    with pytest.raises(DeliveryError, match="a newer producer"):
        way.deliver(outbox())


def test_a_timeout_that_the_broker_does_not_allow_is_told_as_that() -> None:
    """Not as a broker without transactions."""
    way, producer = exactly_once()
    producer.faults.on("init", problem(KafkaError.INVALID_TRANSACTION_TIMEOUT, "too long"))
    with pytest.raises(DeliveryError, match=r"too long; transaction_timeout is above .* transaction.max.timeout.ms"):
        way.start()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            r"lacks the right to Write the transactional id secondlook:pod-1 \(secondlook doctor says what gives it\)",
        ),
        (KafkaError.PRODUCER_FENCED, "refused; give each worker an instance_id of its own"),
    ],
)
def test_a_broker_that_has_transactions_is_not_told_as_one_without(code: int, advice: str) -> None:
    """Who follows that advice gives exactly once away, for a missing right or a name used twice."""
    way, producer = exactly_once()
    producer.faults.on("init", problem(code, "refused", fatal=True))
    with pytest.raises(DeliveryError, match=f"{advice}$") as raised:
        way.start()
    assert "at_least_once" not in str(raised.value)


def test_records_that_the_client_let_go_do_not_hide_why() -> None:
    """An aborted transaction purges its queue, and reports each record of it as failed."""
    way, producer = exactly_once()
    producer.unreported.extend(
        [KafkaError(KafkaError._PURGE_QUEUE), KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no")]
    )
    producer.faults.on("commit", problem(KafkaError._STATE, "erroneous state", txn_requires_abort=True))
    with pytest.raises(DeliveryError, match="refuses the batch: this user lacks the right to Write auto_action "):
        way.deliver(outbox())


@pytest.mark.parametrize("code", PERMANENT.values(), ids=PERMANENT)
@pytest.mark.parametrize("step", ["produce auto_action", "offsets", "commit"])
def test_what_the_broker_refuses_for_good_is_aborted_and_stops_the_worker(step: str, code: int) -> None:
    """Redoing would go round for ever."""
    way, producer = exactly_once()
    producer.faults.on(step, problem(code, "not allowed", txn_requires_abort=True))
    with pytest.raises(DeliveryError, match=r"refuses the batch: (not allowed|this user lacks)"):
        way.deliver(outbox())
    assert "abort" == producer.calls[-1]
    assert [] == producer.committed


@pytest.mark.parametrize("step", ["produce pending", "commit"])
def test_a_record_that_failed_is_the_cause_that_is_told(step: str) -> None:
    """The failing call says only that something went wrong; the delivery report says what, and that it is for good."""
    way, producer = exactly_once()
    producer.unreported.append(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "topic not yours"))
    producer.faults.on(step, problem(KafkaError._STATE, "erroneous state", txn_requires_abort=True))
    with pytest.raises(DeliveryError, match="lacks the right to Write auto_action"):
        way.deliver(outbox())


def test_the_next_batch_does_not_inherit_the_failures_of_an_aborted_one() -> None:
    """Aborting reports unsent records as failed; what then goes wrong for good must still be seen as that."""
    way, producer = exactly_once()
    producer.faults.on("commit", problem(KafkaError.COORDINATOR_NOT_AVAILABLE, "first", txn_requires_abort=True))
    with pytest.raises(BatchAborted, match="first"):
        way.deliver(outbox())
    producer.faults.on("commit", problem(KafkaError.GROUP_AUTHORIZATION_FAILED, "second", txn_requires_abort=True))
    with pytest.raises(DeliveryError, match="second"):
        way.deliver(outbox())


@pytest.mark.parametrize("fatal", [True, False])
def test_a_transaction_that_cannot_be_aborted_costs_the_producer(fatal: bool) -> None:
    """Its successor aborts it."""
    way, producer = exactly_once()
    producer.faults.on("commit", problem(KafkaError.ILLEGAL_GENERATION, "old generation", txn_requires_abort=True))
    producer.faults.on("abort", away(), problem(KafkaError._STATE, "no way back", fatal=fatal))
    with pytest.raises(BatchAborted, match="old generation"):
        way.deliver(outbox())
    assert (1, ["init"]) == (way.replaced, double(way).calls)
    assert [] == producer.committed
