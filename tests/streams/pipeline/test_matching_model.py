"""Matching against a model: true arrivals, true frontiers, crashes between any two batches, several partitions."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.pipeline.ledger import Limits, holdings
from streams.pipeline.matching import Matched
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from tests.rig import NOW, TIMEOUT, Desk, request, response

PARTITIONS = (0, 1, 2)
IDS = [f"{letter}{partition}" for letter in "abcd" for partition in PARTITIONS]
LIMITS = Limits(8, 12_000, 100)


class Stream(RuleBasedStateMachine):
    """Two logs, read in steps of any size from either side; the matcher's state dies and comes back from its changelog.

    What the model knows: the logs, how far each has been read *and committed*, and what came out of committed batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.desk = Desk(PARTITIONS, limits=LIMITS)
        self.logs: dict[tuple[str, int], list[Record]] = {
            (role, number): [] for role in (REQUESTS, RESPONSES) for number in PARTITIONS
        }
        self.read = dict.fromkeys(self.logs, 0)
        self.cases: Counter[str] = Counter()
        self.ends: Counter[tuple[str, int, int]] = Counter()

    @rule(name=st.sampled_from(IDS), role=st.sampled_from([REQUESTS, RESPONSES]), appended=st.booleans())
    def arrive(self, name: str, role: str, appended: bool) -> None:
        """A record is written; half of them are stamped by the broker."""
        log = self.logs[role, int(name[1])]
        make = request if role == REQUESTS else response
        log.append(make(name, offset=len(log), at=self.now, partition=int(name[1]), appended=appended))

    @rule(step=st.integers(1, 30_000))
    def wait(self, step: int) -> None:
        """Time passes."""
        self.now += step

    @rule(
        counts=st.lists(st.integers(0, 3), min_size=6, max_size=6),
        committed=st.sampled_from([True, True, True, False]),
    )
    def read_batch(self, counts: list[int], committed: bool) -> None:
        """Some records of each partition are read; a crash before the commit forgets the whole batch."""
        reached = {
            place: min(self.read[place] + count, len(self.logs[place]))
            for place, count in zip(self.logs, counts, strict=True)
        }
        records = [one for place, end in reached.items() for one in self.logs[place][self.read[place] : end]]
        before = len(self.desk.log)
        matched = self.desk.match(*records, now=self.now, frontiers=self.frontiers(reached))
        if not committed:
            del self.desk.log[before:]
            self.desk.restart(self.now)
            return
        self.read = reached
        self.account(matched)

    @rule()
    def crash(self) -> None:
        """Everything but the changelog is gone."""
        self.desk.restart(self.now)

    def frontiers(self, reached: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """The exact truth: now where all is read, else just before the first record that is not."""
        return {
            place: self.now if end == len(self.logs[place]) else self.logs[place][end].timestamp - 1
            for place, end in reached.items()
        }

    def account(self, matched: Matched) -> None:
        """Where each record of a committed batch ended."""
        for case in matched.cases:
            self.cases[case.request_id] += 1
            self.ends[REQUESTS, case.request.partition, case.request.offset] += 1
            if case.answer is not None:
                self.ends[RESPONSES, case.answer.partition, case.answer.offset] += 1
            if case.reason is Reason.NO_RESPONSE:
                self.check_timeout(case.request)
        for dead in matched.dead:
            self.ends[dead.record.source, dead.record.partition, dead.record.offset] += 1

    def check_timeout(self, late: Record) -> None:
        """No answer that was there within its time had been written."""
        answers = self.logs[RESPONSES, late.partition]
        in_time = [one for one in answers if one.key == late.key and one.timestamp <= late.timestamp + TIMEOUT]
        dead_or_used = [one for one in in_time if self.ends[RESPONSES, one.partition, one.offset]]
        assert in_time == dead_or_used, "timed out although its answer was in Kafka"

    @invariant()
    def every_record_that_was_read_waits_or_ended_once(self) -> None:
        """Nothing vanishes, nothing ends twice."""
        waiting = {
            (one.record.source, one.record.partition, one.record.offset)
            for store in self.desk.assignment.stores.values()
            for room in (store.requests, store.responses)
            for name in room
            if (one := room.get(name)) is not None
        }
        for (role, number), end in self.read.items():
            for offset in range(end):
                place = (role, number, offset)
                assert self.ends[place] + (place in waiting) == 1, place

    @invariant()
    def memory_stays_below_its_limit(self) -> None:
        """Whatever came."""
        assert holdings(self.desk.assignment.stores).bytes <= LIMITS.max_pending_bytes

    def teardown(self) -> None:
        """In the end everything is decided: each id at least once if it was asked, within a window at most once."""
        for _ in range(40):
            self.now += TIMEOUT
            self.read_batch([3] * 6, True)
        assert (0, 0) == (
            holdings(self.desk.assignment.stores).requests,
            holdings(self.desk.assignment.stores).responses,
        )
        for (role, _), log in self.logs.items():
            if role == REQUESTS:
                assert {(one.key or b"").decode() for one in log} <= set(self.cases)


Stream.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestStream = Stream.TestCase
