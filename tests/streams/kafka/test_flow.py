"""The order of batches."""

import asyncio

import pytest

from streams.errors import DeliveryError
from streams.kafka.flow import Flow
from streams.pipeline.assignment import Assignment
from streams.pipeline.stages import Ticket
from tests.rig import assignment


def ticket(sequence: int, held: Assignment | None = None) -> Ticket:
    return Ticket(sequence, held or assignment(), {}, 0.0)


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


def test_two_batches_may_be_undecided_and_three_uncommitted() -> None:
    """What is decided gathers while a commit is under way; records that nobody has decided on take memory."""

    async def scenario() -> list[tuple[int, bool]]:
        flow, seen = Flow(), []

        async def look() -> None:
            waiting = asyncio.ensure_future(flow.room())
            await asyncio.sleep(0.01)
            seen.append((flow.in_flight, waiting.done()))
            waiting.cancel()

        for _ in range(3):
            flow.next_sequence()
            await look()
            if flow.in_flight > 1:
                await flow.routed()
                await look()
        flow.arrive(ticket(1))
        flow.arrive(ticket(2))
        await flow.settle()
        await look()
        return seen

    expected = [(1, True), (2, False), (2, True), (3, False), (3, False), (1, True)]
    assert expected == asyncio.run(scenario())
