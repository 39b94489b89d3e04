"""The agents: what reaches the sink, in one call or in several."""

import asyncio
import time
from threading import current_thread
from types import SimpleNamespace
from typing import Any, cast

from streams.kafka.flow import Flow
from streams.pipeline.records import REQUESTS
from streams.pipeline.stages import Outbox, Ticket
from streams.settings import Settings
from streams.worker.agents import connect_agents, make_app
from streams.worker.metrics import Metrics
from tests.rig import assignment


class Passing:
    """Stages that hand on what they get."""

    def __getattr__(self, stage: str) -> Any:
        return lambda batch: batch


def test_what_is_decided_during_a_commit_is_committed_together() -> None:
    """In its order, and nothing is waited for: what comes alone is committed alone."""

    async def scenario() -> list[list[int]]:
        app, calls = make_app(Settings(web_port=0)), list[list[int]]()
        begun, committed, decided = asyncio.Semaphore(0), asyncio.Semaphore(0), asyncio.Semaphore(0)

        async def deliver(*batches: Outbox) -> None:
            calls.append([one.ticket.sequence for one in batches])
            begun.release()
            await committed.acquire()

        class Told(Flow):
            async def routed(self, size: int) -> None:
                await super().routed(size)
                decided.release()

        pipeline: Any = Passing()
        unused: Any = SimpleNamespace(_unacked_messages=set())
        put: Any = connect_agents(app, pipeline, Metrics(), Told(), deliver)
        app.consumer = unused  # Faust would make one, which nobody closes
        app.flow_control.resume()
        for agent in app.agents.values():
            await agent.start()
        held = assignment()
        for sequence in (1, 2, 3, 4):
            await put(Outbox(Ticket(sequence, held, {(REQUESTS, 0): sequence}, 0.0), [], []))
            await decided.acquire()
            if sequence == 1:
                await begun.acquire()
        await asyncio.sleep(0)  # what is decided is put
        committed.release()
        await begun.acquire()
        committed.release()
        await put(Outbox(Ticket(5, held, {(REQUESTS, 0): 5}, 0.0), [], []))
        await begun.acquire()
        for agent in app.agents.values():
            await agent.stop()
        return calls

    assert [[1], [2, 3, 4], [5]] == asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_full_batch_waits_for_those_behind_it() -> None:
    """Until one comes that is not full, or its time is over: it is committed with what came by then."""

    async def scenario() -> list[list[int]]:
        app, calls, delivered = make_app(Settings(web_port=0)), list[list[int]](), asyncio.Semaphore(0)

        async def deliver(*batches: Outbox) -> None:
            calls.append([one.ticket.sequence for one in batches])
            delivered.release()

        async def decide(sequence: int, *, is_full: bool) -> None:
            ticket = Ticket(sequence, assignment(), {}, time.monotonic(), is_full=is_full)
            await put(Outbox(ticket, [], []))

        unused: Any = SimpleNamespace(_unacked_messages=set())
        put: Any = connect_agents(app, cast("Any", Passing()), Metrics(), Flow(commit_linger=60), deliver)
        app.consumer = unused
        app.flow_control.resume()
        for agent in app.agents.values():
            await agent.start()
        for sequence, is_full in ((1, True), (2, True), (3, False)):
            await asyncio.sleep(0.05)
            assert not calls
            await decide(sequence, is_full=is_full)
        await delivered.acquire()
        for agent in app.agents.values():
            await agent.stop()
        return calls

    assert [[1, 2, 3]] == asyncio.run(asyncio.wait_for(scenario(), 10))


def test_answers_are_read_beside_the_other_stages() -> None:
    """On a thread of its own, which leaves the event loop's free."""
    threads: dict[str, str] = {}

    class Watched(Passing):
        def __getattr__(self, stage: str) -> Any:
            def work(batch: Any) -> Any:
                threads[stage] = current_thread().name
                return batch

            return work

    async def scenario() -> None:
        app, delivered = make_app(Settings(web_port=0)), asyncio.Event()

        async def deliver(*_batches: Outbox) -> None:
            delivered.set()

        pipeline: Any = Watched()
        unused: Any = SimpleNamespace(_unacked_messages=set())
        put: Any = connect_agents(app, pipeline, Metrics(), Flow(), deliver)
        app.consumer = unused
        app.flow_control.resume()
        for agent in app.agents.values():
            await agent.start()
        await put(Outbox(Ticket(1, assignment(), {(REQUESTS, 0): 1}, 0.0), [], []))
        await delivered.wait()
        for agent in app.agents.values():
            await agent.stop()

    asyncio.run(asyncio.wait_for(scenario(), 10))
    here = current_thread().name
    assert {"intake": here, "featurize": here, "score": here, "route": here} == {
        stage: name for stage, name in threads.items() if stage != "read"
    }
    assert threads["read"].startswith("read")
