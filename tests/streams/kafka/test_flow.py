"""The order of batches."""

import asyncio
import time

import pytest

from streams.errors import DeliveryError
from streams.kafka.flow import Flow
from streams.pipeline.assignment import Assignment
from streams.pipeline.stages import Ticket
from tests.rig import assignment


def ticket(sequence: int, held: Assignment | None = None) -> Ticket:
    return Ticket(sequence, held or assignment(), {}, 0.0)


def polled(age: float = 0.0, *, is_full: bool = True, held: Assignment | None = None) -> Ticket:
    return Ticket(1, held or assignment(), {}, time.monotonic() - age, is_full=is_full)


def test_a_batch_that_vanished_cannot_be_committed_past() -> None:
    """The batch after a missing one is refused, and the message names the missing one."""
    flow = Flow()
    first, _lost, third = flow.next_sequence(), flow.next_sequence(), flow.next_sequence()
    assert flow.arrive(ticket(first))
    with pytest.raises(DeliveryError, match="batch 2 vanished"):
        flow.arrive(ticket(third))


def test_a_batch_of_an_assignment_that_is_over_is_not_committed() -> None:
    """It takes its place in the sequence, but the answer is no."""
    flow, held = Flow(), assignment()
    sequence = flow.next_sequence()
    held.end()
    assert not flow.arrive(ticket(sequence, held))


def test_drained_waits_for_every_batch_in_flight() -> None:
    """It returns when the last one is settled, not before."""

    async def scenario() -> list[bool]:
        flow = Flow()
        seen = []
        first, second = flow.next_sequence(), flow.next_sequence()
        waiting = asyncio.ensure_future(flow.drained())
        for sequence in (first, second):
            flow.arrive(ticket(sequence))
            await asyncio.sleep(0.01)
            seen.append(waiting.done())
            await flow.settle()
            await asyncio.sleep(0.01)
            seen.append(waiting.done())
        return seen

    assert [False, False, False, True] == asyncio.run(scenario())


def test_giving_up_frees_those_who_wait() -> None:
    """After a crash nobody waits for the batches in flight."""

    async def scenario() -> None:
        flow = Flow()
        flow.next_sequence()
        await flow.give_up()
        await asyncio.wait_for(flow.drained(), 1)

    asyncio.run(scenario())


def room_after(*steps: int | None) -> list[bool]:
    """Whether another batch may be read after each step: None reads one, a number decides the next one, which writes so much."""

    async def scenario() -> list[bool]:
        flow, seen = Flow(), []
        for step in steps:
            if step is None:
                flow.next_sequence()
            else:
                await flow.routed(step)
            seen.append(await has_room(flow))
        return seen

    return asyncio.run(scenario())


async def has_room(flow: Flow) -> bool:
    waiting = asyncio.ensure_future(flow.room())
    await asyncio.sleep(0.01)
    waiting.cancel()
    return waiting.done()


def test_three_batches_may_be_undecided() -> None:
    """Records that nobody has decided on take memory; what is decided gathers while a commit is under way."""
    assert [True, True, False, True, False, True] == room_after(None, None, None, 100, None, 100)


def test_what_is_decided_and_not_committed_is_bounded_by_its_bytes() -> None:
    """Small batches gather to a large transaction, large ones do not."""
    half = 6 * 2**20
    assert [True, True, True, False] == room_after(None, half, None, half)
    assert [True, True] * 39 == room_after(*[None, 100] * 39)


def test_no_more_than_forty_batches_are_in_flight() -> None:
    """However little they write: a commit that hangs is not followed by ever more work."""
    assert not room_after(*[None, 0] * 40)[-1]


def test_a_commit_makes_room() -> None:
    """For as much as the batches that it settled had written."""

    async def scenario() -> list[bool]:
        flow, seen = Flow(), []
        for sequence in (1, 2):
            flow.next_sequence()
            await flow.routed(9 * 2**20)
            seen.append(await has_room(flow))
            if sequence == 1:
                flow.arrive(ticket(1))
        await flow.settle()
        seen.append(await has_room(flow))
        return seen

    assert [True, False, True] == asyncio.run(scenario())


def test_a_commit_waits_for_more_only_while_reading_cannot_keep_up() -> None:
    """As long as is left to the oldest batch; a last one that was not full had nothing behind it."""
    flow = Flow(commit_linger=10)
    assert 9.0 < flow.patience(polled(), polled()) <= 10.0
    assert 3.0 < flow.patience(polled(age=6), polled()) <= 4.0
    assert 0.0 == flow.patience(polled(age=11), polled())
    assert 0.0 == flow.patience(polled(), polled(is_full=False))


def test_what_will_not_be_committed_waits_for_nothing() -> None:
    """The group waits for it to give the partitions to others."""
    flow, held = Flow(commit_linger=10), assignment()
    held.end()
    assert 0.0 == flow.patience(polled(), polled(held=held))


def test_a_commit_of_enough_bytes_waits_for_nothing() -> None:
    """As much again may be decided while it is under way, and no more: nothing would come."""

    async def patience_after(*sizes: int) -> float:
        flow = Flow(commit_linger=10)
        for size in sizes:
            flow.next_sequence()
            await flow.routed(size)
        return flow.patience(polled(), polled())

    enough = 6 * 2**20
    assert 0.0 < asyncio.run(patience_after(enough - 1))
    assert 0.0 == asyncio.run(patience_after(enough))
    assert 0.0 == asyncio.run(patience_after(*[0] * 40))
